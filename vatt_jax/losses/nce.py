"""Noise-contrastive losses between modalities, as functions of the embeddings of the global batch.

All forms are made of the same three sums; `plain_sums` computes them from the matrix of all similarities,
`ring.ring_sums` without it.

Every function normalises its inputs to unit length, and takes masks: an absent item is no anchor and nobody's negative.
With `spans`, clips that show the same seconds of one file are no negatives of each other either.
Source: VATT section 3.4, equations 4 to 6; google-research/vatt, utils/train/objectives.py.
"""

from collections.abc import Callable
import math

import jax
import jax.numpy as jnp

ABSENT = -1e9
SIGMOID_BIAS = -10.0  # where the bias of `sigmoid_nce` starts
Spans = tuple[jax.Array, jax.Array]  # The file of each clip, int (B,), below 0: unknown; and its seconds, float (B, 2).
Sums = Callable[..., tuple[jax.Array, jax.Array, jax.Array]]


def mil_nce(
    video: jax.Array, text: jax.Array, present: jax.Array, *, temperature: float,
    video_present: jax.Array | None = None, spans: Spans | None = None, groups: int = 1, sums: Sums | None = None,
) -> jax.Array:  # fmt: skip
  """Multiple-instance NCE: every clip against all captions, and its captions against all clips, in one softmax.

  With K = 1 this is the NCE between video and sound. It is the form behind the published weights ("asymmetric"):
  positives stand twice in the denominator, so a perfect model reaches ln 2, not 0.

  Args:
    video: float (B, E).
    text: float (B, K, E); the K candidates are all positives of their clip.
    present: bool (B,), whether `text` exists.
    temperature: positive.
    video_present: bool (B,), whether `video` exists; None = always.
    spans: where the clips come from; None: all are negatives of each other, see `overlapping`.
    groups: of the mean, see `masked_mean`.
    sums: `plain_sums` (None) or another function that equals it.

  Returns:
    Scalar: the mean over clips that have both; 0 where there is none.
  """
  scores = _Scores(video, text, present, video_present, spans, temperature, sums)
  total_B = jnp.logaddexp(scores.from_video, scores.from_text)
  return masked_mean(total_B - scores.positive, scores.both, groups)


def mil_nce_once(
    video: jax.Array, text: jax.Array, present: jax.Array, *, temperature: float,
    video_present: jax.Array | None = None, spans: Spans | None = None, groups: int = 1, sums: Sums | None = None,
) -> jax.Array:  # fmt: skip
  """As `mil_nce`, with the positives once in the denominator, as the paper's equations have it; the floor is 0."""
  scores = _Scores(video, text, present, video_present, spans, temperature, sums, own_in_text=False)
  total_B = jnp.logaddexp(scores.from_video, scores.from_text)
  return masked_mean(total_B - scores.positive, scores.both, groups)


def symmetric_nce(
    video: jax.Array, text: jax.Array, present: jax.Array, *, temperature: float,
    video_present: jax.Array | None = None, spans: Spans | None = None, groups: int = 1, sums: Sums | None = None,
) -> jax.Array:  # fmt: skip
  """Two softmaxes, clip against captions and captions against clips; their sum. A perfect model reaches 0.

  Shapes, masks and result as in `mil_nce`.
  """
  scores = _Scores(video, text, present, video_present, spans, temperature, sums)
  from_video = masked_mean(scores.from_video - scores.positive, scores.both, groups)
  return from_video + masked_mean(scores.from_text - scores.positive, scores.both, groups)


def sigmoid_nce(
    video: jax.Array, text: jax.Array, present: jax.Array, *, temperature: float, bias: float,
    video_present: jax.Array | None = None, spans: Spans | None = None, groups: int = 1,
) -> jax.Array:  # fmt: skip
  """Every clip and every caption by themselves: do they belong together? No softmax, so no pair waits for the others.

  Shapes and masks as in `mil_nce`; a clip's pairs are summed, of K captions the mean. `bias` is added to all scores:
  few pairs belong together, and a start far below zero says so.

  Source: SigLIP (Zhai et al., 2023), equation 1 and algorithm 1.
  """
  video_present = jnp.ones_like(present) if video_present is None else video_present
  scores_BJK = jnp.einsum("be,jke->bjk", _unit(video), _unit(text)) / temperature + bias
  own_BJ = jnp.eye(len(video), dtype=bool)
  texts_BJ, clips_BJ = meeting(own_BJ, present, video_present, spans, spans, own_in_text=True)
  signs_BJ = jnp.where(own_BJ, 1.0, -1.0)
  losses_BJ = jnp.mean(jax.nn.softplus(-signs_BJ[:, :, None] * scores_BJK), axis=2)
  return masked_mean(jnp.sum(losses_BJ, axis=1, where=texts_BJ & clips_BJ), present & video_present, groups)


def plain_sums(
  video: jax.Array, text: jax.Array, present: jax.Array, video_present: jax.Array, spans: Spans | None,
  temperature: float, *, own_in_text: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:  # fmt: skip
  """The sums that all forms are made of, each float (B,): ln of the sum of exp(similarity / temperature) over ...

  Args:
    video: float (B, E) of unit length.
    text: float (B, K, E) of unit length.
    present, video_present: bool (B,).
    spans: other clips that overlap one, and their captions, are in none of its sums; None: none does.
    own_in_text: whether the last sum has the captions' own clip.

  Returns:
    `positive`: a clip and its own captions; `from_video`: a clip and all captions that exist; `from_text`: a clip's
    captions and all clips that exist.
  """
  scores_BJK = jnp.einsum("be,jke->bjk", video, text) / temperature
  own_BJ = jnp.eye(len(video), dtype=bool)
  texts_BJ, clips_BJ = meeting(own_BJ, present, video_present, spans, spans, own_in_text)
  positive = jax.nn.logsumexp(jnp.einsum("be,bke->bk", video, text) / temperature, axis=1)
  from_video = jax.nn.logsumexp(jnp.where(texts_BJ[:, :, None], scores_BJK, ABSENT), axis=(1, 2))
  from_text = jax.nn.logsumexp(jnp.where(clips_BJ[:, :, None], scores_BJK, ABSENT), axis=(0, 2))
  return positive, from_video, from_text


def meeting(
  own_BJ: jax.Array, present: jax.Array, video_present: jax.Array, spans: Spans | None, text_spans: Spans | None,
  own_in_text: bool,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
  """Which of B clips and the captions of J clips meet in a sum over captions, and in a sum over clips: bool (B, J) each.

  Args:
    own_BJ: bool (B, J), whether the captions are the clip's own.
    present: bool (J,); video_present: bool (B,); spans: of the B clips; text_spans: of the J clips.
    own_in_text: as in `plain_sums`.
  """
  texts_BJ = jnp.broadcast_to(present[None, :], own_BJ.shape)
  clips_BJ = jnp.broadcast_to(video_present[:, None], own_BJ.shape)
  if spans is not None:
    others_BJ = own_BJ | ~overlapping(spans, text_spans)
    texts_BJ, clips_BJ = texts_BJ & others_BJ, clips_BJ & others_BJ
  return texts_BJ, clips_BJ if own_in_text else clips_BJ & ~own_BJ


def overlapping(first: Spans, second: Spans) -> jax.Array:
  """bool (A, B): whether clips of `first` (A) and of `second` (B) show some of the same seconds of one known file."""
  (source_A, span_A), (source_B, span_B) = first, second
  same_AB = (source_A[:, None] == source_B[None, :]) & (source_A[:, None] >= 0)
  begins_before = lambda a, b: a[:, None, 0] < b[None, :, 1]
  return same_AB & begins_before(span_A, span_B) & begins_before(span_B, span_A).T


class _Scores:
  """The sums over normalised embeddings, and `both`: bool (B,), where there is a pair."""

  def __init__(self, video, text, present, video_present, spans, temperature, sums, own_in_text=True):
    video_present = jnp.ones_like(present) if video_present is None else video_present
    self.positive, self.from_video, self.from_text = (sums or plain_sums)(
      _unit(video), _unit(text), present, video_present, spans, temperature, own_in_text=own_in_text
    )
    self.both = present & video_present


def masked_mean(values: jax.Array, mask: jax.Array, groups: int = 1) -> jax.Array:
  """Mean of `values` (B,) where `mask` holds; 0 where it never does.

  Args:
    groups: above 1, the mean of the means of this many equal parts of the batch, as if each was a replica of the
      official code, which averages over its own clips first and does not weigh replicas by what they have.
  """
  values = jnp.where(mask, values, 0.0).reshape(groups, -1)
  counts = jnp.sum(mask.reshape(groups, -1).astype(values.dtype), axis=1)
  return jnp.mean(jnp.sum(values, axis=1) / jnp.maximum(counts, 1.0))


def _unit(x: jax.Array) -> jax.Array:
  """Unit length along the last axis; a zero vector stays zero, with a finite gradient."""
  return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-12))


def untrained_level(loss_name: str, batch_size: int) -> float:
  """What a loss is worth when all similarities are 0 (K = 1): ln 2B, ln (2B - 1), or 2 ln B for the symmetric sum."""
  if loss_name == "sigmoid":
    return math.log1p(math.exp(-SIGMOID_BIAS)) + (batch_size - 1) * math.log1p(math.exp(SIGMOID_BIAS))
  levels = {"asymmetric": math.log(2 * batch_size), "asymmetric_once": math.log(2 * batch_size - 1)}
  return levels.get(loss_name, 2 * math.log(batch_size))


LOSSES = {
  "asymmetric": mil_nce,
  "asymmetric_once": mil_nce_once,
  "symmetric": symmetric_nce,
  "sigmoid": sigmoid_nce,
}
