"""What the log says: the run at a glance, losses, and validation recall over the steps."""

from collections.abc import Mapping, Sequence
import math
from numbers import Real
import re

import numpy as np

from vatt_jax.evaluation.embeddings import MODALITIES
from vatt_jax.evaluation.report import figures
from vatt_jax.evaluation.report.markup import Markup, join, tag
from vatt_jax.evaluation.report.page import colour, details, lead, missing, number, percent

_CLASSES = re.compile(r"eval/(?P<set>.+)/(?P<figure>top_1|mean_average_precision)")
_RECALL = re.compile(r"eval/(?P<set>.+)/(?P<source>[a-z]+)_to_(?P<target>[a-z]+)/recall_at_5")


def series(history: Sequence[Mapping]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Rows of metrics.jsonl -> name -> (steps, values), both float64, steps ascending and distinct.

  A resumed run logs some steps again: the last row of a step counts. Values that are no finite numbers are left out.
  """
  columns: dict[str, dict[float, float]] = {}
  for row in history:
    for name, value in row.items():
      if name != "step" and isinstance(value, Real) and math.isfinite(value) and "step" in row:
        columns.setdefault(name, {})[float(row["step"])] = float(value)
  return {name: tuple(np.array(sorted(column.items())).T) for name, column in columns.items()}


def glance(history: Sequence[Mapping], results: Mapping) -> Markup:
  """Tiles: how far, how well against chance, how fast."""
  logged = series(history)
  tiles = []
  if logged:
    tiles.append((number(max(steps[-1] for steps, _ in logged.values())), "steps"))
  for name, value in results.items():
    found = _RECALL.fullmatch(name)
    chance = results.get(name.replace("recall_at_5", "chance_recall_at_5"))
    if found and found["target"] == "text" and chance:
      times = f"R@5 {found['source']} → text on {found['set']}, {value / chance:.1f} times chance"
      tiles.append((percent(value), times))
  for name, value in results.items():
    found = _CLASSES.fullmatch(name)
    if found:
      chance = results.get(f"eval/{found['set']}/chance_top_1")
      against = f", chance {percent(chance)}" if chance and found["figure"] == "top_1" else ""
      tiles.append((percent(value), f"{found['figure'].replace('_', ' ')} on {found['set']}{against}"))
  if "loss" in logged:
    tiles.append((number(logged["loss"][1][-1]), "loss at the last step"))
  if "throughput/clips_per_second" in logged:
    tiles.append((number(round(float(np.median(logged["throughput/clips_per_second"][1])), 1)), "clips per second"))
  if "time/step_seconds" in logged:
    tiles.append((f"{np.median(logged['time/step_seconds'][1]):.2f} s", "per step (median)"))
  drawn = [tag("div", tag("b", big), tag("span", small), class_="tile") for big, small in tiles]
  return tag("div", drawn, class_="tiles")


def run_section(results: Mapping, config_text: str, command: str) -> Markup:
  """How to repeat the run: command, fingerprint, config, and every figure it ended with."""
  parts = [missing("The command was not recorded.")]
  if command:
    parts = [lead("This command with this config makes the run again."), tag("pre", command, class_="command")]
  fingerprint = results.get("params/fingerprint")
  if fingerprint:
    meaning = tag("small", "Fingerprint of the parameters: equal fingerprints mean bit-identical weights. ")
    parts.append(tag("p", meaning, tag("code", fingerprint, style="overflow-wrap:anywhere")))
  if config_text:
    parts.append(details("The config", tag("pre", config_text)))
  if results:
    listing = "\n".join(f"{name}  {value}" for name, value in sorted(results.items()))
    parts.append(details(f"All {len(results)} figures of results.json", tag("pre", listing)))
  return join(parts)


def loss_section(history: Sequence[Mapping]) -> Markup:
  """Loss curves over the steps, next to log(batch size)."""
  logged = series(history)
  level = logged.pop("loss/log_batch_size", None)
  names = sorted(name for name in logged if name == "loss" or name.startswith("loss/"))
  if not names:
    return missing("The log holds no losses: metrics.jsonl is empty, or the run stopped before its first log line.")
  curves = [
    figures.Curve(_term_name(name), *logged[name], "var(--ink)" if name == "loss" else colour(i))
    for i, name in enumerate(names, start=-1 if names[0] == "loss" else 0)
  ]
  explained = "Lower is better. Each point is a mean over the log lines next to it"
  if level is not None:
    ends = np.array([min(c.x[0] for c in curves), max(c.x[-1] for c in curves)])
    curves.append(figures.Curve("log(batch size)", ends, np.full(2, level[1][-1]), colour(None), dashed=True))
    explained += (
      "; the dashed line is log(batch size), what it costs to guess which clip of the batch a caption or a sound "
      "belongs to: a pair of modalities that falls below it has learned something"
    )
  parts = [lead(explained + "."), figures.line_chart(curves, x_name="step")]
  if "data/duplicate_captions" in logged:
    share = percent(float(np.mean(logged["data/duplicate_captions"][1])))
    doubt = "nobody can tell these clips apart by their text, so the loss can't reach 0."
    parts.append(tag("p", tag("small", f"{share} of a batch's captions stand in it more than once (mean): {doubt}")))
  return join(parts)


def recall_section(history: Sequence[Mapping]) -> Markup:
  """Recall at 5, top-1 or mean average precision of every set that the log evaluates at least twice."""
  logged = series(history)
  classes = _classes_chart(logged)
  found = [match for name in logged if (match := _RECALL.fullmatch(name))]
  sets = sorted({match["set"] for match in found if len(logged[match.string][0]) > 1})
  if not sets:
    return classes or missing("The log holds no evaluation at two or more steps, so there is no curve to draw.")
  parts = [
    classes,
    lead(
      "Recall at 5: how often the right item is among the five most similar. Curves should climb away from the dashed "
      "line, which is chance; one that sinks while the loss still falls has begun to learn its training clips by heart."
    ),
  ]
  for name in sets:
    curves, chances = [], {}
    for i, match in enumerate(sorted((m for m in found if m["set"] == name), key=lambda m: m.string)):
      shade = colour(i)
      curves.append(figures.Curve(f"{match['source']} → {match['target']}", *logged[match.string], shade))
      chance = logged.get(match.string.replace("recall_at_5", "chance_recall_at_5"))
      if chance is not None:
        chances.setdefault(round(float(chance[1][-1]), 3), shade)
    ends = np.array([min(c.x[0] for c in curves), max(c.x[-1] for c in curves)])
    parts.append(tag("h3", f"Set “{name}”"))
    for level, shade in chances.items():
      shade = colour(None) if len(chances) == 1 else shade
      curves.append(figures.Curve("chance", ends, np.full(2, level), shade, dashed=True))
    parts.append(figures.line_chart(curves, x_name="step", as_percent=True))
  return join(parts)


def _classes_chart(logged: Mapping) -> Markup | None:
  """Top-1 and mean average precision, with the chance of the former; None where no set has two of them."""
  found = [match for name in sorted(logged) if (match := _CLASSES.fullmatch(name)) and len(logged[name][0]) > 1]
  if not found:
    return None
  names = {"top_1": "top-1", "mean_average_precision": "mean average precision"}
  label = lambda match: f"{match['set']}: {names[match['figure']]}"
  curves = [figures.Curve(label(match), *logged[match.string], colour(i)) for i, match in enumerate(found)]
  ends = np.array([min(c.x[0] for c in curves), max(c.x[-1] for c in curves)])
  chances = [
    logged.get(match.string.replace("/top_1", "/chance_top_1")) for match in found if match["figure"] == "top_1"
  ]
  for level in sorted({round(float(chance[1][-1]), 4) for chance in chances if chance is not None}):
    curves.append(figures.Curve("chance", ends, np.full(2, level), colour(None), dashed=True))
  words = (
    "How often the right class has the highest score (top-1). Curves should climb and stay; one that falls while the "
  )
  words += "loss still sinks has begun to learn its training clips by heart."
  return join([lead(words), figures.line_chart(curves, x_name="step", as_percent=True)])


def _term_name(name: str) -> str:
  """What the legend calls a loss: "loss" is the total, "loss/video_text" is video – text."""
  words = name.removeprefix("loss/").split("_")
  return "total" if name == "loss" else (" – " if set(words) <= set(MODALITIES) else " ").join(words)
