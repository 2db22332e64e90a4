"""Runs beside each other."""

import dataclasses
import math

import numpy as np

from tests.evaluation.test_report import Parsed, looked_inside
from vatt_jax.evaluation.classification import ClassifiedSet
from vatt_jax.evaluation.report import comparison
from vatt_jax.evaluation.report.comparison import Run


def runs():
  """Three rates of DropToken: what is dropped costs less, and a little of the figures."""
  return [
    Run(
      name=f"drop {rate}",
      config={"data.video.drop_rate": rate, "seed": 0, **({"model.post_width": 64} if rate else {})},
      history=[{"step": k, "loss": 4.0 / k, "time/step_seconds": 1.0 - rate} for k in (10, 20, 30)],
      results={
        "eval/test/video_to_text/recall_at_5": 0.3 - 0.1 * rate,
        "eval/test/video_to_text/chance_recall_at_5": 0.05,
        "eval/test/video_to_text/median_rank": 9.0 + rate,
      },
      step=30,
      parameters=1000,
      flops_per_clip=2e9 * (1 - rate),
    )
    for rate in (0.0, 0.5, 0.75)
  ]  # fmt: skip


def write(tmp_path, compared, **options):
  comparison.write_comparison(tmp_path / "c.html", compared, "report --compare", **options)
  assert [file.name for file in tmp_path.iterdir()] == ["c.html"]
  return Parsed((tmp_path / "c.html").read_text(encoding="utf-8"))


def test_what_differs_is_what_not_all_agree_in():
  assert comparison.differences(runs())[:2] == [
    {"data.video.drop_rate": 0.0}, {"data.video.drop_rate": 0.5, "model.post_width": 64},
  ]  # fmt: skip
  assert comparison.differences(runs()[:1]) == [{}]


def test_figures_stand_beside_chance_and_what_they_cost(tmp_path):
  page = write(tmp_path, runs())
  rows = [row["text"] for row in page.find("tr", inside=page.section("figures"))]
  assert "test: video → text, R@55.0 %30.0 %25.0 %22.5 %" in rows
  assert [cell["text"] for cell in page.find("span", "best")] == [
    "9",
    "30.0 %",
  ]  # Small ranks are good, large shares too.
  assert "data.video.drop_rate=0.75" in page.section("runs")["text"]
  cost = page.section("cost")
  assert [title["text"] for title in page.find("h4", inside=cost)] == [
    "Set “test”, GFLOP a clip",
    "Set “test”, seconds a step",
  ]
  assert "video → text: 30 % at GFLOP a clip 2" in cost["text"] and page.find("text", "mark-name", inside=cost)
  assert "No retrieval was run" in page.section("similarity")["text"]
  assert "Nothing was evaluated" in page.section("map")["text"]
  assert len(page.find("path", "curve", inside=page.section("training"))) == 2 * 3


def test_sets_and_maps_have_a_column_for_each_run(tmp_path, make_set):
  compared = [dataclasses.replace(run, sets=(make_set("test", seed=i),)) for i, run in enumerate(runs()[:2])]
  page = write(tmp_path, [*compared, runs()[2]])
  for anchor in ("similarity", "map"):
    assert (
      len(page.find("figure", inside=page.section(anchor))) == 2 * 3
      and "Not evaluated." in page.section(anchor)["text"]
    )


def test_features_of_classifiers_and_the_way_through_encoders_too(tmp_path):
  """Fine-tuned from one start and from another: the same clips on maps side by side."""
  labels = np.arange(12) % 3
  said = lambda seed: ClassifiedSet(
    "test",
    ["a", "b", "c"],
    np.eye(3)[labels],
    labels,
    {"video/pooled": np.random.default_rng(seed).normal(size=(12, 4))},
  )
  first, second, third = runs()
  compared = [
    dataclasses.replace(first, classified=(said(0),), inside=looked_inside()),
    dataclasses.replace(second, classified=(said(1),)),
    third,
  ]
  section = (page := write(tmp_path, compared)).section("map")
  assert [title["text"] for title in page.find("h3", inside=section)] == [
    "Set “test”",
    "Into the encoder and out of it",
  ]
  assert len(page.find("svg", "map", inside=section)) == 2 + 2 and section["text"].count("Not evaluated.") == 1 + 2
  assert section["text"].count("what the classifier stands on") == 2 and "what leaves the shared" in section["text"]


def test_runs_that_left_little_are_told(tmp_path):
  bare = Run("bare", {}, [], {}, 0)
  page = write(tmp_path, [bare])
  assert "None of the runs was evaluated" in page.section("figures")["text"]
  assert "At least two runs" in page.section("cost")["text"] and math.isnan(bare.step_seconds)
  assert "nothing at two or more steps" in page.section("training")["text"]
  chosen = write(tmp_path, runs(), metrics=["eval/test/video_to_text/median_rank"])
  assert len(chosen.find("tr", inside=chosen.section("figures"))) == 2


def test_many_runs_are_dots(tmp_path):
  """A dot for each run that has the figure, chance dashed, and a gap where another group begins."""
  several = [dataclasses.replace(run, name=f"{group}: {run.name}") for group in "ab" for run in runs()]
  several[0] = dataclasses.replace(several[0], results={})
  page = write(tmp_path, several)
  section = page.section("figures")
  dots, lines = page.find("circle", "dot", inside=section), page.find("path", "reference", inside=section)
  assert len(dots) == 2 * 5 and len(lines) == 1  # No chance of a median rank is known.
  assert dots[0]["text"].startswith("a: drop 0.5: test") and dots[0]["text"].endswith("9.5")
  heights = sorted({float(dot["attrs"]["cy"]) for dot in dots})
  assert np.diff(heights).tolist() == [20, 30, 20, 20]
  assert len(page.find("tr", inside=section)) == 3


def test_figures_in_words():
  assert comparison.readable("eval/esc50/mean_average_precision") == "esc50: mean average precision"
  folds = [name for name in ("eval/a/fold_1/top_1", "eval/a/top_1") if comparison.FIGURES.fullmatch(name)]
  assert folds == ["eval/a/top_1"] and np.isfinite(runs()[0].step_seconds)
