"""Losses of classifiers, as functions of logits and labels of the global batch."""

import jax
import jax.numpy as jnp
import optax

from vatt_jax.losses.nce import masked_mean


def softmax_loss(logits: jax.Array, labels: jax.Array, present: jax.Array, smoothing: float = 0.0) -> jax.Array:
  """Cross-entropy against smoothed labels, (1 - a) y + a / C (VATT A.2.5).

  Args:
    logits: float (B, C).
    labels: float (B, C), one-hot or mixed.
    present: bool (B,); absent rows take no part.
    smoothing: a.
  """
  smoothed = (1.0 - smoothing) * labels + smoothing / logits.shape[-1]
  return masked_mean(optax.softmax_cross_entropy(logits, smoothed), present)


def sigmoid_loss(logits: jax.Array, labels: jax.Array, present: jax.Array, balanced: bool = False) -> jax.Array:
  """Binary cross-entropy summed over classes.

  Args:
    balanced: each clip is weighted with the mean over its labels of 1 / (how often the batch has that label), so that
      frequent labels do not rule (VATT A.3). A clip without labels then weighs nothing.
  """
  rows = jnp.sum(optax.sigmoid_binary_cross_entropy(logits, labels), axis=-1)
  if balanced:
    labels = jnp.where(present[:, None], labels, 0.0)
    times = jnp.sum(labels, axis=0)
    rare = jnp.sum(labels / jnp.where(times > 0, times, 1.0)[None, :], axis=-1)
    rows = rows * rare / jnp.maximum(jnp.sum(labels, axis=-1), 1e-9)
  return masked_mean(rows, present)


def mix_up(
  rng: jax.Array, inputs: jax.Array, labels: jax.Array, present: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
  """Each row and its label mixed with another row's; shares drawn from Beta(alpha, alpha) (Zhang et al., 2018).

  Args:
    inputs: float (B, ...).
    labels: float (B, C).
    present: bool (B,); rows that meet an absent one stay as they are.
  """
  shares, order = jax.random.split(rng)
  share = jax.random.beta(shares, alpha, alpha, (len(inputs),))
  partner = jax.random.permutation(order, len(inputs))
  share = jnp.where(present[partner], share, 1.0)

  def mixed(x):
    own = share.reshape(-1, *[1] * (x.ndim - 1))
    return own * x + (1.0 - own) * x[partner]

  return mixed(inputs), mixed(labels)
