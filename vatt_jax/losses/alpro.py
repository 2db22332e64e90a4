"""ALPRO's four losses, as functions of the arrays of the global batch and masks (Li et al., 2022, sections 3.2 and 3.3).

Source: the paper and salesforce/ALPRO, modeling/alpro_models.py. What has nothing to say (no caption, no word selected,
no label kept) is left out of the mean; where nothing is left the loss is 0.
"""

import jax
import jax.numpy as jnp
import optax

from vatt_jax.losses.nce import ABSENT, masked_mean

FILTERS = ("paper", "official", "none")
NEGATIVES = ("local", "global")


def video_text_contrast(similarity: jax.Array, present: jax.Array) -> jax.Array:
  """VTC: the mean of two cross-entropies, videos against texts and texts against videos.

  Args:
    similarity: float (B, B), [video, text], divided by the temperature.
    present: bool (B,), which pairs exist; the others are nobody's negatives.
  """
  diagonal = jnp.diagonal(similarity)
  from_video = jax.nn.logsumexp(jnp.where(present[None, :], similarity, ABSENT), axis=1)
  from_text = jax.nn.logsumexp(jnp.where(present[:, None], similarity, ABSENT), axis=0)
  return masked_mean((from_video + from_text) / 2 - diagonal, present)


def hard_negatives(
  rng: jax.Array, similarity: jax.Array, present: jax.Array, local_rows: int = 0
) -> tuple[jax.Array, jax.Array]:
  """For every row of `similarity` another column, drawn by softmax.

  Args:
    similarity: float (B, B), [anchor, candidate], divided by the temperature; it gets no gradient.
    present: bool (B,).
    local_rows: candidates are those of the same block of so many rows, as if each were a device of the official code
      (16 in pretraining); 0: all.

  Returns:
    int32 (B,) and bool (B,), whether there was a candidate at all.
  """
  rows = jnp.arange(len(similarity))
  allowed = present[None, :] & (rows[:, None] != rows[None, :])
  if local_rows:
    allowed &= rows[:, None] // local_rows == rows[None, :] // local_rows
  logits = jnp.where(allowed, jax.lax.stop_gradient(similarity), -jnp.inf)
  found = jnp.any(allowed, axis=1)
  drawn = jax.random.categorical(rng, jnp.where(found[:, None], logits, 0.0))
  return drawn.astype(jnp.int32), found


def video_text_matching(logits: jax.Array, matches: jax.Array, counts: jax.Array) -> jax.Array:
  """VTM: two-class cross-entropy; of every pair there are three forms, its own and two with a negative.

  Args:
    logits: float (M, 2), 1 means match.
    matches: bool (M,).
    counts: bool (M,), which take part.
  """
  return masked_mean(optax.softmax_cross_entropy_with_integer_labels(logits, matches.astype(jnp.int32)), counts)


def masked_language(logits: jax.Array, ids: jax.Array, selected: jax.Array) -> jax.Array:
  """MLM: cross-entropy over the selected words of the batch.

  Args:
    logits: float (B, L, V).
    ids: int32 (B, L), the words before masking.
    selected: bool (B, L).
  """
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, ids)
  return masked_mean(losses.reshape(-1), selected.reshape(-1))


def prompting_entities(logits: jax.Array, labels: jax.Array, keep: jax.Array) -> jax.Array:
  """PEM: cross-entropy with soft labels.

  Args:
    logits, labels: float (B, entities); the labels sum to 1.
    keep: bool (B,), see `keep_labels`.
  """
  return masked_mean(optax.softmax_cross_entropy(logits, labels), keep)


def keep_labels(labels: jax.Array, rule: str, threshold: float = 0.2) -> jax.Array:
  """Which soft labels (B, entities) are good enough: bool (B,).

  Args:
    rule: "paper": the largest probability reaches the threshold; "official": the published code compares the *number* of
      the likeliest entity with it, so only labels of the first entity are dropped; "none": all are kept.
  """
  if rule == "official":
    return jnp.argmax(labels, axis=-1) >= threshold
  return jnp.max(labels, axis=-1) >= (threshold if rule == "paper" else 0.0)


def mask_words(
  rng: jax.Array, ids: jax.Array, maskable: jax.Array, vocabulary_size: int, mask_id: int, rate: float = 0.15
) -> tuple[jax.Array, jax.Array]:
  """Words hidden as in BERT: of those selected 80 % become [MASK], 10 % any word, 10 % stay.

  Args:
    ids: int32 (B, L).
    maskable: bool (B, L), false for padding and special tokens.
    mask_id: of [MASK].
    rate: of selection.

  Returns:
    New ids and bool (B, L), which were selected.
  """
  select, kind, word = jax.random.uniform(rng, (3, *ids.shape))  # One draw compiles faster than three.
  selected = maskable & (select < rate)
  words = (word * vocabulary_size).astype(jnp.int32)
  hidden = jnp.where(kind < 0.8, mask_id, jnp.where(kind < 0.9, words, ids))
  return jnp.where(selected, hidden, ids), selected


PROPOSALS = 256  # one in 7.5 is accepted, so that none is in 1e-16 of the cases


def random_rectangles(rng: jax.Array, rows: int, grid: tuple[int, int], patch: tuple[int, int]) -> jax.Array:
  """Which places of the picture a random rectangle covers: bool (rows, N), the same in all frames.

  Area 0.3 to 0.5 of the picture, height / width uniform from 0.3 to 1 / 0.3, the corner anywhere, everything rounded down
  to whole patches; drawn again until it lies inside.

  Args:
    grid: patches, (H/h, W/w).
    patch: pixels, (h, w).
  """
  (H, W), (h, w) = grid, patch
  area, ratio, top, left = jax.random.uniform(rng, (4, rows, PROPOSALS))
  area = (0.3 + 0.2 * area) * (H * h * W * w)
  ratio = 0.3 + (1 / 0.3 - 0.3) * ratio
  height = jnp.floor(jnp.sqrt(area * ratio)).astype(jnp.int32) // h
  width = jnp.floor(jnp.sqrt(area / ratio)).astype(jnp.int32) // w
  top, left = (top * H).astype(jnp.int32), (left * W).astype(jnp.int32)
  inside = (top + height <= H) & (left + width <= W) & (height > 0) & (width > 0)
  first = jnp.argmax(inside, axis=1)
  pick = lambda x: jnp.take_along_axis(x, first[:, None], axis=1)
  covers = lambda begin, extent, n: (jnp.arange(n)[None] >= begin) & (jnp.arange(n)[None] < begin + extent)
  y, x = covers(pick(top), pick(height), H), covers(pick(left), pick(width), W)
  return (y[:, :, None] & x[:, None, :]).reshape(rows, H * W)
