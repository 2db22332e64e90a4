"""Optimizers from a config: clipping, Adam or SGD, and a rate that warms up and falls between two levels."""

import math
import re

import jax
import jax.numpy as jnp
import optax

from vatt_jax.errors import UserError
from vatt_jax.training.groups import Groups
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


def from_config(config, total_steps: int) -> tuple[optax.GradientTransformationExtraArgs, optax.Schedule]:
  """The optimizer of `config.optimizer`, whose `update` takes `finite` as `guarded` says, and its learning-rate schedule.

  The gradients of frozen parameters must be 0, which `Groups.hold` sees to.

  Raises:
    UserError: for an unknown name, a negative number, or a table of groups that is none.
  """
  decay = config.get("decay", "half_cosine")
  if decay not in (*DECAYS, "linear"):
    raise UserError(f"config.optimizer.decay = {decay!r} is not one of {', '.join(DECAYS)}, linear.")
  for name in ("learning_rate", "final_learning_rate", "warmup_steps", "weight_decay", "clip_global_norm"):
    if config.get(name, 0) < 0:
      raise UserError(f"config.optimizer.{name} = {config[name]} must be at least 0.")
  rates = config.learning_rate, config.final_learning_rate, config.warmup_steps, total_steps
  schedule = warmup_linear(*rates) if decay == "linear" else warmup_cosine(*rates, decay)
  groups = Groups(config.get("groups", ()))
  if config.name == "adam":
    rule = [_adam(config.b1, config.b2, config.epsilon), _weight_decay(config.weight_decay, groups)]
  elif config.name == "sgd":
    if any("weight_decay" in fields for _, fields in config.get("groups", ())):
      raise UserError("config.optimizer.groups: sgd has no weight decay; config.optimizer.name = adam has.")
    rule = [guarded(optax.trace(config.momentum))]
  else:
    raise UserError(f"config.optimizer.name = {config.name!r} is not one of adam, sgd.")
  if groups:
    moments, *rest = rule
    rule = [optax.masked(moments, groups.trained), *rest, _own_rates(groups)]
  rule = optax.chain(*rule, guarded(optax.scale_by_learning_rate(schedule)))
  if config.clip_global_norm:
    clip = optax.clip_by_global_norm(config.clip_global_norm)
    if pattern := config.get("clip_only", ""):
      clip = optax.masked(clip, lambda params: _matching(params, pattern))
    rule = optax.chain(clip, rule)
  return rule, schedule


def guarded(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
  """The same, whose state stays what it is where update(..., finite=) is false."""
  inner = optax.with_extra_args_support(optimizer)

  def update(updates, state, params=None, *, finite=True, **more):
    updates, new = inner.update(updates, state, params, **more)
    return updates, _where(finite, new, state)

  return optax.GradientTransformationExtraArgs(inner.init, update)


def _adam(b1: float, b2: float, epsilon: float) -> optax.GradientTransformationExtraArgs:
  """`guarded(optax.scale_by_adam(b1, b2, epsilon))`, whose moments a CPU writes over the old ones.

  It computes moments in the loop that needs them, and copies the old ones so that both loops find them. Stored before
  anything is made of them, they need no copy.
  """
  stored = lambda x: jax.lax.platform_dependent(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)

  def update(gradients, state, params=None, *, finite=True, **_):
    moment = lambda old, decay, order: jax.tree.map(
      stored, _where(finite, optax.tree.update_moment(gradients, old, decay, order), old)
    )
    mu, nu = moment(state.mu, b1, 1), moment(state.nu, b2, 2)
    count = jnp.where(finite, optax.safe_increment(state.count), state.count)
    of_mu, of_nu = optax.tree.bias_correction(mu, b1, count), optax.tree.bias_correction(nu, b2, count)
    updates = jax.tree.map(lambda m, n: m / (jnp.sqrt(n) + epsilon), of_mu, of_nu)
    return updates, optax.ScaleByAdamState(count, mu, nu)

  return optax.GradientTransformationExtraArgs(optax.scale_by_adam(b1, b2, epsilon).init, update)


def _where(condition, new, old):
  return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)


def _weight_decay(value: float, groups: Groups) -> optax.GradientTransformation:
  """Where asked for, it leaves biases and norms alone."""
  if not groups:
    return optax.add_decayed_weights(value, lambda params: jax.tree.map(lambda x: x.ndim > 1, params))

  def update(updates, params):
    factor = lambda group: value if group.weight_decay is None else group.weight_decay
    decayed = lambda update, x, group: update + factor(group) * x if x.ndim > 1 else update
    return jax.tree.map(decayed, updates, params, groups.of(params))

  return optax.stateless(update)


def _own_rates(groups: Groups) -> optax.GradientTransformation:
  scaled = lambda update, group: group.rate * update if group.rate else jnp.zeros_like(update)
  return optax.stateless(lambda updates, params: jax.tree.map(scaled, updates, groups.of(params)))


def _matching(params, pattern: str):
  return jax.tree_util.tree_map_with_path(lambda path, _: re.search(pattern, path_name(path)) is not None, params)
