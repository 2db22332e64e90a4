"""Where parameters live: an ordered table of (regex on the path, partition); the first match wins."""

from collections.abc import Sequence
import re

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

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
  (r"embedding$", ("data", None)),
  (r"kernel$", (None, "data")),
  (r".*", ()),
)


def shardings(tree, rules: Rules, mesh: Mesh, fsdp: bool = False):
  """A NamedSharding for every leaf of a pytree of shapes.

  Optimizer state follows its parameter: its path ends in the parameter's path, which the regex searches for. An axis that
  a dimension does not divide by is left out.

  Args:
    fsdp: whether parameters are split along `data` too; otherwise every device of that axis has them all.

  Raises:
    ValueError: when no rule matches a leaf.
  """

  def fits(axis, length):
    return axis is not None and (fsdp or axis != "data") and length % mesh.shape[axis] == 0

  def leaf_sharding(path, leaf):
    if not leaf.shape:
      return NamedSharding(mesh, PartitionSpec())
    name = path_name(path)
    for pattern, axes in rules:
      if re.search(pattern, name):
        axes = axes if len(axes) <= len(leaf.shape) else ()
        return NamedSharding(mesh, PartitionSpec(*(a if fits(a, n) else None for a, n in zip(axes, leaf.shape))))
    raise ValueError(f"no partition rule matches {name}")

  return jax.tree_util.tree_map_with_path(leaf_sharding, tree)


def parameter_table(params, placed) -> str:
  """One line per parameter: path, shape, dtype, partition; then the total and the bytes on each device."""
  lines, count, on_device = [], 0, 0
  leaves, places = jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(placed)
  for (path, leaf), sharding in zip(leaves, places):
    count += int(np.prod(leaf.shape))
    on_device += int(np.prod(sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize
    lines.append(f"  {path_name(path):60s} {leaf.shape!s:20s} {leaf.dtype.name:8s} {sharding.spec}")
  return "\n".join([*lines, f"  {count:,} parameters, {on_device / 2**20:.1f} MiB of parameters on each device"])
