"""Retrieval between modalities, measured so that an encoder that knows nothing scores exactly chance.

Ties are where retrieval metrics go wrong: with `rank = 1 + number of better items` an encoder that maps everything to
one point is perfect. Here the right item takes a random place among the items as similar as itself. The reported rank
is the mean over these places, and recall at k is the expected recall, the share of these places that are among the
first k; so a constant encoder has R@k = k / gallery and a median rank of (gallery + 1) / 2, as a random one has.
"""

from collections.abc import Iterator, Sequence
import dataclasses

import numpy as np

from vatt_jax.errors import UserError
from vatt_jax.evaluation.embeddings import EmbeddedSet

CUTOFFS = (1, 5, 10)
COMPARED = 1000  # clips whose pairs make densities and their figures

# Cosines closer than this are tied: embeddings are float32, and equal rows may differ by rounding in the product.
TIE_TOLERANCE = 1e-7

_QUERIES_AT_ONCE = 256  # Bounds memory: a block of similarities has this many rows.


class NothingToCompare(UserError):
  """The set is empty, or no clip of it has two modalities that meet."""


@dataclasses.dataclass(frozen=True)
class Placement:
  """Where the right items of n queries stand in their galleries.

  Attributes:
    better: int (n,), how many items are more similar to the query than the right one.
    tied: int (n,), how many are as similar as the right one, itself included; at least 1.
  """

  better: np.ndarray
  tied: np.ndarray

  @property
  def rank(self) -> np.ndarray:
    """float64 (n,), from 1; the mean place among ties."""
    return self.better + (self.tied + 1) / 2

  def recall_at(self, k: int) -> np.ndarray:
    """float64 (n,), the probability that the right item is among the first k when ties are ordered at random."""
    return np.clip((k - self.better) / self.tied, 0, 1)


def unit_rows(embeddings: np.ndarray) -> np.ndarray:
  """Scales rows to unit length: (n, E) -> float64 (n, E); zero rows stay zero, rows that are not finite become NaN."""
  rows = np.array(embeddings, np.float64)
  rows[~np.isfinite(rows).all(axis=-1)] = np.nan
  norms = np.linalg.norm(rows, axis=-1, keepdims=True)
  return rows / np.where(norms == 0, 1, norms)


def cosine_similarity(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
  """Cosines of all pairs: (n, E), (m, E) -> float64 (n, m); NaN where a row is not finite, 0 where one is zero."""
  with np.errstate(invalid="ignore"):
    return unit_rows(queries) @ unit_rows(gallery).T


def place(queries: np.ndarray, gallery: np.ndarray, targets: np.ndarray | None = None) -> Placement:
  """Finds where each query's right item stands when the gallery is sorted by cosine similarity.

  Args:
    queries: (n, E), any scale.
    gallery: (m, E), any scale.
    targets: int (n,), each query's right row of the gallery; None means the row of the same index.

  Returns:
    The placement of n queries. A query or a right item that is not finite comes last; a wrong item that is not
    finite comes after all finite ones. So NaN never wins, and an encoder gains nothing on average by returning it.

  Raises:
    ValueError: the shapes or the targets do not fit together.
  """
  queries, gallery = np.asarray(queries), np.asarray(gallery)
  if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
    raise ValueError(f"Expected queries (n, E) and a gallery (m, E), got {queries.shape} and {gallery.shape}.")
  if targets is None and len(queries) != len(gallery):
    raise ValueError(f"{len(queries)} queries and {len(gallery)} gallery items are not pairs: pass targets.")
  targets = np.arange(len(queries)) if targets is None else np.asarray(targets, np.int64)
  if targets.shape != (len(queries),) or (targets < 0).any() or (targets >= len(gallery)).any():
    raise ValueError(f"Expected one gallery row in [0, {len(gallery)}) for each of {len(queries)} queries.")

  better, tied = np.zeros(len(queries), np.int64), np.ones(len(queries), np.int64)
  for start in range(0, len(queries), _QUERIES_AT_ONCE):
    block = slice(start, start + _QUERIES_AT_ONCE)
    similarity = cosine_similarity(queries[block], gallery)
    right = np.take_along_axis(similarity, targets[block, None], axis=1)
    # Comparisons with NaN are false: a wrong NaN item counts as neither better nor tied, a NaN right item needs care.
    better[block] = np.sum(similarity > right + TIE_TOLERANCE, axis=1)
    tied[block] = np.sum(np.abs(similarity - right) <= TIE_TOLERANCE, axis=1)
    lost = np.isnan(right[:, 0])
    better[block][lost], tied[block][lost] = len(gallery) - 1, 1
  return Placement(better, tied)


def ranks(queries: np.ndarray, gallery: np.ndarray, targets: np.ndarray | None = None) -> np.ndarray:
  """Ranks of the right items, float64 (n,), from 1, ties at their mean rank; arguments and errors as in `place`."""
  return place(queries, gallery, targets).rank


def rows_by_group(groups: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
  """Each distinct group in sorted order, with its row indices, ascending."""
  groups = np.asarray(groups, dtype=object)
  return ((group, np.flatnonzero(groups == group)) for group in sorted(set(groups)))


def place_within_groups(queries: np.ndarray, gallery: np.ndarray, groups: Sequence[str]) -> Placement:
  """As `place` for pairs of rows (n, E), but each query meets only the gallery rows of its own group."""
  better, tied = np.zeros(len(queries), np.int64), np.ones(len(queries), np.int64)
  for _, rows in rows_by_group(groups):
    placement = place(queries[rows], gallery[rows])
    better[rows], tied[rows] = placement.better, placement.tied
  return Placement(better, tied)


def metrics_by_group(queries: np.ndarray, gallery: np.ndarray, groups: Sequence[str]) -> dict[str, dict[str, float]]:
  """The metrics of `retrieval_metrics` for each group alone."""
  placement, metrics = place_within_groups(queries, gallery, groups), {}
  for group, rows in rows_by_group(groups):
    metrics[group] = {
      **{f"recall_at_{k}": float(placement.recall_at(k)[rows].mean()) for k in CUTOFFS},
      "median_rank": float(np.median(placement.rank[rows])),
      "mean_rank": float(placement.rank[rows].mean()),
      **{f"chance_recall_at_{k}": min(1.0, k / len(rows)) for k in CUTOFFS},
      "queries": float(len(rows)),
      "gallery": float(len(rows)),
    }
  return metrics


def retrieval_metrics(
  queries: np.ndarray, gallery: np.ndarray, groups: Sequence[str] | None = None
) -> dict[str, float]:
  """Recall, ranks and chance of retrieving row i of the gallery with row i of the queries.

  Args:
    queries: (n, E), any scale.
    gallery: (n, E), any scale.
    groups: n names, such as languages; a query meets only the gallery rows of its own group. None: one group.

  Returns:
    `recall_at_{1,5,10}` (expected over random orders of ties, in [0, 1]), `median_rank` and `mean_rank` (from 1, ties at
    their mean rank), `chance_recall_at_{1,5,10}` = min(1, k / gallery), `queries` (how many) and `gallery` (items each query
    meets). With several groups every figure but `queries` is the mean of the groups' figures weighted by their
    queries; so the median rank is the mean of medians. A group of one takes part: its query can't miss, and neither
    can chance, which is counted along.

  Raises:
    ValueError: there are no queries, or the shapes do not fit together.
  """
  groups = [""] * len(queries) if groups is None else groups
  if not len(queries) == len(gallery) == len(groups) or not len(queries):
    raise ValueError(
      f"Expected as many queries as gallery items and groups, at least one; got {len(queries)}, {len(gallery)}, "
      f"{len(groups)}."
    )
  metrics = metrics_by_group(np.asarray(queries), np.asarray(gallery), groups).values()
  weights = [group["queries"] for group in metrics]
  names = next(iter(metrics))
  mean = {name: float(np.average([group[name] for group in metrics], weights=weights)) for name in names}
  return {**mean, "queries": float(sum(weights))}


def evaluate_set(embedded: EmbeddedSet) -> dict[str, float]:
  """Zero-shot retrieval within one language, in every direction that the set's modalities allow.

  Returns:
    `<from>_to_<to>/<metric>` with the metrics of `retrieval_metrics`, over the clips that have both modalities; `auc` and
    `overlap` of the cosines of right and other pairs, of at most `COMPARED` clips; and, where the temperature is known,
    `softmax_entropy` with its `chance`, see there.

  Raises:
    NothingToCompare: no clip has two modalities that meet in a common space.
  """
  metrics = {}
  for source, target in embedded.directions():
    rows, queries, gallery = embedded.pair(source, target)
    figures = retrieval_metrics(queries, gallery, embedded.languages_of(rows))
    if temperature := embedded.temperatures.get((source, target)) or embedded.temperatures.get((target, source)):
      figures |= softmax_entropy(queries, gallery, embedded.languages_of(rows), temperature)
    some = compared(len(rows))
    pairs = positives_and_negatives(queries[some], gallery[some], embedded.languages_of(rows[some]))
    if all(map(len, pairs)):
      figures |= {"auc": area_under_curve(*pairs), "overlap": overlap(*pairs)}
    metrics.update({f"{source}_to_{target}/{name}": value for name, value in figures.items()})
  if not metrics:
    raise NothingToCompare(missing_sentence(embedded))
  return metrics


def missing_sentence(embedded: EmbeddedSet) -> str:
  """One sentence about why nothing can be retrieved in a set."""
  if not len(embedded):
    return f"The evaluation set '{embedded.name}' is empty: prepare data that has clips in this split."
  if not embedded.spaces:
    return f"The evaluation set '{embedded.name}' has no two modalities that this model can compare."
  counts = ", ".join(f"{name} in {int(np.sum(present))}" for name, present in embedded.present.items())
  pairs = ", ".join(" with ".join(pair) for pair in embedded.spaces)
  return (
    f"No clip of the evaluation set '{embedded.name}' has two modalities that can be compared ({pairs}); "
    f"of its {len(embedded)} clips there is {counts or 'nothing'}."
  )


def softmax_entropy(
  queries: np.ndarray, gallery: np.ndarray, groups: Sequence[str], temperature: float
) -> dict[str, float]:
  """How many items a query hesitates between: the entropy in nats of the softmax of cosines / temperature.

  Args:
    queries, gallery: (n, E), any scale.
    groups: n names; a query meets the items of its own group.
    temperature: as in training.

  Returns:
    `softmax_entropy`, the mean over queries, and `chance_softmax_entropy`, where all items are equally near: ln of the
    gallery. Queries that meet what is not finite are left out; NaN where that is all of them.
  """
  found, chance = [], []
  for _, rows in rows_by_group(groups):
    for start in range(0, len(rows), _QUERIES_AT_ONCE):
      scores = cosine_similarity(queries[rows[start : start + _QUERIES_AT_ONCE]], gallery[rows]) / temperature
      scores = scores[np.isfinite(scores).all(axis=1)]
      shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
      shares = shifted / shifted.sum(axis=1, keepdims=True)
      found += list(-np.sum(shares * np.log(np.maximum(shares, 1e-300)), axis=1))
      chance += [np.log(len(rows))] * len(scores)
  mean = lambda values: float(np.mean(values)) if values else float("nan")
  return {"softmax_entropy": mean(found), "chance_softmax_entropy": mean(chance)}


def compared(count: int) -> np.ndarray:
  """Which of `count` clips stand for all where every pair is looked at: int, ascending, at most `COMPARED`."""
  return np.sort(np.random.default_rng(0).permutation(count)[:COMPARED])


def positives_and_negatives(
  queries: np.ndarray, gallery: np.ndarray, groups: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
  """Cosines of the pairs of equal rows (at most n,), and of all other pairs within a group; those that are finite."""
  positives, negatives = [], []
  for _, rows in rows_by_group(groups):
    similarity = cosine_similarity(queries[rows], gallery[rows])
    same = np.eye(len(rows), dtype=bool)
    positives.append(similarity[same])
    negatives.append(similarity[~same])
  positives, negatives = (np.concatenate([*parts, np.zeros(0)]) for parts in (positives, negatives))
  return positives[np.isfinite(positives)], negatives[np.isfinite(negatives)]


def area_under_curve(positives: np.ndarray, negatives: np.ndarray) -> float:
  """The chance that a positive beats a negative, ties counting half (area under the ROC curve); NaN if one is empty."""
  if not len(positives) or not len(negatives):
    return float("nan")
  negatives = np.sort(negatives)
  beaten = np.searchsorted(negatives, positives, "left") + np.searchsorted(negatives, positives, "right")
  return float(np.mean(beaten) / (2 * len(negatives)))


def density(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
  """How densely values lie, smoothed by a Gaussian: float64 (bins,), its sum times the bin width is 1.

  The Gaussian is as wide as suits about this many values (Silverman's rule), and at least a bin.

  Args:
    values: float (n,), n > 0, inside of the edges.
    edges: float (bins + 1,), evenly apart.
  """
  step = edges[1] - edges[0]
  lower, upper = np.quantile(values, [0.25, 0.75])
  spread = min(values.std(), (upper - lower) / 1.34) or values.std()
  width = max(0.9 * spread * len(values) ** -0.2, step)
  counts = np.histogram(values, edges)[0]
  bins = len(counts)
  kernel = np.exp(-0.5 * (np.arange(1 - bins, bins) * step / width) ** 2)
  smooth = np.convolve(counts, kernel)[bins - 1 : 2 * bins - 1]
  return smooth / (smooth.sum() * step)


def overlap(positives: np.ndarray, negatives: np.ndarray, bins: int = 256) -> float:
  """The area that the densities of both share: 1 for equal ones, 0 where nothing could be either; NaN if one is empty."""
  if not len(positives) or not len(negatives):
    return float("nan")
  edges = similarity_edges(positives, negatives, bins)
  shared = np.minimum(density(positives, edges), density(negatives, edges))
  return float(shared.sum() * (edges[1] - edges[0]))


def similarity_edges(positives: np.ndarray, negatives: np.ndarray, bins: int = 256) -> np.ndarray:
  """Edges of bins that hold all values, with room at both ends: float64 (bins + 1,)."""
  low, high = min(positives.min(), negatives.min()), max(positives.max(), negatives.max())
  middle, reach = (low + high) / 2, max(high - low, 0.02) * 0.55
  return np.linspace(middle - reach, middle + reach, bins + 1)
