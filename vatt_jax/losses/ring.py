"""The sums behind contrastive losses without the matrix of all similarities on any device.

Every device keeps its clips; the captions travel round the ring of devices in blocks, and with each block the sum over
the clips that it has met. After one round every caption is home again, with all it needs. A device holds a piece of the
matrix of (its clips) x (a chunk of captions) at a time, and computes it once more in the backward pass.
"""

from collections.abc import Sequence
import functools
import math

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from vatt_jax.losses.nce import ABSENT, Spans, meeting


def ring_sums(
    video: jax.Array, text: jax.Array, present: jax.Array, video_present: jax.Array, spans: Spans | None,
    temperature: float, *, own_in_text: bool, mesh: Mesh, axes: Sequence[str] = ("replica", "data"), chunk: int = 1024,
) -> tuple[jax.Array, jax.Array, jax.Array]:  # fmt: skip
  """`positive`, `from_video`, `from_text`, float (B,) each, equal to those of `nce.plain_sums`.

  Args:
    video: float (B, E) of unit length; rows are shared by the devices along `axes`.
    text: float (B, K, E) of unit length.
    present, video_present: bool (B,).
    spans: as in `nce.plain_sums`.
    own_in_text: whether the sum over clips has the caption's own.
    chunk: captions at a time.
  """
  rows = PartitionSpec(tuple(axes))
  local = functools.partial(
    _local, temperature=temperature, own_in_text=own_in_text, axes=tuple(axes), chunk=chunk,
    devices=math.prod(mesh.shape[axis] for axis in axes),
  )  # fmt: skip
  ring = jax.shard_map(local, mesh=mesh, in_specs=(rows, rows, rows, rows, rows), out_specs=(rows, rows, rows))
  return ring(video, text, present, video_present, spans)


def _local(video, text, present, video_present, spans, *, temperature, own_in_text, axes, chunk, devices):
  rows = len(video)
  chunk = next(size for size in range(min(chunk, rows), 0, -1) if rows % size == 0)
  pieces = lambda block: jax.tree.map(lambda x: x.reshape(rows // chunk, chunk, *x.shape[1:]), block)

  @jax.checkpoint
  def meet(from_video, piece):
    """All of this device's clips against a chunk of captions."""
    text_CKE, present_C, spans_C, from_text_C, own_C = piece
    scores_BCK = jnp.einsum("be,cke->bck", video, text_CKE) / temperature
    own_BC = own_C[None, :] == jnp.arange(rows)[:, None]
    texts_BC, clips_BC = meeting(own_BC, present_C, video_present, spans, spans_C, own_in_text)
    own_video = jax.nn.logsumexp(jnp.where(texts_BC[:, :, None], scores_BCK, ABSENT), axis=(1, 2))
    own_text = jax.nn.logsumexp(jnp.where(clips_BC[:, :, None], scores_BCK, ABSENT), axis=(0, 2))
    return jnp.logaddexp(from_video, own_video), jnp.logaddexp(from_text_C, own_text)

  def turn(carry, step):
    from_video, block = carry
    *captions, from_text = block
    own = jnp.where(step == 0, jnp.arange(rows), -1)  # In the first turn the captions are those of the clips.
    from_video, found = jax.lax.scan(meet, from_video, pieces((*captions, from_text, own)))
    around = [(i, (i + 1) % devices) for i in range(devices)]
    block = jax.tree.map(lambda x: jax.lax.ppermute(x, axes, around), (*captions, found.reshape(rows)))
    return (from_video, block), None

  nothing = jnp.full_like(video[:, 0], ABSENT)
  start = nothing, (text, present, spans, nothing)
  (from_video, (*_, from_text)), _ = jax.lax.scan(turn, start, jnp.arange(devices))
  positive = jax.nn.logsumexp(jnp.einsum("be,bke->bk", video, text) / temperature, axis=1)
  return positive, from_video, from_text
