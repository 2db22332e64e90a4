"""Classification metrics: one label for each clip, or several. Fractions lie in [0, 1]."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import re

import numpy as np
from scipy import special

from vatt_jax.evaluation.retrieval import NothingToCompare


@dataclasses.dataclass(frozen=True)
class ClassifiedSet:
  """One evaluation set after a classifier, for the report; row i of everything belongs to clip i.

  Attributes:
    name: the evaluator's key in the config.
    classes: C names.
    scores: float (n, C), higher is more likely; means over views.
    labels: int (n,), -1 where there is none, or, where clips may have several, 0 or 1 in (n, C).
    features: what the classifier stands on, such as "video/pooled" -> float32 (n, D); may be empty.
    origin: one sentence about where the scores come from.
  """

  name: str
  classes: Sequence[str]
  scores: np.ndarray
  labels: np.ndarray
  features: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  origin: str = ""

  @property
  def several(self) -> bool:
    """Whether clips may have several labels."""
    return self.labels.ndim == 2


def one_label(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
  """top_1 and top_5, the latter where there are more classes than five, and what chance gives, k / C.

  Args:
    scores: float (n, C). Of classes that score the same, the right one takes a random place: a hit counts as the share
      of these places that are among the first k, so a model that says nothing scores chance. Scores that are not
      finite come last, and never hit.
    labels: int (n,), -1 where there is none; such rows are left out.

  Raises:
    NothingToCompare: where no row has a label.
  """
  rows = np.flatnonzero(labels >= 0)
  if not len(rows):
    raise NothingToCompare("no clip has one of the labels that the model knows.")
  scores = np.where(np.isfinite(scores[rows]), scores[rows], -np.inf)
  right = scores[np.arange(len(rows)), labels[rows]][:, None]
  higher, tied = np.sum(scores > right, axis=1), np.sum(scores == right, axis=1)
  hits = lambda k: np.where(np.isfinite(right[:, 0]), np.clip((k - higher) / tied, 0, 1), 0.0)
  metrics = {f"top_{k}": float(np.mean(hits(k))) for k in (1, 5) if k < max(scores.shape[1], 2)}
  chance = {f"chance_{name}": int(name.removeprefix("top_")) / scores.shape[1] for name in metrics}
  return {**metrics, **chance, "clips": float(len(rows))}


QUESTION_WORDS = ("what", "who", "how", "where", "when")


def answers(scores: np.ndarray, labels: np.ndarray, questions: list[str]) -> dict[str, float]:
  """top_1 of all questions and, as top_1/what and so on, of those that begin with this word.

  Args:
    scores: float (n, answers); of answers that tie for the first place the first one is given.
    labels: int (n,), -1 where the right answer is not among those the model knows; such a question is answered wrongly.
    questions: n strings.

  Raises:
    NothingToCompare: where nothing is asked.
  """
  if not len(questions):
    raise NothingToCompare("the set has no question that could be read.")
  right = np.argmax(scores, axis=1) == labels
  words = np.array([re.match("[a-z]*", question.strip().lower())[0] for question in questions])
  metrics = {"top_1": float(np.mean(right)), "questions": float(len(right)), "answerable": float(np.mean(labels >= 0))}
  kinds = {word: words == word for word in QUESTION_WORDS}
  return metrics | {f"top_1/{word}": float(np.mean(right[mine])) for word, mine in kinds.items() if mine.any()}


def several_labels(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
  """Mean average precision, area under the ROC curve and d', each averaged over the classes that occur (and do not always).

  Chance is what equal scores give: the share of clips that have a class, one half, and 0.

  Args:
    scores: float (n, C); those that are not finite come last.
    labels: 0 or 1, (n, C).

  Raises:
    NothingToCompare: where no class has both clips with and clips without it.
  """
  labels = labels > 0
  counts = labels.sum(axis=0)
  classes = np.flatnonzero((counts > 0) & (counts < len(labels)))
  if not len(classes):
    raise NothingToCompare("no class has clips with it and clips without it.")
  scores = _finite(scores)
  precision = [average_precision(scores[:, c], labels[:, c]) for c in classes]
  areas = np.array([area_under_curve(scores[:, c], labels[:, c]) for c in classes])
  return {
    "mean_average_precision": float(np.mean(precision)),
    "chance_mean_average_precision": float(np.mean(counts[classes] / len(labels))),
    "area_under_curve": float(np.mean(areas)),
    "d_prime": float(np.mean(math.sqrt(2.0) * special.ndtri(np.clip(areas, 1e-9, 1 - 1e-9)))),
    "classes": float(len(classes)),
    "clips": float(len(labels)),
  }


def confusion(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """How often clips of one class (row) are given to another (column): int (C, C).

  Args:
    scores: float (n, C); the highest decides, of equal ones the first.
    labels: int (n,); rows with -1 are left out.
  """
  count = scores.shape[1]
  kept = labels >= 0
  cells = labels[kept] * count + np.argmax(scores[kept], axis=1)
  return np.bincount(cells, minlength=count * count).reshape(count, count)


@dataclasses.dataclass(frozen=True)
class PerClass:
  """Figures of each class, arrays (C,).

  Attributes:
    clips: that have the label.
    said: that are given the label.
    precision: share of `said` that have it; NaN where it is never given.
    recall: share of `clips` that are given it; NaN where none has it.
  """

  clips: np.ndarray
  said: np.ndarray
  precision: np.ndarray
  recall: np.ndarray


def per_class(counts: np.ndarray) -> PerClass:
  """From what `confusion` counted, (C, C)."""
  right, clips, said = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
  with np.errstate(invalid="ignore"):
    return PerClass(clips, said, right / said, right / clips)


def average_precisions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """The average precision of each class, float64 (C,); NaN where no clip has it. Arguments as of `several_labels`."""
  labels, scores = labels > 0, _finite(scores)
  own = lambda c: average_precision(scores[:, c], labels[:, c]) if labels[:, c].any() else np.nan
  return np.array([own(c) for c in range(scores.shape[1])])


def _finite(scores: np.ndarray) -> np.ndarray:
  """float64; what is not finite is below everything else."""
  return np.where(np.isfinite(scores), np.asarray(scores, np.float64), np.finfo(np.float64).min)


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
  """Sum over thresholds of (gain in recall) x precision, as scikit-learn: equal scores share a threshold.

  Args:
    scores: float (n,).
    positive: bool (n,), at least one true.
  """
  order = np.argsort(-scores, kind="stable")
  last = np.append(np.diff(scores[order]) != 0, True)  # the end of each run of equal scores
  found = np.cumsum(positive[order])[last]
  seen = np.arange(1, len(scores) + 1)[last]
  gains = np.diff(found, prepend=0) / positive.sum()
  return float(np.sum(gains * found / seen))


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float:
  """Probability that a positive scores higher than a negative, ties counted half.

  Args:
    scores: float (n,).
    positive: bool (n,), at least one true and one false.
  """
  _, rank, counts = np.unique(scores, return_inverse=True, return_counts=True)
  middle = np.cumsum(counts) - (counts - 1) / 2  # mean rank of each value, from 1
  positives = int(positive.sum())
  total = float(middle[rank[positive]].sum()) - positives * (positives + 1) / 2
  return total / (positives * (len(scores) - positives))


def softmax(logits: np.ndarray) -> np.ndarray:
  """(n, C) -> probabilities."""
  return special.softmax(logits, axis=-1)


def sigmoid(logits: np.ndarray) -> np.ndarray:
  """(n, C) -> probabilities of each class by itself."""
  return special.expit(logits)
