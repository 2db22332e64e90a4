"""How many floating-point operations the matrix products of a JAX function take.

A multiply-add counts as two. Element-wise work (softmax, GELU, norms, dropout) is not counted: what hardware is sold
by, and what the time of a large model is measured against, are its matrix products.
"""

from collections.abc import Callable
import math

import jax
from jax import make_jaxpr
from jax.extend import core

from vatt_jax import placement
from vatt_jax.training import hardware

CONVENTION = (
  "matrix products only, a multiply-add is two; a training step counts as three forward passes of the loss on the "
  "patches that DropToken keeps, queries times keys included, every token in every layer; what has no gradient counts once"
)


def model_flops(objective, variables: dict, batch: dict) -> int:
  """FLOPs of a training step over all devices, by `CONVENTION`.

  What is computed again to save memory is not counted, and what is left out because nothing is made of it is: the model
  is the published one. `computed_flops` counts what is left.

  Args:
    objective: not on a mesh: what is inside of a device's own kernels can't be counted. Its `frozen`, if it has one, is
      (variables, batch) -> what it computes without gradients.
    variables, batch: shapes.
  """
  with placement.every_token():
    return computed_flops(objective, variables, batch)


def computed_flops(objective, variables: dict, batch: dict) -> int:
  """As `model_flops`, without what the step leaves out."""
  forward = count_matmul_flops(lambda v, b: objective.loss(v, b, jax.random.key(0), train=True), variables, batch)
  frozen = getattr(objective, "frozen", None)
  return 3 * forward - (2 * count_matmul_flops(frozen, variables, batch) if frozen else 0)


def utilization(config, objective, shapes, batch: dict, mesh) -> Callable[[float], float] | None:
  """Seconds of a step -> the share of the peak of all devices that its model FLOPs are.

  The peak is that of `config.model.dtype`. None for devices whose peak is not known (CPUs among them).
  """
  known = hardware.find(mesh.devices.flat[0].device_kind)
  if known is None:
    return None
  peak = known.flops_per_second(config.model.get("dtype", "float32")) * mesh.size
  total = model_flops(objective, shapes.variables, batch)
  return lambda seconds: total / seconds / peak


def count_matmul_flops(function: Callable, *args) -> int:
  """FLOPs of all matrix products and convolutions in `function(*args)`, over all devices; nothing is run.

  Args:
    function: any traceable function; what `jit`, `scan`, `remat`, `shard_map` and custom derivatives hold is counted.
    args: arrays or `ShapeDtypeStruct`s.

  Raises:
    ValueError: for a matrix product in a `while` loop, whose number of turns is not known.
  """
  return _count(make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: core.Jaxpr) -> int:
  return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation) -> int:
  name = equation.primitive.name
  if name == "dot_general":
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * equation.outvars[0].aval.size * math.prod(left[axis] for axis in contracted)
  if name == "conv_general_dilated":
    kernel = equation.invars[1].aval
    outputs_per_weight = equation.params["dimension_numbers"].rhs_spec[0]
    return 2 * equation.outvars[0].aval.size * (kernel.size // kernel.shape[outputs_per_weight])
  inner = [_count(jaxpr) for jaxpr in _inner_jaxprs(equation.params)]
  if name == "cond":
    return max(inner)
  if name == "while" and any(inner):
    raise ValueError("a matrix product stands in a while loop; use scan, or fori_loop with a known number of turns")
  turns = {"scan": "length", "shard_map": "mesh"}.get(name)
  times = equation.params[turns] if turns else 1
  return getattr(times, "size", times) * sum(inner)


def _inner_jaxprs(params: dict):
  for value in params.values():
    for item in value if isinstance(value, tuple | list) else [value]:
      if isinstance(item, core.ClosedJaxpr):
        yield item.jaxpr
      elif isinstance(item, core.Jaxpr):
        yield item
