"""Attention that never holds the matrix of all scores: kernels of accelerators, and one head after another for CPUs.

A kernel, out of JAX's own collection, is a function of q, k, v (B, A, N, K), q scaled already, to the mixed values
(B, A, N, K). Kernels have no dropout on the attention weights and no bias.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from vatt_jax.models import dropout

Kernel = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
Hashes = tuple[jax.Array, jax.Array]
_LANES = 128  # of a TPU: lengths are padded to a multiple
_LARGEST_BLOCK = 512


def cudnn(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
  """cuDNN's flash attention, on NVIDIA cards since Ampere; bfloat16 or float16 only."""
  swap = lambda x: x.swapaxes(1, 2)
  return swap(jax.nn.dot_product_attention(swap(q), swap(k), swap(v), scale=1.0, implementation="cudnn"))


def splash(q: jax.Array, k: jax.Array, v: jax.Array, interpret: bool = False) -> jax.Array:
  """The Pallas kernel for TPUs; `interpret` runs it anywhere, slowly.

  Lengths are padded to a multiple of 128; what is padding is a segment of its own, which real tokens don't see.
  """
  # Pallas takes its time to import, and only TPUs want it.
  from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as splash_lib,
    splash_attention_mask as masks,
  )

  _, heads, tokens, _ = q.shape
  length = -(-tokens // _LANES) * _LANES
  block = max(size for size in range(_LANES, _LARGEST_BLOCK + 1, _LANES) if length % size == 0)
  names = ("q", "kv", "kv_compute", "q_dkv", "kv_dkv", "kv_dkv_compute", "q_dq", "kv_dq")
  kernel = splash_lib.make_splash_mha(
    masks.MultiHeadMask([masks.FullMask((length, length))] * heads),
    head_shards=1,
    q_seq_shards=1,
    block_sizes=splash_lib.BlockSizes(**{f"block_{name}": block for name in names}),
    interpret=interpret,
  )
  pad = lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, length - tokens), (0, 0)))
  segments = (jnp.arange(length) >= tokens).astype(jnp.int32)
  segments = splash_lib.SegmentIds(segments, segments)
  out = jax.vmap(lambda q, k, v: kernel(q, k, v, segments))(pad(q), pad(k), pad(v))
  return out[:, :, :tokens]


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def by_head(
  q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None, hashes: Hashes | None, rate: float, heads: int
) -> jax.Array:
  """One head after another, so that its scores are used while they lie in a CPU's cache.

  Of each head the backward pass finds the largest score and the sum of each row, and computes the weights again. What
  it needs of them it writes the other way round, keys by queries, so that no matrix product has to transpose them.

  Args:
    q, k, v: (B, N, A * K), q scaled already.
    bias: None, or what is added to the scores, (A, B or 1, N or 1, N).
    hashes: `dropout.hashes` of each head's (B, N, N), where weights are dropped at `rate`.
    heads: A.

  Returns:
    (B, N, A * K).
  """
  return _by_head_forward(q, k, v, bias, hashes, rate, heads)[0]


def _by_head_forward(q, k, v, bias, hashes, rate, heads):
  def one(head, found):
    (q_BNK, k_BMK, v_BMK), bias_BNM, places = _of_head((q, k, v), (bias, hashes), head, heads)
    scores_BNM = _product("bnk,bmk->bnm", q_BNK, k_BMK)
    scores_BNM = scores_BNM if bias is None else scores_BNM + bias_BNM
    top_BN1 = jnp.max(scores_BNM, axis=-1, keepdims=True)
    weights_BNM = jnp.exp(scores_BNM - top_BN1)
    total_BN1 = jnp.sum(weights_BNM, axis=-1, keepdims=True)
    if rate:
      weights_BNM = jnp.where(dropout.kept(*places, rate), weights_BNM, 0.0)
    mixed_BNK = _product("bnm,bmk->bnk", weights_BNM.astype(v.dtype), v_BMK) / (total_BN1 * (1 - rate))
    return _put(found, (mixed_BNK, top_BN1, total_BN1), head)

  of_rows = jnp.zeros((*q.shape[:2], heads), jnp.float32)
  mixed, *of_rows = jax.lax.fori_loop(0, heads, one, (jnp.zeros_like(v), of_rows, of_rows))
  return mixed, (q, k, v, bias, hashes, mixed, *of_rows)


def _by_head_backward(rate, heads, saved, gradient):
  q, k, v, bias, hashes, mixed, top_BNA, total_BNA = saved
  flip = lambda x: x.swapaxes(-1, -2)
  along = (gradient.astype(jnp.float32) * mixed.astype(jnp.float32)).reshape(*q.shape[:2], heads, -1)
  of_rows = top_BNA, 1 / total_BNA, jnp.sum(along, axis=-1) / total_BNA

  def one(head, found):
    columns, bias_BNM, places = _of_head((q, k, v, gradient, *of_rows), (bias, hashes), head, heads)
    q_BNK, k_BMK, v_BMK, gradient_BNK, *of_rows_BN1 = columns
    top_B1N, share_B1N, along_B1N = map(flip, of_rows_BN1)
    scores_BMN = _product("bmk,bnk->bmn", k_BMK, q_BNK)
    scores_BMN = scores_BMN if bias is None else scores_BMN + flip(bias_BNM)
    weights_BMN = jnp.exp(scores_BMN - top_B1N)  # Times the sum of their row.
    dropped_BMN = weights_BMN * (share_B1N / (1 - rate))
    if rate:
      dropped_BMN = jnp.where(dropout.kept(*map(flip, places), rate), dropped_BMN, 0.0)
    # Held, so that what follows is one pass over memory and not a part of the product.
    of_weights_BMN = jax.lax.optimization_barrier(_product("bmk,bnk->bmn", v_BMK, gradient_BNK))
    of_scores_BMN = dropped_BMN * of_weights_BMN - weights_BMN * along_B1N
    of_scores = of_scores_BMN.astype(q.dtype)
    # Held, so that the axes keep their order; otherwise the compiler takes (B, N, M) and a slower product.
    of_q = flip(jax.lax.optimization_barrier(_product("bmk,bmn->bkn", k_BMK, of_scores)))
    of_k = _product("bmn,bnk->bmk", of_scores, q_BNK)
    of_v = _product("bmn,bnk->bmk", dropped_BMN.astype(v.dtype), gradient_BNK)
    *of_columns, of_bias = found
    of_columns = _put(of_columns, (of_q, of_k, of_v), head)
    if bias is not None:
      shared = tuple(axis for axis, length in enumerate(bias.shape[1:]) if length == 1)
      of_bias = of_bias.at[head].set(jnp.sum(flip(of_scores_BMN), axis=shared, keepdims=True))
    return *of_columns, of_bias

  empty = *map(jnp.zeros_like, (q, k, v)), None if bias is None else jnp.zeros_like(bias)
  return *jax.lax.fori_loop(0, heads, one, empty), None


by_head.defvjp(_by_head_forward, _by_head_backward)


def _of_head(columns, stacked, head, heads):
  """The columns of one head out of arrays (B, N, A * K), and what lies at `head` of arrays whose first axis is A."""
  width = lambda x: x.shape[-1] // heads
  columns = [jax.lax.dynamic_slice_in_dim(x, head * width(x), width(x), axis=2) for x in columns]
  return columns, *jax.tree.map(lambda x: x[head], stacked)


def _put(arrays, columns, head):
  put = lambda whole, part: jax.lax.dynamic_update_slice_in_dim(
    whole, part.astype(whole.dtype), head * part.shape[-1], axis=2
  )
  return tuple(map(put, arrays, columns))


def _product(equation, *factors):
  return jnp.einsum(equation, *factors, preferred_element_type=jnp.float32)
