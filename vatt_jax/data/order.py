"""The order of examples as a function: which record stands in row r of batch k, for every k, without iterating.

A run's order is fixed by (data set, batch size, seed). Each epoch visits every example once, in an order of its own.
"""

import dataclasses

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

  def __call__(self, n: int) -> tuple[int, int]:
    period, place = divmod(n, len(self._sources))
    source = int(self._sources[place])
    return source, period * self.weights[source] + int(self._before[place])


@dataclasses.dataclass(frozen=True, eq=False)
class Order:
  """The training order over one data set.

  Attributes:
    batch_size: B, global.
    seed: of the run.
    groups: disjoint arrays of record numbers. One group: plain shuffling. Several: every batch comes from one group
      (say one language, so that negatives differ in meaning, not in language), groups taking turns by their size.
  """

  batch_size: int
  seed: int
  groups: tuple[np.ndarray, ...]

  def __post_init__(self):
    weights = [max(1, len(group) // self.batch_size) for group in self.groups] if len(self.groups) > 1 else [1]
    object.__setattr__(self, "_turns", Interleaving(tuple(weights)))

  def batch(self, step: int, first_row: int = 0, rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Rows [first_row, first_row + rows) of batch `step`: (epochs int64 (rows,), record numbers int64 (rows,))."""
    which, batches_before = self._turns(step)
    group = self.groups[which]
    positions = batches_before * self.batch_size + first_row + np.arange(rows or self.batch_size)
    epochs, places = positions // len(group), positions % len(group)
    shuffled = np.empty_like(places)
    for epoch in np.unique(epochs):
      seed = np.random.SeedSequence([self.seed, which, int(epoch)]).generate_state(2)
      rows_of_epoch = epochs == epoch
      with tf.device("CPU"):
        shuffled[rows_of_epoch] = tf.random.experimental.index_shuffle(places[rows_of_epoch], seed, len(group) - 1)
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
