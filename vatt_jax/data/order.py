"""The order of examples as a function: which record stands in row r of batch k, for every k, without iterating.

A run's order is fixed by (data set, batch size, seed). Each epoch visits every example once, in an order of its own.
"""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Interleaving:
  """Mixes sources in fixed proportions: position n -> (source, how often that source came before n).

  Built once per period by always taking the source that is furthest behind its share (Tijdeman's rule), so that the
  count of each source is never off by more than one from its exact share; beyond a period it is closed form.

  Attributes:
    weights: positive ints, how often each source comes in one period of sum(weights).
  """

  weights: tuple[int, ...]

  def __post_init__(self):
    weights, period = np.asarray(self.weights, np.int64), sum(self.weights)
    if not self.weights or min(self.weights) <= 0:
      raise ValueError(f"weights must be positive, got {self.weights}")
    counts = np.zeros(len(weights), np.int64)
    sources, before = np.zeros(period, np.int64), np.zeros(period, np.int64)
    for n in range(period):
      # Only sources whose share after this position reaches another item may come; the most urgent deadline first.
      eligible = counts * period < weights * (n + 1)
      deadline = np.where(eligible, (counts + 1) * period / weights, np.inf)
      source = int(np.argmin(deadline))
      sources[n], before[n] = source, counts[source]
      counts[source] += 1
    object.__setattr__(self, "_sources", sources)
    object.__setattr__(self, "_before", before)

  def __call__(self, n: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    period, place = np.divmod(n, len(self._sources))
    source = self._sources[place]
    return source, period * np.asarray(self.weights)[source] + self._before[place]


@dataclasses.dataclass(frozen=True, eq=False)
class Order:
  """The training order over one data set, or over several at once.

  Attributes:
    batch_size: B, global.
    seed: of the run.
    groups: disjoint arrays of record numbers; each has epochs of its own.
    weights: how often the groups take turns; None: by their size, in whole batches.
    mixed: whether turns are taken by examples, so that every batch has all groups (VATT's mixture of data sets), or by
      batches, so that each batch comes from one (ALPRO's mixture; or one language, so that negatives differ in meaning).
  """

  batch_size: int
  seed: int
  groups: tuple[np.ndarray, ...]
  weights: tuple[int, ...] | None = None
  mixed: bool = False

  def __post_init__(self):
    weights = self.weights or [max(1, len(group) // self.batch_size) for group in self.groups]
    common = math.gcd(*weights)
    object.__setattr__(self, "_turns", Interleaving(tuple(weight // common for weight in weights)))

  def batch(self, step: int, first_row: int = 0, rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Rows [first_row, first_row + rows) of batch `step`: (epochs int64 (rows,), record numbers int64 (rows,))."""
    row = first_row + np.arange(rows or self.batch_size)
    if self.mixed:
      which, positions = self._turns(step * self.batch_size + row)
    else:
      which, batches_before = self._turns(step)
      positions = batches_before * self.batch_size + row
      which = np.broadcast_to(which, row.shape)
    epochs, numbers = np.zeros_like(positions), np.zeros_like(positions)
    for i in np.unique(which):
      here = which == i
      epochs[here], numbers[here] = self._shuffled(int(i), positions[here])
    return epochs, numbers

  def _shuffled(self, which: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and record numbers at these positions of one group's own order."""
    group = self.groups[which]
    epochs, places = positions // len(group), positions % len(group)
    shuffled = np.empty_like(places)
    for epoch in np.unique(epochs):
      seed = np.random.SeedSequence([self.seed, which, int(epoch)]).generate_state(2)
      here = epochs == epoch
      with tf.device("CPU"):
        shuffled[here] = tf.random.experimental.index_shuffle(places[here], seed, len(group) - 1)
    return epochs, group[shuffled]


def plain(size: int, batch_size: int, seed: int) -> Order:
  """All examples in one group."""
  return Order(batch_size, seed, (np.arange(size, dtype=np.int64),))


def grouped(keys: list[str], batch_size: int, seed: int) -> Order:
  """Batches of equal keys. Groups with fewer examples than a batch form one group together."""
  names, members = np.unique(np.asarray(keys), return_inverse=True)
  groups = [np.flatnonzero(members == i) for i in range(len(names))]
  small = [group for group in groups if len(group) < batch_size]
  groups = [group for group in groups if len(group) >= batch_size]
  return Order(batch_size, seed, (*groups, np.sort(np.concatenate(small))) if small else tuple(groups))


def mixture(sets: Sequence[range], weights: Sequence[int], batch_size: int, seed: int, mixed: bool) -> Order:
  """Several data sets by weight: the record numbers of each, as in `records.Joined.ranges`."""
  return Order(batch_size, seed, tuple(np.asarray(numbers, np.int64) for numbers in sets), tuple(weights), mixed)
