"""Dropout whose mask is a hash of the place.

`jax.random` draws bits that serve cryptographers, and on a CPU they cost more than the matrix products around them; a
mask needs far less. Here every element hashes its own coordinates with two words of the key in a dozen integer
operations, which compile into the loop that uses the mask. The mask is a function of the key and of global coordinates
alone: the same on any mesh, on any device, and again in the backward pass, which need not store it. A batch that goes
through a model in pieces says which rows a piece has (`rows_of_piece`), and gets the masks of the whole.
"""

from collections.abc import Iterator
import contextlib

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class Dropout(nn.Module):
  """Sets elements to zero with probability `rate`, each on its own, and scales the others; called like `nn.Dropout`.

  Attributes:
    rate: in [0, 1).
    deterministic: whether everything passes, as in inference. Otherwise draws from the stream "dropout".
  """

  rate: float
  deterministic: bool = False

  def __call__(self, x: jax.Array) -> jax.Array:
    return x if self.deterministic or not self.rate else drop(x, self.make_rng("dropout"), self.rate)


def drop(x: jax.Array, key: jax.Array, rate: float) -> jax.Array:
  """x of any shape, each element zero with probability `rate`, else x / (1 - rate)."""
  scale = np.asarray(1 / (1 - rate), x.dtype)
  return jnp.where(keep_mask(key, x.shape, rate), x * scale, jnp.zeros([], x.dtype))


def keep_mask(key: jax.Array, shape: tuple[int, ...], rate: float) -> jax.Array:
  """bool array, false with probability `rate`, to 2^-32."""
  return kept(*hashes(key, shape), rate)


def hashes(key: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
  """uint32 (*shape[:-1], 1) and (1, ..., shape[-1]), of all that a mask is made of.

  Rows (all axes but the last) and columns are hashed apart, then together. Fewer than 2^32 rows never share a hash.
  """
  words = jax.random.bits(key, (2,), jnp.uint32)
  rows = jnp.zeros((*shape[:-1], 1), jnp.uint32)
  for axis in range(len(shape) - 1):
    places = jax.lax.broadcasted_iota(jnp.uint32, rows.shape, axis)
    rows = rows * np.uint32(shape[axis]) + (_in_whole(places, shape[0]) if axis == 0 and len(shape) > 1 else places)
  columns = jax.lax.broadcasted_iota(jnp.uint32, (1,) * (len(shape) - 1) + shape[-1:], len(shape) - 1)
  return _mix(rows ^ words[0]), _mix(columns ^ words[1])


def kept(rows: jax.Array, columns: jax.Array, rate: float) -> jax.Array:
  """The mask of these hashes."""
  return _mix(rows ^ columns) >= np.uint32(min(round(rate * 2**32), 2**32 - 1))


_piece = None  # (first clip, every how many, clips in the piece), while a piece is traced


@contextlib.contextmanager
def rows_of_piece(first: jax.Array, stride: int, clips: int) -> Iterator[None]:
  """What is traced inside works on clips first, first + stride, ... of a batch, so many in number."""
  global _piece
  before, _piece = _piece, (first, stride, clips)
  try:
    yield
  finally:
    _piece = before


def _in_whole(rows: jax.Array, count: int) -> jax.Array:
  """Row numbers in the whole batch; a clip may have several rows (captions)."""
  if _piece is None:
    return rows
  first, stride, clips = _piece
  each = np.uint32(count // clips)
  return (rows // each * np.uint32(stride) + first.astype(jnp.uint32)) * each + rows % each


def _mix(x: jax.Array) -> jax.Array:
  """A bijection of 32-bit words in which every input bit flips every output bit about half of the time.

  The constants are those of the least biased hash of this form that the search "hash-prospector" has found.
  """
  x = (x ^ (x >> 16)) * np.uint32(0x21F0AAAD)
  x = (x ^ (x >> 15)) * np.uint32(0x735A2D97)
  return x ^ (x >> 15)
