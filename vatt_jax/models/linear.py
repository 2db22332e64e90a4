"""Flax's layers with large parameters, which are gathered in the dtype of the computation where devices share them.

Gathered where they are used, a layer that is computed again in the backward pass is gathered again, and no device ever
holds more than a layer or two.
"""

from collections.abc import Callable

from flax import linen as nn
import jax
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

from vatt_jax import placement


class _Gathered:
  def param(self, name, *args, **kwargs):
    value = super().param(name, *args, **kwargs)
    return placement.weight("/".join((*self.path, name)), value, self.dtype) if value.ndim > 1 else value


@jax.custom_vjp
def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """x (..., D) times kernel (D, F) -> (..., F), for one device.

  On CPUs the gradient of the kernel is the product of x and of what comes back, in this order and with x stored. JAX's
  own rule takes them the other way round and transposes, for which XLA's products are slower.
  """
  return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


def _forward(x, kernel):
  x = lax.platform_dependent(x, cpu=_stored, default=lambda x: x)
  return product(x, kernel), (x, kernel)


def _backward(saved, gradient):
  x, kernel = saved
  rows = tuple(range(x.ndim - 1))
  of_x = lax.dot_general(gradient, kernel, (((x.ndim - 1,), (1,)), ((), ())))
  contracted = (rows, rows), ((), ())
  in_order = lambda x, gradient: lax.dot_general(x, gradient, contracted)
  transposed = lambda x, gradient: lax.dot_general(gradient, x, contracted).T
  return of_x, lax.platform_dependent(x, gradient, cpu=in_order, default=transposed)


product.defvjp(_forward, _backward)


def _stored(x):
  """x, computed once and row after row; otherwise XLA computes it a second time, transposed and one by one.

  The partitioner does not know this constraint, and would gather x on every device.
  """
  return with_layout_constraint(lax.optimization_barrier(x), Layout(tuple(range(x.ndim))))


def _dot_general(x, kernel, dimension_numbers, precision=None):
  if placement.is_split() or precision is not None:
    return lax.dot_general(x, kernel, dimension_numbers, precision)
  return product(x, kernel)


class Dense(_Gathered, nn.Dense):
  """`flax.linen.Dense`."""

  dot_general: Callable | None = staticmethod(_dot_general)


class Embed(_Gathered, nn.Embed):
  """`flax.linen.Embed`."""
