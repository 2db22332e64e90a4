"""Optimizers from a config: clipping, Adam or SGD, and a rate that warms up and falls between two levels."""

import math
import re

import jax
import jax.numpy as jnp
import optax

from vatt_jax.errors import UserError
from vatt_jax.training.sharding import path_name

# From 1 at the start of the decay to 0 at its end.
DECAYS = {
  "half_cosine": lambda progress: 0.5 * (1.0 + jnp.cos(math.pi * progress)),
  "quarter_cosine": lambda progress: jnp.cos(0.5 * math.pi * progress),
}


def warmup_cosine(
  peak: float, final: float, warmup_steps: int, total_steps: int, decay: str = "half_cosine"
) -> optax.Schedule:
  """Linear from 0 to `peak` over `warmup_steps`, then down to `final` at `total_steps`.

  Source: VATT A.2.4 and the official schedule; at 0.5 M steps from 1e-4 to 5e-5. The paper says "quarter-period cosine",
  its code runs through half a period.
  """
  fall = DECAYS[decay]

  def schedule(step):
    warm = peak * step / max(1, warmup_steps)
    progress = jnp.clip((step - warmup_steps) / max(1, total_steps - warmup_steps), 0.0, 1.0)
    return jnp.where(step < warmup_steps, warm, final + (peak - final) * fall(progress))

  return schedule


def warmup_linear(peak: float, floor: float, warmup_steps: int, total_steps: int) -> optax.Schedule:
  """Linear up to `peak` at update `warmup_steps`, then down to 0, but not below `floor`, at the last one.

  Source: salesforce/ALPRO, optimization/sched.py; updates are counted from 1, so that the first one has a rate.
  """

  def schedule(step):
    update = step + 1
    warm = peak * update / max(1, warmup_steps)
    fall = peak * (total_steps - update) / max(1, total_steps - warmup_steps)
    return jnp.maximum(jnp.where(update < warmup_steps, warm, fall), floor)

  return schedule


def from_config(config, total_steps: int) -> tuple[optax.GradientTransformation, optax.Schedule]:
  """The optimizer of `config.optimizer` and its learning-rate schedule.

  Raises:
    UserError: for an unknown name.
  """
  decay = config.get("decay", "half_cosine")
  if decay not in (*DECAYS, "linear"):
    raise UserError(f"config.optimizer.decay = {decay!r} is not one of {', '.join(DECAYS)}, linear.")
  rates = config.learning_rate, config.final_learning_rate, config.warmup_steps, total_steps
  schedule = warmup_linear(*rates) if decay == "linear" else warmup_cosine(*rates, decay)
  if config.name == "adam":
    rule = optax.adamw(
      schedule, config.b1, config.b2, config.epsilon, weight_decay=config.weight_decay, mask=_is_matrix
    )
  elif config.name == "sgd":
    rule = optax.sgd(schedule, config.momentum)
  else:
    raise UserError(f"config.optimizer.name = {config.name!r} is not one of adam, sgd.")
  if not config.clip_global_norm:
    return rule, schedule
  clip = optax.clip_by_global_norm(config.clip_global_norm)
  if pattern := config.get("clip_only", ""):
    clip = optax.masked(clip, lambda params: _matching(params, pattern))
  return optax.chain(clip, rule), schedule


def _is_matrix(params):
  """Weight decay, where asked for, leaves biases and norms alone."""
  return jax.tree.map(lambda x: x.ndim > 1, params)


def _matching(params, pattern: str):
  return jax.tree_util.tree_map_with_path(lambda path, _: re.search(pattern, path_name(path)) is not None, params)
