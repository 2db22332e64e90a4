"""Flax's layers with large parameters, which are gathered in the dtype of the computation where devices share them.

Gathered where they are used, a layer that is computed again in the backward pass is gathered again, and no device ever
holds more than a layer or two.
"""

from flax import linen as nn

from vatt_jax import placement


class _Gathered:
  def param(self, name, *args, **kwargs):
    value = super().param(name, *args, **kwargs)
    return placement.weight("/".join((*self.path, name)), value, self.dtype) if value.ndim > 1 else value


class Dense(_Gathered, nn.Dense):
  """`flax.linen.Dense`."""


class Embed(_Gathered, nn.Embed):
  """`flax.linen.Embed`."""
