"""Attention kernels of accelerators, out of JAX's own collection; none of them holds the matrix of all scores.

A kernel is a function of q, k, v (B, A, N, K), q scaled already, to the mixed values (B, A, N, K). Kernels have no
dropout on the attention weights and no bias.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Kernel = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
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
