"""`write_report`, and the sections about retrieval: figures, gallery, similarities."""

from collections.abc import Mapping, Sequence
import os
import re

from etils import epath
import numpy as np

from vatt_jax.evaluation import retrieval
from vatt_jax.evaluation.classification import ClassifiedSet
from vatt_jax.evaluation.embeddings import DIRECTIONS, EmbeddedSet
from vatt_jax.evaluation.inside import Inside
from vatt_jax.evaluation.report import classes, gallery, maps, page, similarity, training, working
from vatt_jax.evaluation.report.markup import Markup, join, tag

_MEDIA_BYTES = 5_000_000  # Of all sets together, so that the file can be mailed.


def write_report(
  path: str | os.PathLike,
  *,
  title: str,
  subtitle: str,
  history: Sequence[Mapping],
  results: Mapping,
  sets: Sequence[EmbeddedSet],
  config_text: str,
  command: str,
  classified: Sequence[ClassifiedSet] = (),
  inside: Inside | None = None,
  more: Sequence[page.Section] = (),
) -> None:
  """Writes the report of a run as one HTML file that needs no network, mostly below 8 MB.

  Whatever is missing (no log, no sets, a modality without clips) is named in its section; nothing is an error.

  Args:
    path: of the file, local or `gs://`; its directory must exist. An older report is replaced in one move.
    title: such as the name of the config.
    subtitle: one sentence about the run.
    history: the lines of metrics.jsonl: `step` and flat metric names.
    results: flat name -> number, and `params/fingerprint`, as results.json holds them; the retrieval tables show its
      `eval/<set>/...`, and compute what it lacks from `sets`.
    sets: embedded evaluation sets, in the order of the report.
    config_text: the config as a person reads it.
    command: what to type to make the run again.
    classified: what classifiers said, fine-tuned ones and probes, in the order of the report.
    inside: a look inside of the model at work.
    more: further sections, of evaluators that have something of their own to show.
  """
  header = tag("header", tag("h1", title), tag("p", subtitle, class_="subtitle"), training.glance(history, results))
  sections = [
    page.Section("run", "The run", training.run_section(results, config_text, command)),
    page.Section("loss", "Loss", training.loss_section(history)),
    page.Section("recall", "Evaluation during training", training.recall_section(history)),
  ]
  if classified:
    sections.append(page.Section("classes", "Classes", classes.classes_section(classified, results)))
  if sets or not classified:
    sections += [
      page.Section("retrieval", "Retrieval", _retrieval_section(results, sets)),
      page.Section("gallery", "Gallery", _gallery_section(sets)),
      page.Section("similarity", "Right and other pairs", similarity.similarity_section(sets, inside)),
    ]
  sections.append(page.Section("map", "Map of the embeddings", maps.map_section(sets, classified, inside)))
  if inside is not None:
    if len(inside.activity) > 1:
      sections.append(page.Section("units", "Units", working.units_section(inside)))
    sections.append(page.Section("attention", "Attention", working.attention_section(inside)))
  text = page.document(title, header, [*sections, *more])
  path = epath.Path(path)
  unfinished = path.with_name(path.name + ".unfinished")
  unfinished.write_bytes(text.encode("utf-8", errors="replace"))  # Captions may hold lone surrogates.
  unfinished.replace(path)


def _retrieval_section(results: Mapping, sets: Sequence[EmbeddedSet]) -> Markup:
  by_name = {embedded.name: embedded for embedded in sets}
  names = [m[1] for name in results if (m := re.fullmatch(r"eval/(.+)/[a-z]+_to_[a-z]+/recall_at_1", name))]
  names = list(dict.fromkeys([*by_name, *names]))
  if not names:
    return page.missing("No set was evaluated.")
  parts = [
    page.lead(
      "Each clip of a set asks for its own partner in another modality, among all clips of the same language. R@k: how "
      "often the partner is among the k most similar; the bar is that share, the upright line is chance. Median rank: "
      "half of the queries find their partner at this place or before it (1 is perfect)."
    )
  ]
  for name in names:
    embedded = by_name.get(name)
    metrics = _metrics(results, name, embedded)
    rows = [_retrieval_row(f"{a} → {b}", metrics[a, b]) for a, b in DIRECTIONS if (a, b) in metrics]
    parts.append(tag("h3", f"Set “{name}”"))
    if not rows:
      parts.append(page.missing(retrieval.missing_sentence(embedded)))
      continue
    head = ["Direction", "R@1", "R@5", "R@10", "Median rank", "R@5 / chance", "Queries"]
    parts.append(page.table(head, rows))
    if embedded is not None:
      parts.append(_spaces(embedded))
      parts.append(_languages(embedded))
  return join(parts)


def _metrics(results: Mapping, name: str, embedded: EmbeddedSet | None) -> dict[tuple[str, str], dict[str, float]]:
  """The retrieval metrics of a set for each direction: what the results say, else computed."""
  metrics = {}
  for source, target in DIRECTIONS:
    prefix = f"eval/{name}/{source}_to_{target}/"
    known = {key.removeprefix(prefix): value for key, value in results.items() if key.startswith(prefix)}
    if not known and embedded is not None and len(embedded.rows(source, target)):
      rows, queries, items = embedded.pair(source, target)
      known = retrieval.retrieval_metrics(queries, items, embedded.languages_of(rows))
    if known:
      metrics[source, target] = known
  return metrics


def _retrieval_row(direction: str, metrics: Mapping[str, float]) -> list:
  """The cells of one direction."""
  cells = [direction]
  for k in retrieval.CUTOFFS:
    value, chance = metrics.get(f"recall_at_{k}", np.nan), metrics.get(f"chance_recall_at_{k}", np.nan)
    cells.append(page.with_bar(value, chance))
  rank = page.number(round(metrics.get("median_rank", np.nan), 1))
  size = metrics.get("gallery")
  chance_rank = f" of {page.number(round(size, 1))}, chance {page.number(round((size + 1) / 2, 1))}" if size else ""
  times = metrics.get("recall_at_5", np.nan) / (metrics.get("chance_recall_at_5") or np.nan)
  cells += [join([rank, tag("small", chance_rank)]), f"{times:.1f} ×" if np.isfinite(times) else "–"]
  return [*cells, page.number(metrics.get("queries", np.nan))]


def _spaces(embedded: EmbeddedSet) -> Markup:
  """Which outputs of the model are compared for each pair of modalities."""
  named = ", ".join(
    f"{source} and {target} through {first} – {second}"
    for (source, target), (first, second) in embedded.spaces.items()
    if len(embedded.rows(source, target))
  )
  return tag("p", tag("small", f"Where modalities meet: {named}."))


def _languages(embedded: EmbeddedSet) -> Markup | None:
  """Recall at 5 of each language alone, behind a click."""
  columns = {}
  for source, target in embedded.directions():
    rows, queries, found = embedded.pair(source, target)
    columns[f"{source} → {target}"] = retrieval.metrics_by_group(queries, found, embedded.languages_of(rows))
  languages = sorted({language for column in columns.values() for language in column})
  if len(languages) < 2:
    return None
  rows = []
  for language in languages:
    cells = [column.get(language) for column in columns.values()]
    known = next(cell for cell in cells if cell)
    rows.append(
      [
        language or "(none)",
        page.number(known["gallery"]),
        page.percent(known["chance_recall_at_5"]),
        *(page.percent(cell["recall_at_5"]) if cell else "–" for cell in cells),
      ]
    )
  return page.details("R@5 by language", page.table(["Language", "Clips", "Chance", *columns], rows))


def _gallery_section(sets: Sequence[EmbeddedSet]) -> Markup:
  parts = [
    page.lead(
      f"{gallery.QUERIES} queries of each direction with the {gallery.TOP} items they find most similar in their "
      "language, with place and cosine; the green one is right, and comes last if it is not among them. The caption "
      "below a sound or a picture is for you, the query does not hold it. Nobody picked the queries by eye: all are "
      "sorted by where the right item stands, and those at even steps from the best to the worst are shown; the third "
      "and fourth are what to expect."
    )
  ]
  for embedded in sets:
    directions = [direction for direction in gallery.DIRECTIONS if len(embedded.rows(*direction))]
    parts.append(tag("h3", f"Set “{embedded.name}”"))
    if directions:
      parts.append(gallery.gallery(embedded, directions, _MEDIA_BYTES // len(sets)))
    else:
      parts.append(page.missing(retrieval.missing_sentence(embedded)))
  return join(parts) if sets else page.missing("No set was evaluated, so there is nothing to search.")
