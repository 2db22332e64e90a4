"""Prints the table of launch/alpro_ablation.sh: mean and deviation over the seeds that are complete.

python launch/ablation_table.py runs/ablation "none mlm_vtm no_pem no_vtc all"
"""

import json
import pathlib
import statistics
import sys

NAMES = {"none": "none", "mlm_vtm": "MLM + VTM", "no_pem": "+ VTC", "no_vtc": "+ PEM", "all": "+ VTC + PEM"}
FIGURES = {f"{by}, R@{k}": f"eval/{test}/text_to_video/recall_at_{k}"
           for by, test in (("cosine", "test"), ("matching", "test_matching")) for k in (1, 5, 10)}  # fmt: skip


def table(runs: str, rows: list[str]) -> str:
  """Markdown; in percent, chance in the last row."""
  found = {row: _results(pathlib.Path(runs), row) for row in rows}
  lines = [["objectives", "seeds", *FIGURES], ["---"] * (2 + len(FIGURES))]
  for row, results in found.items():
    cells = [_spread([100 * each[key] for each in results if key in each]) for key in FIGURES.values()]
    lines.append([NAMES.get(row, row), str(len(results)), *cells])
  if known := [each for results in found.values() for each in results]:
    chance = [100 * known[0].get(key.replace("recall", "chance_recall"), float("nan")) for key in FIGURES.values()]
    lines.append(["chance", "", *(f"{value:.1f}" for value in chance)])
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _results(runs: pathlib.Path, row: str) -> list[dict]:
  return [json.loads(path.read_text()) for path in sorted(runs.glob(f"{row}-*/tuned/results.json"))]


def _spread(values: list[float]) -> str:
  if not values:
    return "–"
  deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
  return f"{statistics.mean(values):.1f}{deviation}"


if __name__ == "__main__":
  print(table(sys.argv[1], sys.argv[2].split()))
