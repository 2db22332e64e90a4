"""Where parameters live: an ordered table of (regex on the path, partition); the first match wins."""

from collections.abc import Callable, Sequence
import functools
import re

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from vatt_jax import placement
from vatt_jax.training.mesh import batch_sharding

Rules = Sequence[tuple[str, tuple]]


def path_name(path) -> str:
  """'/'-joined name of a leaf of a pytree."""
  return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


# Our Transformers' parameters: tensors split as Megatron does (columns, then rows), so that an MLP and an attention need
# one sum over `model` each; the other axis is shared along `data` where `fsdp` is asked for.
TRANSFORMER_RULES: Rules = (
  (r"(query|key|value|feed_forward_in)/kernel$", ("data", "model")),
  (r"(attention/out|feed_forward_out)/kernel$", ("model", "data")),
  (r"(query|key|value|feed_forward_in)/bias$", ("model",)),
  (r"frozen/", ()),  # A table of word vectors is small without gradients and moments, and looked up everywhere.
  (r"embedding$", ("data", None)),
  (r"kernel$", (None, "data")),
  (r".*", ()),
)


def partition(name: str, shape: tuple[int, ...], rules: Rules, mesh: Mesh, fsdp: bool) -> PartitionSpec:
  """Of one parameter: what the first rule says that matches its name.

  An axis that its dimension does not divide by is left out, but `data` moves to the first free dimension that it divides.

  Args:
    name: the '/'-joined path, or its end.
    fsdp: whether parameters are split along `data`; otherwise every device of that axis has them all.

  Raises:
    ValueError: when no rule matches.
  """
  fits = lambda axis, length: axis is not None and length % mesh.shape[axis] == 0
  for pattern, axes in rules:
    if re.search(pattern, name):
      if len(axes) > len(shape):
        return PartitionSpec()
      spec = [axis if axis != "data" and fits(axis, length) else None for axis, length in zip(axes, shape)]
      if fsdp and "data" in axes:
        wanted = axes.index("data")
        places = [place for place in (wanted, *range(len(axes))) if not spec[place] and fits("data", shape[place])]
        spec[places[0] if places else wanted] = "data" if places else None
      return PartitionSpec(*spec)
  raise ValueError(f"no partition rule matches {name}")


def shardings(tree, rules: Rules, mesh: Mesh, fsdp: bool = False):
  """A NamedSharding for every leaf of a pytree of shapes, see `partition`.

  Optimizer state follows its parameter: its path ends in the parameter's path, which the regex searches for.
  """
  place = lambda path, leaf: NamedSharding(mesh, partition(path_name(path), leaf.shape, rules, mesh, fsdp))
  return jax.tree_util.tree_map_with_path(place, tree)


def on_mesh(function: Callable, rules: Rules, mesh: Mesh, fsdp: bool) -> Callable:
  """The same function, whose activations lie by rows of the batch and whose weights are gathered where they are used.

  Without this the partitioner sees a kernel that is split along `data` and may split activations by width instead,
  which moves them from device to device in every layer.
  """
  rows = batch_sharding(mesh)
  shards = mesh.shape["replica"] * mesh.shape["data"]
  place_rows = lambda x: jax.lax.with_sharding_constraint(x, rows) if len(x) % shards == 0 else x

  def weight(name, value):
    split = partition(name, value.shape, rules, mesh, fsdp)
    if "data" not in split:
      return value
    whole = PartitionSpec(*(None if axis == "data" else axis for axis in split))
    return _gather(value, NamedSharding(mesh, whole), NamedSharding(mesh, split))

  @functools.wraps(function)
  def placed(*args):
    with placement.placed(place_rows, weight, mesh.size):
      return function(*args)

  return placed


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gather(value, whole, split):
  """`value` as `whole` says; its gradient is summed to where `split` says, never to every device."""
  return jax.lax.with_sharding_constraint(value, whole)


_gather.defvjp(
  lambda value, whole, split: (_gather(value, whole, split), None),
  lambda whole, split, _, gradient: (jax.lax.with_sharding_constraint(gradient, split),),
)


def bytes_per_device(tree, placed) -> int:
  """Of the arrays of a tree that lie as `placed` says."""
  size = lambda leaf, place: int(np.prod(place.shard_shape(leaf.shape))) * leaf.dtype.itemsize
  return sum(jax.tree.leaves(jax.tree.map(size, tree, placed)))


def parameter_table(params, placed, opt_state=(), opt_placed=()) -> str:
  """One line per parameter: path, shape, dtype, partition; then the total and the bytes on each device.

  Args:
    params, placed: arrays or their shapes, and their shardings.
    opt_state, opt_placed: the same of the optimizer.
  """
  lines = [
    f"  {path_name(path):60s} {leaf.shape!s:20s} {leaf.dtype.name:8s} {place.spec}"
    for (path, leaf), place in zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(placed))
  ]
  count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
  sizes = [bytes_per_device(params, placed) / 2**20, bytes_per_device(opt_state, opt_placed) / 2**20]
  total = f"  {count:,} parameters, {sizes[0]:.2f} MiB of parameters and {sizes[1]:.2f} MiB of optimizer on each device"
  return "\n".join([*lines, total])
