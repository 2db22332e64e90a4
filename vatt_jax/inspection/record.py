"""Records of a prepared data set, feature by feature."""

from collections.abc import Sequence

import numpy as np

from vatt_jax.data import records as records_lib
from vatt_jax.errors import UserError


def describe(directory: str, split: str, numbers: Sequence[int]) -> str:
  """The features of some records, as text.

  Raises:
    UserError: for a data set, a split or a record that does not exist.
  """
  records = open_numbers(directory, split, numbers)
  lines = []
  for number in numbers:
    lines.append(f"record {number} of {len(records)} in {split} of {directory}")
    for name, values in sorted(records_lib.decode(records[number]).items()):
      lines.append(f"  {name:22s} {_summary(name, values)}")
  return "\n".join(lines)


def open_numbers(directory: str, split: str, numbers: Sequence[int]) -> records_lib.Records:
  """The split; UserError where it has no such records."""
  records = records_lib.open_split(directory, split)
  if beyond := [number for number in numbers if not 0 <= number < len(records)]:
    raise UserError(f"there is no record {beyond[0]}: {split} of {directory} has {len(records)}, numbered from 0.")
  return records


def _summary(name: str, values) -> str:
  if name == "audio/samples":
    loudest = int(np.max(np.abs(values.astype(np.int32)), initial=0))
    return f"{len(values):,} samples, the loudest {loudest}" if len(values) else "none"
  if name == "video/frames":
    return f"{len(values)} JPEG files of {sum(map(len, values)):,} bytes" if values else "none"
  show = lambda value: value.decode("utf-8", "replace") if isinstance(value, bytes) else f"{value:g}"
  shown = [show(value) for value in values[:8]]
  return " | ".join(shown) + (f" | ... ({len(values)})" if len(values) > 8 else "") or "none"
