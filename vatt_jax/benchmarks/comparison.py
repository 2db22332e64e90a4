"""Configs beside each other: a table for the terminal, and a page with the same figures drawn."""

from collections.abc import Sequence

from vatt_jax.evaluation.report import figures, page
from vatt_jax.evaluation.report.markup import Markup, join, tag

_WORDS = {
  "step": "The whole training step on random inputs: forward, backward, optimizer.",
  "input": "Records to batches; by seconds of processor time, so that a core counts and other programs hardly do.",
  "loss": "The contrast between clips and captions and its gradients, alone.",
}
_HEAD = ("median", "quartiles", "to the first")


def compare(report: dict, names: Sequence[str]) -> dict:
  """A report of several configs with their names (`config`), and with `ratio_to_first` of the medians in each figure."""
  first = report["configs"][0]["figures"]
  ratio = lambda name, spread: spread["median"] / first[name]["median"] if name in first else None
  configs = [
    {"config": config}
    | found
    | {"figures": {n: spread | {"ratio_to_first": ratio(n, spread)} for n, spread in found["figures"].items()}}
    for config, found in zip(names, report["configs"])
  ]
  return report | {"configs": configs}


def table(report: dict) -> str:
  """What `compare` gave as lines of text: each figure with a row for each config; a dash where one has no such figure."""
  width = max(len(each["config"]) for each in report["configs"])
  lines = []
  for name in _figures(report):
    lines.append("\n" + name)
    lines.append("  " + " " * width + "  {:>10}  {:>23}  {:>12}".format(*_HEAD))
    for config, cells in _rows(report, name):
      lines.append(f"  {config:{width}}  " + "{:>10}  {:>23}  {:>12}".format(*cells))
  return "\n".join(lines).lstrip("\n")


def document(report: dict, mode: str, command: str) -> Markup:
  """The page of what `compare` gave.

  Args:
    mode: step, input or loss.
    command: what to type to measure again.
  """
  title = f"benchmark {mode}: " + (", ".join(each["config"] for each in report["configs"]))
  header = tag("header", tag("h1", f"benchmark {mode}"), tag("p", _WORDS[mode], class_="subtitle"))
  parts = [
    page.lead(
      "Dots are medians, lines go from the first to the third quartile; the last column divides by the first row."
    )
  ]
  for name in _figures(report):
    rows = [[config, *cells] for config, cells in _rows(report, name)]
    parts += [tag("h3", name), _chart(report, name), page.table(["", *_HEAD], rows)]
  conditions = [[name, str(value)] for name, value in {**report["machine"], **report["versions"]}.items()]
  known = page.table(["", ""], [["repetitions", str(report["repetitions"])], *conditions])
  convention = report.get("flop_convention")
  how = [tag("pre", command, class_="command"), page.lead(f"FLOPs: {convention}.") if convention else None, known]
  sections = [page.Section("figures", "Figures", join(parts)), page.Section("machine", "Measured on", join(how))]
  return page.document(title, header, sections)


def _figures(report: dict) -> list[str]:
  """Names of what at least one config has."""
  return list(dict.fromkeys(name for each in report["configs"] for name in each["figures"]))


def _rows(report: dict, name: str) -> list[tuple[str, tuple[str, str, str]]]:
  """(config, cells under `_HEAD`) for each config."""

  def cells(spread):
    if spread is None:
      return ("–",) * 3
    ends = [spread[end] for end in ("first_quartile", "third_quartile")]
    quartiles = " to ".join(map(page.number, ends)) if ends[0] < ends[1] else ""  # What is no time has none.
    ratio = spread["ratio_to_first"]
    return page.number(spread["median"]), quartiles, "–" if ratio is None else f"{ratio:.3f}"

  return [(each["config"], cells(each["figures"].get(name))) for each in report["configs"]]


def _chart(report: dict, name: str) -> Markup:
  ends = ("first_quartile", "median", "third_quartile")
  known = [(each["config"], each["figures"][name]) for each in report["configs"] if name in each["figures"]]
  return figures.whiskers([figures.Whisker(config, *(spread[end] for end in ends)) for config, spread in known], name)
