"""Optimizers from a config: clipping, Adam, and a rate that warms up and follows half a cosine between two levels."""

import math

import jax
import jax.numpy as jnp
import optax

from vatt_jax.errors import UserError


def warmup_cosine(peak: float, final: float, warmup_steps: int, total_steps: int) -> optax.Schedule:
  """Linear from 0 to `peak` over `warmup_steps`, then half a cosine down to `final` at `total_steps`.

  Source: VATT A.2.4 and the official schedule; at 0.5 M steps from 1e-4 to 5e-5.
  """

  def schedule(step):
    warm = peak * step / max(1, warmup_steps)
    progress = jnp.clip((step - warmup_steps) / max(1, total_steps - warmup_steps), 0.0, 1.0)
    return jnp.where(step < warmup_steps, warm, final + (peak - final) * 0.5 * (1.0 + jnp.cos(math.pi * progress)))

  return schedule


def from_config(config, total_steps: int) -> tuple[optax.GradientTransformation, optax.Schedule]:
  """The optimizer of `config.optimizer` and its learning-rate schedule.

  Raises:
    UserError: for an unknown name.
  """
  schedule = warmup_cosine(config.learning_rate, config.final_learning_rate, config.warmup_steps, total_steps)
  if config.name != "adam":
    raise UserError(f"config.optimizer.name = {config.name!r} is not one of adam.")
  parts = [optax.clip_by_global_norm(config.clip_global_norm)] if config.clip_global_norm else []
  adam = optax.adamw(schedule, config.b1, config.b2, config.epsilon, weight_decay=config.weight_decay, mask=_is_matrix)
  return optax.chain(*parts, adam), schedule


def _is_matrix(params):
  """Weight decay, where asked for, leaves biases and norms alone."""
  return jax.tree.map(lambda x: x.ndim > 1, params)
