"""What a classifier says: which classes it mistakes for which, and how it fares on each."""

from collections.abc import Mapping, Sequence

import numpy as np

from vatt_jax.evaluation import classification
from vatt_jax.evaluation.classification import ClassifiedSet
from vatt_jax.evaluation.report import figures, page
from vatt_jax.evaluation.report.markup import Markup, join, tag

_CLASSES = 40  # that a confusion matrix has room for
_PAIRS = 10  # of classes that are mistaken for each other, in words
_OPEN_ROWS = 20  # a longer table opens on a click


def classes_section(sets: Sequence[ClassifiedSet], results: Mapping[str, float]) -> Markup:
  """Of each set: its figures, a confusion matrix, a table of the classes; average precision where labels are several."""
  if not sets:
    return page.missing("No classifier was evaluated: neither fine-tuning nor a probe.")
  parts = []
  for classified in sets:
    parts.append(tag("h3", f"Set “{classified.name}”"))
    parts.append(page.lead(classified.origin, " ", _summary(classified, results)))
    if not len(classified.labels):
      parts.append(page.missing("The set is empty."))
    elif classified.several:
      parts.append(_precision_table(classified))
    else:
      parts += [_matrix(classified), _class_table(classified)]
  return join(parts)


def _summary(classified: ClassifiedSet, results: Mapping[str, float]) -> str:
  figure = lambda key: results.get(f"eval/{classified.name}/{key}")
  if classified.several:
    words = {"mean_average_precision": "mean average precision", "area_under_curve": "AUC", "d_prime": "d′"}
    found = [f"{name} {figure(key):.3f}" for key, name in words.items() if figure(key) is not None]
    return f"On {len(classified.labels):,} clips: {', '.join(found)}." if found else ""
  found = [
    f"top-{k} {page.percent(figure(f'top_{k}'))} (chance {page.percent(figure(f'chance_top_{k}') or np.nan)})"
    for k in (1, 5)
    if figure(f"top_{k}") is not None
  ]
  return f"On {int(np.sum(classified.labels >= 0)):,} clips: {', '.join(found)}." if found else ""


def _matrix(classified: ClassifiedSet) -> Markup:
  counts = classification.confusion(classified.scores, classified.labels)
  names, chosen = np.array(classified.classes, object), np.arange(len(counts))
  kept = "Every clip stands in the row of its class and in the column of the class it is given"
  seen = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
  if seen.sum() > _CLASSES:
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diagonal(counts)
    chosen = np.sort(np.argsort(-wrong, kind="stable")[:_CLASSES])
    kept += f" (here the {_CLASSES} classes with the most mistakes, of {len(counts)})"
  elif seen.sum() < len(counts):
    chosen = np.flatnonzero(seen)
  caption = join([
      tag("b", "Confusion matrix. "),
      f"{kept}. The darker a cell, the larger its share of the row. Right answers lie on the diagonal, in green: a good "
      "classifier has little else. A dark column is a class that too much is taken for.",
  ])  # fmt: skip
  shown = counts[np.ix_(chosen, chosen)]
  return join(
    [figures.confusion_matrix(shown, counts.sum(axis=1)[chosen], names[chosen], caption), _mistakes(counts, names)]
  )


def _mistakes(counts: np.ndarray, names: np.ndarray) -> Markup | None:
  """The most frequent confusions, in words."""
  wrong = counts - np.diag(np.diagonal(counts))
  order = [cell for cell in np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS] if wrong.flat[cell]]
  if not order:
    return tag("p", tag("small", "No clip is given a wrong class."))
  rows = []
  for cell in order:
    row, column = divmod(int(cell), len(counts))
    rows.append(
      [names[row], names[column], page.number(wrong[row, column]), page.percent(wrong[row, column] / counts[row].sum())]
    )
  table = page.table(["Class", "Taken for", "Clips", "Of the class"], rows)
  return page.details("The most frequent mistakes", table)


def _class_table(classified: ClassifiedSet) -> Markup:
  found = classification.per_class(classification.confusion(classified.scores, classified.labels))
  order = [c for c in np.argsort(-found.clips, kind="stable") if found.clips[c] or found.said[c]]
  total = found.clips.sum()
  rows = [
    [
      classified.classes[c],
      page.number(found.clips[c]),
      page.number(found.said[c]),
      page.with_bar(found.precision[c], found.clips[c] / total),
      page.with_bar(found.recall[c], found.said[c] / total),
    ]
    for c in order
  ]
  table = page.table(["Class", "Clips", "Given", "Precision", "Recall"], rows)
  words = page.lead(
    "Precision: of the clips that are given the class, how many have it. Recall: of the clips that have it, how many are "
    "given it. The upright line is what guessing just as often would give, so a bar that ends at it knows nothing."
  )
  return _folded(f"Precision and recall of {len(rows)} classes", rows, join([words, table]))


def _precision_table(classified: ClassifiedSet) -> Markup:
  precision = classification.average_precisions(classified.scores, classified.labels)
  clips = (classified.labels > 0).sum(axis=0)
  order = [c for c in np.argsort(-np.nan_to_num(precision, nan=-1), kind="stable") if clips[c]]
  rows = [
    [classified.classes[c], page.number(clips[c]), page.with_bar(precision[c], clips[c] / len(classified.labels))]
    for c in order
  ]
  absent = len(clips) - len(rows)
  words = page.lead(
    "All clips are sorted by each class's score. Average precision is 1 where all clips of the class come first; the "
    "upright line is chance, the share of clips that have the class. Best classes first"
    + (f"; {absent} classes that no clip has are left out." if absent else ".")
  )
  table = page.table(["Class", "Clips", "Average precision"], rows)
  return _folded(f"Average precision of {len(rows)} classes", rows, join([words, table]))


def _folded(summary: str, rows: Sequence, body: Markup) -> Markup:
  return page.details(summary, body) if len(rows) > _OPEN_ROWS else join([tag("h4", summary), body])
