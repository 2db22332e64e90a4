"""Several runs beside each other: what differs between them, what they cost, and what they reach."""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import math
import os
import re

from etils import epath
import numpy as np

from vatt_jax.evaluation.classification import ClassifiedSet
from vatt_jax.evaluation.embeddings import EmbeddedSet
from vatt_jax.evaluation.inside import Inside
from vatt_jax.evaluation.report import figures, maps, page, similarity, training
from vatt_jax.evaluation.report.markup import Markup, join, tag

# What a run is judged by, in the table and against what it costs.
FIGURES = re.compile(r"eval/(?!.*/fold_)(.+)/(recall_at_5|top_1|mean_average_precision|median_rank)")
MANY_RUNS = 4  # from here on they are dots
MANY_FIGURES = 5  # beside each other
_OPEN_CURVES = 3  # more of them open on a click
_SHARES = ("recall_at_5", "top_1", "mean_average_precision")


@dataclasses.dataclass(frozen=True)
class Run:
  """One run of a comparison.

  Attributes:
    name: in headings and legends.
    config: flat name -> value.
    history: the lines of its metrics.jsonl.
    results: flat name -> number, of its newest evaluation.
    step: that they belong to.
    parameters: how many; 0 where it is not known.
    flops_per_clip: of a training step, model FLOPs; NaN where it is not known.
    sets: embedded evaluation sets; may be empty.
    inside: a look inside of the model.
    classified: what classifiers said; they may have features.
  """

  name: str
  config: Mapping[str, object]
  history: Sequence[Mapping]
  results: Mapping[str, float]
  step: int
  parameters: int = 0
  flops_per_clip: float = math.nan
  sets: Sequence[EmbeddedSet] = ()
  inside: Inside | None = None
  classified: Sequence[ClassifiedSet] = ()

  @property
  def step_seconds(self) -> float:
    """The lower quartile: what a step takes when nothing else is in the way. NaN where it was not logged."""
    logged = training.series(self.history).get("time/step_seconds")
    return float(np.quantile(logged[1], 0.25)) if logged else math.nan


def write_comparison(path: str | os.PathLike, runs: Sequence[Run], command: str, metrics: Sequence[str] = ()) -> None:
  """Writes runs beside each other as one HTML file that needs no network.

  Args:
    path: of the file; an older one is replaced.
    runs: at least one, in the order of the page.
    command: what to type to make the page again.
    metrics: figures to show; empty: those that match `FIGURES`.
  """
  chosen = list(metrics) or _common_figures(runs)
  header = tag(
    "header",
    tag("h1", " · ".join(run.name for run in runs) if len(runs) < 4 else f"{len(runs)} runs"),
    tag("p", "Runs beside each other: what differs, what it costs, what it brings.", class_="subtitle"),
  )
  sections = [
    page.Section("runs", "The runs", join([_runs(runs), tag("pre", command, class_="command")])),
    page.Section("figures", "Figures", _table(runs, chosen)),
    page.Section("cost", "What it costs", _trade_off(runs, chosen)),
    page.Section("training", "During training", _curves(runs, chosen)),
    page.Section("similarity", "Right and other pairs", _pairs(runs)),
    page.Section("map", "Map of the embeddings", _maps(runs)),
  ]
  if any(run.inside is not None and run.inside.shared for run in runs):
    sections.append(page.Section("units", "Units", _units(runs)))
  path = epath.Path(path)
  unfinished = path.with_name(path.name + ".unfinished")
  title = "vatt_jax: " + ", ".join(run.name for run in runs)
  unfinished.write_bytes(page.document(title, header, sections).encode("utf-8", errors="replace"))
  unfinished.replace(path)


def differences(runs: Sequence[Run]) -> list[dict[str, object]]:
  """Of each run the fields of its config in which not all agree; fields that it lacks are left out.

  Of many runs those where it is not as most are.
  """
  names = sorted({name for run in runs for name in run.config})
  absent = object()
  differ = [name for name in names if len({repr(run.config.get(name, absent)) for run in runs}) > 1]
  own = [{name: run.config[name] for name in differ if name in run.config} for run in runs]
  if len(runs) < MANY_RUNS:
    return own
  usual = {
    name: collections.Counter(repr(run.config.get(name)) for run in runs).most_common(1)[0][0] for name in differ
  }
  return [{name: value for name, value in each.items() if repr(value) != usual[name]} for each in own]


def _common_figures(runs: Sequence[Run]) -> list[str]:
  """What at least one run has, sorted; retrieval among few is many directions."""
  return sorted({name for run in runs for name in run.results if FIGURES.fullmatch(name)})


def _runs(runs: Sequence[Run]) -> Markup:
  rows = []
  for run, own in zip(runs, differences(runs)):
    fields = [tag("div", tag("code", f"{name}={value}")) for name, value in own.items()]
    rows.append([
        run.name,
        page.number(run.step),
        page.number(run.parameters) if run.parameters else "–",
        f"{run.flops_per_clip / 1e9:,.2f}" if math.isfinite(run.flops_per_clip) else "–",
        f"{run.step_seconds:.3f} s" if math.isfinite(run.step_seconds) else "–",
        join(fields) if fields else "nothing",
    ])  # fmt: skip
  words = page.lead(
    "Parameters of all parts; model FLOPs of a training step for each clip, on the patches that DropToken keeps; seconds of "
    "a step are the lower quartile of the log. At the end what its config says otherwise than those of the others."
  )
  return join([words, page.table(["Run", "Step", "Parameters", "GFLOP a clip", "Step", "What differs"], rows)])


def _table(runs: Sequence[Run], chosen: Sequence[str]) -> Markup:
  if not chosen:
    return page.missing("None of the runs was evaluated: they have neither results.json nor eval.jsonl.")
  rows = []
  for name in chosen:
    values = [run.results.get(name, math.nan) for run in runs]
    better = (min if name.endswith("_rank") else max)((v for v in values if math.isfinite(v)), default=None)
    write = page.percent if name.rsplit("/", 1)[1] in _SHARES else page.number
    cells = [tag("span", write(v), class_="best" if v == better and len(runs) > 1 else None) for v in values]
    rows.append([readable(name), write(_chance(runs, name)), *cells])
  words = page.lead(
    "The best of each row in green. Runs that differ in nothing but the seed differ too: on a small set a point or two of "
    "R@5 is luck, so repeat a run with another seed before a difference is believed."
  )
  table = page.table(["", "Chance", *(run.name for run in runs)], rows)
  if len(runs) < MANY_RUNS:
    return join([words, table])
  return join([words, _at_one_look(runs, chosen), page.details("The figures as a table", table)])


def _at_one_look(runs: Sequence[Run], chosen: Sequence[str]) -> Markup:
  columns = []
  for name in chosen:
    values = [run.results.get(name, math.nan) for run in runs]
    lines = readable(name).replace(": ", ", ", 1).replace(", ", "\n")
    columns.append(figures.Column(lines, values, _chance(runs, name), name.rsplit("/", 1)[1] in _SHARES))
  parts = [columns[i : i + MANY_FIGURES] for i in range(0, len(columns), MANY_FIGURES)]
  return join([figures.dot_columns([run.name for run in runs], part) for part in parts])


def _chance(runs: Sequence[Run], name: str) -> float:
  """What chance gives for a figure, as the first run that knows has it; NaN where none does."""
  return next((run.results[key] for run in runs if (key := chance_of(name)) in run.results), math.nan)


def chance_of(name: str) -> str:
  """The figure that says what chance gives: eval/a/recall_at_5 -> eval/a/chance_recall_at_5."""
  place, figure = name.rsplit("/", 1)
  return f"{place}/chance_{figure}"


def readable(name: str) -> str:
  """A figure in words: eval/test/audio_to_text/recall_at_5 -> "test: audio → text, R@5"."""
  _, evaluated, *between, figure = name.split("/")
  figure = {"recall_at_5": "R@5", "top_1": "top-1", "auc": "AUC", "softmax_entropy": "entropy"}.get(
    figure, figure.replace("_", " ")
  )
  return f"{evaluated}: " + ", ".join([*(part.replace("_to_", " → ") for part in between), figure])


def _trade_off(runs: Sequence[Run], chosen: Sequence[str]) -> Markup:
  shares = [name for name in chosen if name.rsplit("/", 1)[1] in _SHARES]
  sets = sorted({name.split("/")[1] for name in shares})
  costs = {
    "GFLOP a clip": lambda run: run.flops_per_clip / 1e9,
    "seconds a step": lambda run: run.step_seconds,
  }
  parts = [
    page.lead(
      "Each run is an upright line, its cost to the right and its figures (R@5 where nothing else is said) above. A good trade lies at the upper left: "
      "cheaper and no worse. With DropToken the cost falls with the rate; the question is where the figures begin to follow."
    )
  ]
  for each in sets:
    for x_name, cost in costs.items():
      known = sorted((run for run in runs if math.isfinite(cost(run))), key=cost)
      curves = [
        _cost_curve(name, known, cost, i) for i, name in enumerate(n for n in shares if n.split("/")[1] == each)
      ]
      curves = [curve for curve in curves if curve is not None]
      if curves:
        marks = [(cost(run), run.name) for run in known]
        parts += [
          tag("h4", f"Set “{each}”, {x_name}"),
          figures.line_chart(curves, x_name=x_name, as_percent=True, marks=marks),
        ]
  if len(parts) == 1:
    return page.missing("At least two runs with figures and a known cost are needed.")
  return join(parts)


def _cost_curve(name: str, runs: Sequence[Run], cost, i: int) -> figures.Curve | None:
  points = [(cost(run), run.results[name]) for run in runs if math.isfinite(run.results.get(name, math.nan))]
  if len(points) < 2:
    return None
  x, y = np.array(points).T
  label = readable(name).split(": ", 1)[1].removesuffix(", R@5")
  return figures.Curve(label, x, y, page.colour(i))


def _curves(runs: Sequence[Run], chosen: Sequence[str]) -> Markup:
  logged = [training.series(run.history) for run in runs]
  parts = []
  for name in ["loss", *chosen]:
    curves = [
      figures.Curve(run.name, *rows[name], page.colour(i))
      for i, (run, rows) in enumerate(zip(runs, logged))
      if name in rows
    ]
    if curves and max(len(curve.x) for curve in curves) > 1 and not name.endswith("_rank"):
      title = "loss" if name == "loss" else readable(name)
      parts.append(join([tag("h4", title), figures.line_chart(curves, x_name="step", as_percent=name != "loss")]))
  if not parts:
    return page.missing("The logs hold nothing at two or more steps.")
  words = page.lead(
    "Losses of runs with other batches, pairs or losses can't be compared; the figures can. A run whose curve still climbs "
    "at its end would have become better with more steps."
  )
  more = page.details(f"{len(parts) - _OPEN_CURVES} more figures", *parts[_OPEN_CURVES:])
  return join([words, *parts[:_OPEN_CURVES], more if len(parts) > _OPEN_CURVES else None])


def _pairs(runs: Sequence[Run]) -> Markup:
  parts = [
    page.lead(
      "How similar modalities of the same clip are (right pairs) and of different clips of one language (other pairs), run "
      "beside run. AUC: 0.5 knows nothing, 1 is perfect. Overlap: the area that both share, less is better."
    )
  ]
  parts += _beside(runs, lambda run: run.sets, similarity.pair_densities)
  if len(parts) == 1:
    return page.missing("No retrieval was run for this page, so there are no pairs to compare.")
  return join([*parts, similarity.pair_legend()])


def _maps(runs: Sequence[Run]) -> Markup:
  parts = [
    page.lead(
      "The same clips in each run's spaces; shapes are modalities, colours are categories. Better encoders put categories "
      "in groups and a clip's modalities side by side. Axes and directions mean nothing (t-SNE)."
    )
  ]
  found = [  # What stands side by side, and how it is drawn: maps and their legend.
    (lambda run: run.sets, maps.space_maps),
    (lambda run: [each for each in run.classified if each.features], maps.feature_maps),
  ]
  for sets, draw in found:
    if columns := _beside(runs, sets, lambda each, draw=draw: draw(each)[0]):
      first = next(each for run in runs for each in sets(run))
      parts += [*columns, draw(first)[1]]
  is_looked = lambda run: run.inside is not None and len(run.inside) > 0
  if looked := [run for run in runs if is_looked(run)]:
    drawn = lambda run: maps.inside_maps(run.inside)[0] if is_looked(run) else ()
    parts += [tag("h3", "Into the encoder and out of it"), _columns(runs, drawn), maps.inside_maps(looked[0].inside)[1]]
  return join(parts) if parts[1:] else page.missing("Nothing was evaluated for this page, so there is nothing to draw.")


def _beside(runs: Sequence[Run], sets, draw) -> list[Markup]:
  """For each of the sets that `sets` finds in a run: a column for each run, of what `draw` makes of it."""
  parts = []
  for name in dict.fromkeys(each.name for run in runs for each in sets(run)):
    drawn = lambda run, name=name: [figure for each in sets(run) if each.name == name for figure in draw(each)]
    parts += [tag("h3", f"Set “{name}”"), _columns(runs, drawn)]
  return parts


def _columns(runs: Sequence[Run], draw) -> Markup:
  columns = [tag("div", tag("h4", run.name), draw(run) or page.missing("Not evaluated.")) for run in runs]
  return tag("div", columns, class_="beside", style=f"--n:{len(runs)}")


def _units(runs: Sequence[Run]) -> Markup:
  parts = [
    page.lead(
      "What each unit of a shared encoder fires for, a strip for each layer; runs whose modalities have encoders of their "
      "own share no units."
    )
  ]
  for run in runs:
    if run.inside is not None and run.inside.shared and len(run.inside.activity) > 1:
      parts += [tag("h4", run.name), figures.unit_strips(run.inside.activity)]
  return join(parts)
