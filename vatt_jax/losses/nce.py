"""Noise-contrastive losses between modalities, as functions of the embeddings of the global batch.

Every function normalises its inputs to unit length, and takes masks: an absent item is no anchor and nobody's negative.
Source: VATT section 3.4, equations 4 to 6; google-research/vatt, utils/train/objectives.py.
"""

import math

import jax
import jax.numpy as jnp

ABSENT = -1e9


def mil_nce(
  video: jax.Array, text: jax.Array, present: jax.Array, *, temperature: float, video_present: jax.Array | None = None
) -> jax.Array:
  """Multiple-instance NCE: every clip against all captions, and its captions against all clips, in one softmax.

  With K = 1 this is the NCE between video and sound. It is the form behind the published weights ("asymmetric"):
  positives stand twice in the denominator, so a perfect model reaches ln 2, not 0.

  Args:
    video: float (B, E).
    text: float (B, K, E); the K candidates are all positives of their clip.
    present: bool (B,), whether `text` exists.
    temperature: positive.
    video_present: bool (B,), whether `video` exists; None = always.

  Returns:
    Scalar: the mean over clips that have both; 0 where there is none.
  """
  video, text = _unit(video), _unit(text)
  video_present = jnp.ones_like(present) if video_present is None else video_present
  scores_BJK = jnp.einsum("be,jke->bjk", video, text) / temperature
  positive_B = jax.nn.logsumexp(jnp.einsum("be,bke->bk", video, text) / temperature, axis=1)
  own_clip = jnp.where(present[None, :, None], scores_BJK, ABSENT)
  own_text = jnp.where(video_present[:, None, None], scores_BJK, ABSENT)
  total_B = jnp.logaddexp(jax.nn.logsumexp(own_clip, axis=(1, 2)), jax.nn.logsumexp(own_text, axis=(0, 2)))
  return masked_mean(total_B - positive_B, present & video_present)


def symmetric_nce(
  video: jax.Array, text: jax.Array, present: jax.Array, *, temperature: float, video_present: jax.Array | None = None
) -> jax.Array:
  """Two softmaxes, clip against captions and captions against clips; their sum. A perfect model reaches 0.

  Shapes, masks and result as in `mil_nce`.
  """
  video, text = _unit(video), _unit(text)
  video_present = jnp.ones_like(present) if video_present is None else video_present
  scores_BJK = jnp.einsum("be,jke->bjk", video, text) / temperature
  positive_B = jax.nn.logsumexp(jnp.einsum("be,bke->bk", video, text) / temperature, axis=1)
  from_video = jax.nn.logsumexp(jnp.where(present[None, :, None], scores_BJK, ABSENT), axis=(1, 2))
  from_text = jax.nn.logsumexp(jnp.where(video_present[:, None, None], scores_BJK, ABSENT), axis=(0, 2))
  both = present & video_present
  return masked_mean(from_video - positive_B, both) + masked_mean(from_text - positive_B, both)


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean of `values` where `mask` holds; 0 where it never does."""
  values = jnp.where(mask, values, 0.0)
  return jnp.sum(values) / jnp.maximum(jnp.sum(mask.astype(values.dtype)), 1.0)


def _unit(x: jax.Array) -> jax.Array:
  """Unit length along the last axis; a zero vector stays zero, with a finite gradient."""
  return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-12))


def untrained_level(loss_name: str, batch_size: int) -> float:
  """What a loss is worth when all similarities are equal (K = 1): ln 2B, or 2 ln B for the symmetric sum."""
  return math.log(2 * batch_size) if loss_name == "asymmetric" else 2 * math.log(batch_size)


LOSSES = {"asymmetric": mil_nce, "symmetric": symmetric_nce}
