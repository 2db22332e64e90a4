r"""Parameter groups: which parameters learn at another rate, more slowly in each lower layer, or not at all.

`config.optimizer.groups` is a table of (regex on a parameter's path, what holds there); the first row that matches decides,
and parameters that no row matches learn as the optimizer says:

  ("^video/pos", {"rate": 0.0})                        frozen: no gradient is computed, no moments are kept
  ("^classifier/", {"rate": 10.0, "weight_decay": 0.0})
  (r"^video/.*layer_(\d+)/", {"layer_rate": 0.75})     the top layer at 1, the one below at 0.75, the next at 0.75 ** 2
"""

from collections.abc import Sequence
import dataclasses
import re

import jax
import numpy as np

from vatt_jax.errors import UserError
from vatt_jax.training.sharding import path_name

FIELDS = ("rate", "layer_rate", "weight_decay")


@dataclasses.dataclass(frozen=True)
class Group:
  """How one parameter learns.

  Attributes:
    rate: times the learning rate; at 0 the parameter is frozen.
    weight_decay: None: that of the optimizer. Either way only matrices decay.
  """

  rate: float = 1.0
  weight_decay: float | None = None


class Groups:
  """The table of `config.optimizer.groups`.

  Args:
    rows: of (regex, {"rate": ..., "layer_rate": ..., "weight_decay": ...}), all fields optional. With `layer_rate` the
      last parenthesis of the regex is the number of the layer; what precedes it says of which stack of layers.

  Raises:
    UserError: for a row that is none.
  """

  def __init__(self, rows: Sequence[tuple[str, dict]]):
    self._rows = [_checked(row) for row in rows]

  def __bool__(self) -> bool:
    return bool(self._rows)

  def of(self, params):
    """A tree like `params`, of arrays or shapes, with a Group for each.

    Raises:
      UserError: when a row decides about no parameter, or all are frozen.
    """
    names = [name for name, _ in _leaves(params)]
    decided = [self._first(name) for name in names]
    for k, (pattern, _) in enumerate(self._rows):
      if all(row != k for row, _ in decided):
        raise UserError(
          f"config.optimizer.groups: {pattern!r} {self._why_not(pattern, names)}; "
          f"parameters are {', '.join(names[:3])}, ... (`inspect checkpoint --checkpoint=DIR` lists those of a run)."
        )
    tops = {}
    for row, found in decided:
      if row is not None and "layer_rate" in self._rows[row][1]:
        stack, layer = _layer(found)
        tops[row, stack] = max(layer, tops.get((row, stack), 0))
    groups = [self._group(*each, tops) for each in decided]
    if all(group.rate == 0 for group in groups):
      raise UserError("config.optimizer.groups: all parameters are frozen, so that nothing would be trained.")
    return jax.tree.unflatten(jax.tree.structure(params), groups)

  def trained(self, params):
    """A tree like `params` of whether each is trained; the others are frozen."""
    return jax.tree.map(lambda group: group.rate > 0, self.of(params))

  def hold(self, params):
    """The same parameters, frozen ones without a gradient."""
    return jax.tree.map(lambda x, trained: x if trained else jax.lax.stop_gradient(x), params, self.trained(params))

  def summary(self, params) -> str:
    """One line per row: how many parameters it has, and how they learn; empty without rows."""
    lines = []
    decided = list(zip(_leaves(params), jax.tree.leaves(self.of(params))))
    for k, (pattern, fields) in enumerate(self._rows):
      own = [(x, group.rate) for (name, x), group in decided if self._first(name)[0] == k]
      rates = [rate for _, rate in own]
      span = " to ".join(f"{rate:.3g}" for rate in sorted({min(rates), max(rates)}))
      how = f"rate x {span}" if max(rates) else "frozen"
      decay = f", weight decay {fields['weight_decay']:g}" if "weight_decay" in fields else ""
      lines.append(f"  {pattern}: {sum(int(np.prod(x.shape)) for x, _ in own):,} parameters, {how}{decay}")
    return "\n".join(lines)

  def _first(self, name: str) -> tuple[int | None, re.Match | None]:
    for k, (pattern, _) in enumerate(self._rows):
      if found := re.search(pattern, name):
        return k, found
    return None, None

  def _why_not(self, pattern: str, names: list[str]) -> str:
    found = any(re.search(pattern, name) for name in names)
    return "comes after rows that match all of its parameters" if found else "matches no parameter"

  def _group(self, row: int | None, found: re.Match | None, tops: dict) -> Group:
    if row is None:
      return Group()
    fields = self._rows[row][1]
    rate = float(fields.get("rate", 1.0))
    if "layer_rate" in fields:
      stack, layer = _layer(found)
      rate *= fields["layer_rate"] ** (tops[row, stack] - layer)
    return Group(rate, fields.get("weight_decay"))


def _leaves(params) -> list:
  return [(path_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)]


def _layer(found: re.Match) -> tuple[str, int]:
  """What precedes the number of the layer, and the number."""
  last = found.re.groups
  if not (found[last] or "").isdigit():
    raise UserError(f"config.optimizer.groups: {found[last]!r} is not the number of a layer, in {found.re.pattern!r}.")
  return found.string[: found.start(last)], int(found[last])


def _checked(row) -> tuple[str, dict]:
  example = "(('^video/', {'rate': 0.1}),)"
  try:
    pattern, fields = row
    fields = dict(fields)
    parentheses = re.compile(pattern).groups
  except (TypeError, ValueError, re.error) as error:
    raise UserError(f"config.optimizer.groups: {row!r} is not (regex, fields), as in {example}: {error}.") from error
  if unknown := set(fields) - set(FIELDS):
    raise UserError(
      f"config.optimizer.groups: {sorted(unknown)[0]!r} of {pattern!r} is not one of {', '.join(FIELDS)}."
    )
  for name, value in fields.items():
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
      raise UserError(f"config.optimizer.groups: {name} = {value!r} of {pattern!r} is not a number of at least 0.")
  if "layer_rate" in fields and (not parentheses or not fields["layer_rate"]):
    raise UserError(
      f"config.optimizer.groups: layer_rate of {pattern!r} must be above 0, and the regex must have the number of the "
      r"layer in parentheses, as in '^video/.*layer_(\d+)/'."
    )
  return pattern, fields
