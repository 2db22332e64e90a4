"""Attention kernels of accelerators, out of JAX's own collection; none of them holds the matrix of all scores.

A kernel is a function of q, k, v (B, A, N, K), q scaled already, to the mixed values (B, A, N, K). Kernels have no
dropout on the attention weights and no bias.
"""

from collections.abc import Callable
import functools

import jax
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as splash_lib,
  splash_attention_mask as masks,
)
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from vatt_jax.errors import UserError

Kernel = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
NAMES = ("auto", "xla", "cudnn", "splash")
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


def take_choice(fields: dict) -> str:
  """Takes the name in `attention` out of the fields of a model, and makes an `attention_dropout` below 0 None.

  Raises:
    ValueError: for an unknown name, or a kernel that would have to drop attention weights.
  """
  name, rate = fields.pop("attention", "auto"), fields.get("attention_dropout", -1.0)
  fields["attention_dropout"] = None if rate < 0 else rate
  if name not in NAMES:
    raise ValueError(f"attention {name!r} is not one of {', '.join(NAMES)}")
  if name in ("cudnn", "splash") and (fields["dropout"] if rate < 0 else rate):
    raise ValueError(
      f'attention {name!r} drops no attention weights: set attention_dropout to 0, or attention to "auto"'
    )
  return name


def for_mesh(name: str, mesh: Mesh, dtype: str) -> Kernel | None:
  """The kernel called `name` for the devices of `mesh`; None: plain XLA.

  Args:
    name: "auto": splash on TPUs, cuDNN on GPUs where the dtype allows it, else plain XLA.
    dtype: of the computation.

  Raises:
    UserError: for a kernel that these devices, or this dtype, do not have.
  """
  platform = mesh.devices.flat[0].platform
  gpu = platform in ("gpu", "cuda")
  if name == "auto":
    name = "splash" if platform == "tpu" else "cudnn" if gpu and dtype == "bfloat16" else "xla"
  if name == "xla":
    return None
  if name == "cudnn" and (not gpu or dtype != "bfloat16"):
    raise UserError(
      f'config.model.attention = "cudnn" needs a GPU and dtype "bfloat16"; here are {platform} and {dtype!r}'
    )
  if name == "splash" and platform not in ("tpu", "cpu"):
    raise UserError(f'config.model.attention = "splash" is for TPUs; here is {platform}')
  one = functools.partial(splash, interpret=platform == "cpu") if name == "splash" else cudnn
  return functools.partial(_over, mesh, one)


def _over(mesh: Mesh, kernel: Kernel, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
  """Each device computes its own rows and heads: the compiler can't split what is inside of a kernel."""
  rows = mesh.shape["replica"] * mesh.shape["data"]
  if mesh.size == 1:
    return kernel(q, k, v)
  place = PartitionSpec(
    ("replica", "data") if q.shape[0] % rows == 0 else None, "model" if q.shape[1] % mesh.shape["model"] == 0 else None
  )
  return jax.shard_map(kernel, mesh=mesh, in_specs=(place,) * 3, out_specs=place, check_vma=False)(q, k, v)
