"""Where weights and activations lie while a model computes: said by whoever has a mesh, asked for by the modules.

Outside of `placed` both functions return what they were given, so modules need no mesh to run. In the same way whoever
counts or watches says that every token is to be computed, also those that nothing is made of.
"""

from collections.abc import Callable, Iterator
import contextlib

import jax

_placer = None  # (rows, weight, devices), while a function is traced for a mesh
_whole = False  # while a function is traced in which every token is computed


@contextlib.contextmanager
def placed(
  rows: Callable[[jax.Array], jax.Array], weight: Callable[[str, jax.Array], jax.Array], devices: int
) -> Iterator[None]:
  """What is traced inside has its activations and weights placed by these, on so many devices."""
  global _placer
  before, _placer = _placer, (rows, weight, devices)
  try:
    yield
  finally:
    _placer = before


def rows(x: jax.Array) -> jax.Array:
  """An activation (B or a multiple, ...) whose rows lie over the devices that share a batch."""
  return _placer[0](x) if _placer else x


def is_split() -> bool:
  """Whether several devices share the work, and the compiler has to find out how."""
  return bool(_placer) and _placer[2] > 1


def weight(name: str, value: jax.Array, dtype=None) -> jax.Array:
  """A parameter as the device needs it to compute: gathered where it is split only to be stored.

  Args:
    name: the '/'-joined end of its path.
    dtype: of the computation, which is what travels; None: as it is stored.
  """
  return _placer[1](name, value if dtype is None else value.astype(dtype)) if _placer else value


def weights(params: dict, dtype=None) -> dict:
  """All of these parameters as `weight` gives them, before any module asks: gathered once for several that share them."""
  name = lambda path: "/".join(str(key.key) for key in path)
  place = lambda path, value: weight(name(path), value, dtype) if value.ndim > 1 else value
  return jax.tree_util.tree_map_with_path(place, params)


@contextlib.contextmanager
def every_token() -> Iterator[None]:
  """What is traced inside computes all tokens of the last layer, as the published models do, and not only the first."""
  global _whole
  before, _whole = _whole, True
  try:
    yield
  finally:
    _whole = before


def is_whole() -> bool:
  """Whether every token is asked for."""
  return _whole
