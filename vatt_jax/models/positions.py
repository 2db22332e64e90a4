"""Position tables of another length: VATT's by natural cubic splines, continued as straight lines; ALPRO's by the nearest.

Source of the splines: google-research/vatt, modeling/common/transformers.py (`ExpandableEmbedding`): a polyharmonic spline of order 3,
which in one dimension is the natural cubic spline. Theirs is solved in float32 and ill-conditioned; this one in float64.
"""

import re

import numpy as np

TABLE = re.compile(r"(^|/)positions/axis_\d+$")
ALPRO_TABLE = re.compile(r"(^|/)(temporal|spatial)_positions$")


def resize(name: str, table: np.ndarray, length: int) -> np.ndarray:
  """The position table called `name` with another length, as its model has it."""
  if found := ALPRO_TABLE.search(name):
    return nearest_table(table, length) if found[2] == "temporal" else nearest_places(table, length)
  return resize_table(table, length)


def nearest_table(table: np.ndarray, length: int) -> np.ndarray:
  """A table (N, D) repeated or thinned: entry j is the old one's floor(j * N / length) (salesforce/ALPRO)."""
  return table[np.arange(length) * len(table) // length]


def nearest_places(table: np.ndarray, length: int) -> np.ndarray:
  """The same for a class token followed by places, row by row, as if they were on one line (salesforce/ALPRO)."""
  return np.concatenate([table[:1], nearest_table(table[1:], length - 1)])


def resize_table(table: np.ndarray, length: int) -> np.ndarray:
  """A table (N, D) read at `length` equally spaced places: entry j lies at j * N / length of the old one."""
  knots = len(table)
  if knots == length:
    return table
  values = np.asarray(table, np.float64)
  places = np.arange(length) * (knots / length)
  if knots == 1:
    return np.repeat(table, length, axis=0)
  bends = _second_derivatives(values)
  left = np.minimum(places.astype(int), knots - 2)
  inside = np.minimum(places, knots - 1)
  b = (inside - left)[:, None]
  a = 1.0 - b
  cubic = a * values[left] + b * values[left + 1]
  cubic += ((a**3 - a) * bends[left] + (b**3 - b) * bends[left + 1]) / 6.0
  slope = values[-1] - values[-2] + bends[-2] / 6.0  # At the last knot, where the second derivative is 0.
  beyond = np.maximum(places - (knots - 1), 0.0)[:, None]
  return (cubic + beyond * slope).astype(table.dtype)


def _second_derivatives(values: np.ndarray) -> np.ndarray:
  """Of the natural cubic spline through values (N, D) at unit distances: float64 (N, D), 0 at both ends."""
  bends = np.zeros_like(values)
  inner = len(values) - 2
  if inner > 0:
    matrix = 4.0 * np.eye(inner) + np.eye(inner, k=1) + np.eye(inner, k=-1)
    bends[1:-1] = np.linalg.solve(matrix, 6.0 * (values[2:] - 2.0 * values[1:-1] + values[:-2]))
  return bends


def fits(name: str, have: tuple[int, ...], want: tuple[int, ...]) -> bool:
  """Whether the parameter `name` of one shape can take the place of another: only position tables are resized."""
  table = TABLE.search(name) or ALPRO_TABLE.search(name)
  return have == want or (table is not None and have[1:] == want[1:])
