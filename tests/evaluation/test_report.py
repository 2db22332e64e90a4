"""The report as a reader meets it: one file, parsed."""

import dataclasses
from html.parser import HTMLParser
import json
import re

import numpy as np
import pytest

from vatt_jax.evaluation import retrieval
from vatt_jax.evaluation.classification import ClassifiedSet
from vatt_jax.evaluation.inside import Followed, Inside
from vatt_jax.evaluation.report import write_report

_VOID = {"img", "meta"}


class Parsed(HTMLParser):
  """Elements with their attributes and text; fails where a tag is not closed."""

  def __init__(self, text):
    super().__init__()
    self.elements, self.stack = [], []
    self.feed(text)
    self.close()
    assert not self.stack

  def handle_starttag(self, tag, attrs):
    element = {"tag": tag, "attrs": dict(attrs), "text": "", "inside": list(self.stack)}
    self.elements.append(element)
    if tag not in _VOID:
      self.stack.append(element)

  def handle_endtag(self, tag):
    assert self.stack.pop()["tag"] == tag

  def handle_data(self, data):
    for element in self.stack:
      element["text"] += data

  def find(self, tag, class_=None, inside=None):
    return [
      e for e in self.elements
      if e["tag"] == tag and (class_ is None or class_ in (e["attrs"].get("class") or "").split())
      and (inside is None or any(inside is outer for outer in e["inside"]))
    ]  # fmt: skip

  def section(self, anchor):
    return next(e for e in self.find("section") if e["attrs"]["id"] == anchor)


@pytest.fixture(name="report")
def report_fixture(tmp_path):
  def write(sets, history=(), results=None, classified=(), inside=None, **texts):
    path = tmp_path / "report.html"
    texts = {"title": "demo", "subtitle": "a test", "config_text": "seed: 0", "command": "train"} | texts
    write_report(
      path, history=list(history), results=results or {}, sets=sets, classified=classified, inside=inside, **texts
    )
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    return Parsed(path.read_text(encoding="utf-8"))

  return write


def test_the_file_needs_nothing_else(report, make_set, make_history):
  page = report([make_set()], make_history(), {"params/fingerprint": "ab12", "eval/test/top_1": 0.25})
  assert not page.find("script") and not page.find("link") and not page.find("iframe")
  for element in page.elements:
    for name in ("src", "href", "srcset", "data", "poster", "action"):
      assert re.match(r"data:(image/jpeg|audio/wav);base64,|#", element["attrs"].get(name) or "#")
    assert "url(" not in (element["attrs"].get("style") or "")
  (style,) = page.find("style")
  assert "url(" not in style["text"] and "@import" not in style["text"]
  anchors = {element["attrs"]["id"] for element in page.elements if "id" in element["attrs"]}
  assert {link["attrs"]["href"][1:] for link in page.find("a")} == anchors
  assert "ab12" in page.section("run")["text"] and "seed: 0" in page.section("run")["text"]


def test_captions_are_text_whatever_they_hold(report, make_set):
  embedded = make_set(clips=6, languages=("fr",))
  evil = ['<script>alert("x")</script>', "</title><b>'\"&amp;", "\ud800 \x00 \u202e חתול", "", "é" * 5000]
  evil.append("<img src=x onerror=y>")
  embedded = dataclasses.replace(embedded, captions=evil, labels=evil, sources=evil, name="<i>set</i>")
  page = report([embedded], title=evil[0], subtitle=evil[1], config_text=evil[0], command=evil[5])
  assert not page.find("script") and not page.find("i", inside=page.section("gallery"))
  assert page.find("h1")[0]["text"] == evil[0]
  assert not any(name.startswith("on") for element in page.elements for name in element["attrs"])
  texts = {element["text"] for element in page.find("bdi")}
  assert {evil[0], evil[1], evil[5], "(no caption)"} <= texts
  assert max(map(len, texts)) < 200  # A caption without end is cut.


def test_the_marked_answer_is_the_right_row(report, make_set):
  embedded = make_set(clips=40, noise=2)  # Every caption is different, so it names its row.
  page = report([embedded])
  cards = page.find("article", "query")
  assert len(cards) == 4 * 6
  for card in cards:
    (asked,) = page.find("div", "asked", inside=card)
    (own,) = page.find("bdi", inside=asked)
    (right,) = page.find("li", "right", inside=card)
    assert page.find("bdi", inside=right)[0]["text"] == own["text"]
    answers = page.find("li", inside=card)
    rank = float(re.search(r"rank ([\d.]+) of 20", asked["text"])[1])
    assert len(answers) == (5 if rank <= 5 else 6)
    assert answers.index(right) + 1 == min(rank, 6)
    language = own["attrs"]["lang"]
    assert all(bdi["attrs"]["lang"] == language for bdi in page.find("bdi", inside=card))


def test_tables_show_the_results_and_compute_what_they_lack(report, make_set):
  embedded = make_set()
  known = {"recall_at_1": 0.123, "recall_at_5": 0.456, "recall_at_10": 0.789, "chance_recall_at_5": 0.1}
  known["median_rank"] = 7
  results = {f"eval/test/video_to_text/{name}": value for name, value in known.items()}
  results |= {f"eval/other/audio_to_text/{name}": value for name, value in known.items()}
  page = report([embedded], results=results)
  rows = {row["text"].split("%")[0]: row["text"] for row in page.find("tr", inside=page.section("retrieval"))}
  assert "12.3 %45.6 %78.9 %7" in rows["video → text12.3 "] and "4.6 ×" in rows["video → text12.3 "]
  assert "audio → text12.3 " in rows  # Of a set that has results only.
  computed = retrieval.evaluate_set(embedded)["audio_to_text/recall_at_1"]
  assert f"audio → text{100 * computed:.1f} " in rows
  assert "audio and text through audio/at – text/at" in page.section("retrieval")["text"]
  assert {"fr", "ru"} <= {cell["text"] for cell in page.find("th", inside=page.find("details")[-1])}


def test_curves_have_their_levels(report, make_history):
  page = report([], [*make_history(batch_size=64), {"step": 1, "data/duplicate_captions": 0.031}])
  loss, recall = (page.find("li", inside=page.section(anchor)) for anchor in ("loss", "recall"))
  assert [entry["text"].rsplit(" ", 1)[0] for entry in loss] == [
    "total", "audio – text", "video – audio", "video – text", "log(batch size)",
  ]  # fmt: skip
  assert loss[-1]["text"] == "log(batch size) 4.16"
  assert "3.1 % of a batch's captions" in page.section("loss")["text"]
  assert len(recall) == 7 and recall[-1]["text"] == "chance 5.8 %"
  assert len(page.find("path", "curve", inside=page.section("loss"))) == 2 * 4  # Each also in the legend.


def _silent(embedded):
  count = len(embedded)
  present = {"video": np.ones(count, bool), "text": np.ones(count, bool)}
  return dataclasses.replace(embedded, present=present, waveforms=[np.zeros(0, np.int16)] * count)


def test_what_is_missing_is_said(report, make_set):
  page = report([], command="")
  for anchor, sentence in {
    "run": "command was not recorded", "loss": "holds no losses", "recall": "no curve", "retrieval": "No set",
    "gallery": "No set", "similarity": "No set", "map": "No set",
  }.items():  # fmt: skip
    assert sentence in page.section(anchor)["text"]
  sets = [make_set("one", clips=1), make_set("none", clips=0), _silent(make_set("silent", clips=9))]
  page = report(sets, [{"step": 1, "loss": 4.0}])
  assert "The evaluation set 'none' is empty" in page.section("retrieval")["text"]
  assert "fewer than two embeddings" in page.section("map")["text"]
  assert "No two clips" in page.section("similarity")["text"]
  assert [h["text"] for h in page.find("h4", inside=page.section("gallery"))][-2:] == ["video → text", "text → video"]


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_encoders_that_know_nothing_still_get_a_report(report, make_set, value):
  embedded = make_set(clips=12)
  for array in embedded.embeddings.values():
    array[:] = value
  page = report([embedded])
  assert len(page.find("article", "query")) == 4 * 6


def test_clips_without_media_or_labels_get_blank_boxes(report, make_set):
  embedded = make_set(clips=6)
  broken = [b"", b"no jpeg", embedded.thumbnails[2][:100] * 900, *embedded.thumbnails[3:]]
  silence = [np.zeros(0, np.int16)] * 6
  page = report([dataclasses.replace(embedded, thumbnails=broken, labels=[""] * 6, waveforms=silence)])
  assert not page.find("audio") and {"no sound", "no picture"} <= {box["text"] for box in page.find("div", "blank")}
  assert page.section("map")["text"].endswith("no category")


def test_long_sounds_and_large_pictures_stay_below_eight_megabytes(report, make_set, tmp_path):
  rng = np.random.default_rng(0)
  sets = []
  for name in ("validation", "test", "more"):
    embedded = make_set(name, clips=12, seconds=10, rate_hz=48000)
    noise = [rng.integers(0, 256, 150_000, np.uint8).tobytes() for _ in range(12)]
    large = [thumbnail + more for thumbnail, more in zip(embedded.thumbnails, noise)]  # Readers stop at the end mark.
    sets.append(dataclasses.replace(embedded, thumbnails=large))
  page = report(sets)
  assert 1e6 < (tmp_path / "report.html").stat().st_size < 8e6
  assert len(page.find("audio")) == 3 * 2 * 6 and not page.find("div", "blank")


def test_a_history_from_json_lines(report):
  lines = [
    '{"step": 1, "loss": NaN, "note": "warm"}',
    '{"step": 2, "loss": 3.5}',
    '{"step": 2, "loss": 3.25}',
    '{"a": 1}',
  ]
  page = report([], [json.loads(line) for line in lines])
  assert page.find("li", inside=page.section("loss"))[0]["text"] == "total 3.25"
  assert {tile["text"] for tile in page.find("div", "tile")} == {"2steps", "3.25loss at the last step"}


def test_classifiers_have_a_matrix_and_a_table(report):
  labels = np.array([0, 0, 0, 1, 1, -1])
  scores = np.eye(3)[[0, 0, 1, 1, 1, 2]]
  features = {"video/pooled": np.random.default_rng(0).normal(size=(6, 4))}
  one = ClassifiedSet("test", ["<cat>", "dog", "cow"], scores, labels, features, "A probe.")
  page = report([], results={"eval/test/top_1": 0.8, "eval/test/chance_top_1": 1 / 3}, classified=[one])
  section = page.section("classes")
  assert "A probe. On 5 clips: top-1 80.0 % (chance 33.3 %)." in section["text"]
  assert len(page.find("rect", "right", inside=section)) == 2 and "<cat> taken for dog: 1 of 3" in section["text"]
  rows = [row["text"] for row in page.find("tr", inside=section)]
  assert (
    "<cat>32100.0 %66.7 %" in rows and "dog2366.7 %100.0 %" in rows and not any(row.startswith("cow") for row in rows)
  )
  assert "Features of “test”" in page.section("map")["text"]
  twice = report([], classified=[one, dataclasses.replace(one, name="other")])  # One map of the same features.
  assert len(twice.find("svg", "map")) == 1 and len(twice.find("h3", inside=twice.section("classes"))) == 2
  assert "80.0 %top 1 on test, chance 33.3 %" in {tile["text"] for tile in page.find("div", "tile")}
  several = ClassifiedSet("many", ["a", "b", "c"], scores, np.array([[1, 0, 0]] * 3 + [[1, 1, 0]] * 3))
  rows = [row["text"] for row in page_rows(report([], classified=[several]))]
  assert rows[1:] == ["a6100.0 %", "b361.1 %"]
  empty = ClassifiedSet("empty", ["a"], np.zeros([0, 1]), np.zeros(0, int))
  assert "The set is empty" in report([], classified=[empty]).section("classes")["text"]


def page_rows(page):
  return page.find("tr", inside=page.section("classes"))


def test_many_classes_show_those_with_mistakes(report):
  labels = np.arange(100)
  scores = np.eye(100)[np.where(labels < 30, (labels + 1) % 30, labels)]
  page = report([], classified=[ClassifiedSet("test", [f"c{i}" for i in labels], scores, labels)])
  section = page.section("classes")
  assert "40 classes with the most mistakes, of 100" in section["text"]
  assert (
    len(page.find("rect", "cell", inside=section)) == 40 and "Precision and recall of 100 classes" in section["text"]
  )


def looked_inside(shared=True):
  random = np.random.default_rng(0)
  names, clips = ("video", "audio", "text"), 30
  values = lambda: {name: random.normal(size=(clips, 8)).astype(np.float32) for name in names}
  heat = lambda *shape: np.full(shape, 1 / np.prod(shape), np.float32)
  picture = random.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
  followed = [
    Followed("a <dog>", picture, heat(2, 2, 2), np.arange(800, dtype=np.int16), None, heat(8)),
    Followed("", None, None, None, random.normal(size=(16, 8)), heat(4, 2)),
  ]
  return Inside(
    "test", shared, values(), values(), {name: np.ones(clips, bool) for name in names},
    {name: random.random((3, 50)) for name in names}, ["a dog"] * clips, ["en"] * clips, ["animals"] * clips, followed, 16_000,
  )  # fmt: skip


def test_a_look_inside(report, make_set):
  page = report([make_set()], inside=looked_inside())
  assert "Before the encoder" in page.section("similarity")["text"]
  assert page.section("similarity")["text"].count("AUC 0.") >= 6 and "overlap 0." in page.section("similarity")["text"]
  assert "what enters the shared encoder" in page.section("map")["text"]
  assert {"layer 1", "layer 3"} <= {text["text"] for text in page.find("text", inside=page.section("units"))}
  attention = page.section("attention")
  assert len(page.find("img", inside=attention)) == 2 * 2 + 1 and len(page.find("audio", inside=attention)) == 1
  assert "a <dog>" in attention["text"] and "(no caption)" in attention["text"]
  apart = report([make_set()], inside=looked_inside(shared=False))
  assert "an encoder of its own" in apart.section("units")["text"]
  assert apart.section("map")["text"].count("what leaves the encoder") == 3
  assert "Before the encoder" not in apart.section("similarity")["text"]


def test_accuracy_over_the_steps(report):
  history = [{"step": k, "eval/test/top_1": k / 10, "eval/test/chance_top_1": 0.1} for k in (1, 2, 3)]
  page = report([], history)
  assert [item["text"] for item in page.find("li", inside=page.section("recall"))] == [
    "test: top-1 30 %",
    "chance 10 %",
  ]
