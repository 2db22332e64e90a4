"""Which attention kernel a model takes on which devices."""

import functools

import jax
from jax.sharding import Mesh, PartitionSpec

from vatt_jax.errors import UserError
from vatt_jax.models.kernels import Kernel, cudnn, splash

NAMES = ("auto", "xla", "cudnn", "splash")


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
