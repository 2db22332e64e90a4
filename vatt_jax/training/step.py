"""The training step: the same for every objective, optimizer and mesh."""

import jax
import jax.numpy as jnp
import optax

from vatt_jax.training.state import State


def make_step(
  objective, optimizer: optax.GradientTransformationExtraArgs, seed: int, ema_decay: float = 0.0, hold=lambda x: x
):
  """step(state, batch) -> (state, metrics); jit it with the state donated.

  Randomness is fold_in(seed, step): any step can be replayed alone. A non-finite update is left out: step, data and
  randomness move on, parameters and optimizer do not; an optimizer that is not of `optimizers.from_config` has to be
  `optimizers.guarded` for that. `ema_decay` > 0 keeps `state.ema`, with less memory at the start. `hold` takes the gradient
  from parameters that are frozen.
  """

  def average(ema, params, step):
    decay = jnp.minimum(ema_decay, (1.0 + step) / (10.0 + step))
    return optax.incremental_update(params, ema, 1.0 - decay) if ema_decay else ema

  def step(state: State, batch: dict) -> tuple[State, dict]:
    rng = jax.random.fold_in(jax.random.key(seed), state.step)

    def loss_function(params):
      loss, metrics, model_state = objective.loss({"params": hold(params), **state.model_state}, batch, rng, train=True)
      return loss, (metrics, model_state)

    grads, (metrics, model_state) = jax.grad(loss_function, has_aux=True)(state.params)
    grad_norm = optax.tree.norm(grads)
    finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(grad_norm)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params, finite=finite)
    params = optax.apply_updates(state.params, updates)
    keep = lambda new, old: jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
    params = keep(params, state.params)
    state = State(
      step=state.step + 1,
      params=params,
      model_state=keep(model_state, state.model_state),
      opt_state=opt_state,
      skipped=jnp.where(finite, 0, state.skipped + 1),
      ema=average(state.ema, params, state.step),
    )
    return state, {**metrics, "gradient_norm": grad_norm, "skipped_updates_in_a_row": state.skipped}

  return step
