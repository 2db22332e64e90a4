"""A batch that is larger than the memory allows, with the gradients of the whole."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vatt_jax.models.dropout import rows_of_piece


def in_pieces(function: Callable[[dict], dict], batch: dict, pieces: int) -> dict:
  """function(batch), computed on every `pieces`-th clip at a time.

  The backward pass goes through the pieces once more, computes each again and adds up the gradients, so that memory holds
  the activations of one piece while the loss that comes after it sees all clips: what accumulation of losses cannot do,
  as clips of other pieces are negatives too. Pieces take clips in turns, so each device has some of every piece.

  Args:
    function: of a batch; every row of the result depends on the same row of the batch only.
    batch: arrays with B rows.
    pieces: 1, or a divisor of B.
  """
  if pieces == 1:
    return function(batch)
  rows = len(jax.tree.leaves(batch)[0])
  split = lambda x: x.reshape(rows // pieces, pieces, *x.shape[1:]).swapaxes(0, 1)
  join = lambda x: x.swapaxes(0, 1).reshape(rows, *x.shape[2:])

  @jax.checkpoint
  def one(piece):
    first, part = piece
    with rows_of_piece(first, pieces, rows // pieces):
      return function(part)

  return jax.tree.map(join, jax.lax.map(one, (jnp.arange(pieces), jax.tree.map(split, batch))))
