"""Evaluators on frozen encoders, with encoders that are known: they see the mean colour, and read colours' names."""

import dataclasses

import ml_collections
import numpy as np
import pytest

from configs import common
from vatt_jax.data import pipeline, records as records_lib
from vatt_jax.data.label import LabelOptions
from vatt_jax.data.text import TextOptions
from vatt_jax.data.video import VideoOptions
from vatt_jax.errors import UserError
from vatt_jax.evaluation import evaluators, probes
from vatt_jax.evaluation.retrieval import NothingToCompare
from vatt_jax.preparation.miniature import COLOURS

WORDS = ["<pad>", "a", "clip", *COLOURS]
VIDEO = VideoOptions(frames=4, frames_per_second=10.0, size=48, patch=(2, 16, 16), drop_rate=0.0)


class ByWords:
  vocabulary_size, end = len(WORDS), None

  def encode(self, text):
    return [WORDS.index(word) for word in text.split() if word in WORDS]


class Encoder:
  """`video/pooled`: how far the mean colour is from the ground's; counts what it was asked for."""

  def __init__(self):
    self.batches = []

  def __call__(self, variables, batch):
    self.batches.append(sorted(batch))
    out = {}
    if "video/patches" in batch:
      colour = batch["video/patches"].reshape(len(batch["video/patches"]), -1, 3).mean(axis=1) - 235.0
      out |= {"video/pooled": colour, "video/vt": colour * variables["params"]["scale"]}
    if "text/ids" in batch:
      vectors = np.array([[0, 0, 0]] * 3 + [np.array(colour) - 235.0 for colour in COLOURS.values()])
      out["text/vt"] = vectors[batch["text/ids"]].sum(axis=2)
    return out


@pytest.fixture
def setting(miniature, tmp_path, monkeypatch):
  monkeypatch.setenv("VATT_JAX_CACHE", str(tmp_path))
  options = pipeline.InputOptions(video=VIDEO, text=TextOptions(length=6, lower_case=False))
  return evaluators.Setting(Encoder(), {("video", "text"): ("video/vt", "text/vt")}, miniature, options, ByWords())


def run(config, setting, scale=1.0, name="mine"):
  return evaluators.run(name, config, setting, {"params": {"scale": np.float32(scale)}}, 8).metrics


@pytest.mark.parametrize("classifier", probes.PROBES)
def test_probes_find_what_is_there(classifier, setting):
  config = common.probe(classifier, "test", "video/pooled")
  if classifier == "low_rank":
    config.options.update({"steps": 100, "learning_rate": 0.03})
  metrics = run(config, setting)
  assert metrics["eval/mine/top_1"] == 1.0
  assert metrics["eval/mine/training_clips"] == 43  # Five of 48 have no picture.
  assert metrics["eval/mine/clips"] == 11
  assert all(parts == ["video/patches", "video/positions", "video/present"] for parts in setting.encode.batches)


def test_a_probe_is_what_its_parts_say(setting):
  """Features and labels read by hand."""

  def features(split, windows):
    records = records_lib.open_split(setting.directory, split)
    values = [
      [setting.encode({"params": {"scale": 1}}, batch)["video/pooled"] for batch in pipeline.evaluation_batches(
          records, len(records), pipeline.InputOptions(video=VIDEO), None, offset=offset)]
      for offset in (np.linspace(0, 1, windows) if windows > 1 else [0.5])
    ]  # fmt: skip
    here = [len(records_lib.decode(records[i])["video/frames"]) > 0 for i in range(len(records))]
    labels = [sorted(COLOURS).index(label) for label in records.strings("label")]
    return np.stack([v[0] for v in values], axis=1)[here], np.array(labels)[here]

  (x, y), (views, truth) = features("train", 1), features("test", 4)
  right = probes.logistic(x[:, 0], y, 4, cost=1e-6)(views).mean(axis=1).argmax(axis=1) == truth
  config = common.probe("logistic", "test", "video/pooled")
  config.options.cost = 1e-6
  metrics = run(config, setting)
  assert metrics["eval/mine/top_1"] == pytest.approx(right.mean()) and 0 < right.mean() < 1


def test_features_are_computed_once(setting, tmp_path):
  config = common.probe("logistic", "test", "video/vt")
  first = run(config, setting)
  batches = len(setting.encode.batches)
  assert batches == 6 + 4 * 2  # 48 clips, and 12 in four windows.
  assert run(config, setting) == first == run(common.probe("logistic", "test", "video/vt"), setting)
  run(common.knn("test", "video/vt"), setting)
  assert len(setting.encode.batches) == batches
  run(config, setting, scale=2.0)  # Other weights.
  assert len(setting.encode.batches) == 2 * batches
  config.windows = 2
  run(config, setting)
  assert len(setting.encode.batches) == 2 * batches + 2 * 2
  assert len(list((tmp_path / "features").iterdir())) == 5


class Classifier:
  """Always right: it is told the labels in the order of the records, four windows in turn."""

  def __init__(self, labels):
    self.labels, self.seen = np.array(labels), 0

  def __call__(self, variables, batch):
    rows = (self.seen + np.arange(8)) % 16 % len(self.labels)
    self.seen += 8
    return {"video/pooled": np.ones([8, 2], np.float32), "logits": np.eye(len(COLOURS))[self.labels[rows]]}


def test_clips_without_a_picture_are_not_classified(setting):
  """As they are not learned from; each of the others counts once, whatever the batch and the windows."""
  names = tuple(sorted(COLOURS))
  records = records_lib.open_split(setting.directory, "test")
  truth = [names.index(label) for label in records.strings("label")]
  options = pipeline.InputOptions(video=VIDEO, label=LabelOptions(names=names))
  setting = dataclasses.replace(setting, encode=Classifier(truth), options=options)
  found = evaluators.run("mine", common.classification("test", "final", windows=4), setting, {}, 8)
  assert found.metrics["eval/mine/top_1"] == 1.0 and found.metrics["eval/mine/clips"] == 11.0  # Of 12.
  assert len(found.shown.labels) == len(found.shown.scores) == len(found.shown.features["video/pooled"]) == 11


def test_few_neighbours(setting):
  metrics = run(common.knn("test", "video/pooled", shots=2, draws=3), setting)
  assert metrics["eval/mine/training_clips"] == 8 and 0.5 < metrics["eval/mine/top_1"] <= 1.0
  assert metrics["eval/mine/top_1_deviation"] >= 0
  assert run(common.knn("test", "video/pooled"), setting)["eval/mine/top_1"] == 1.0


def test_classes_by_their_names(setting):
  config = common.zero_shot_classification("test", "video", templates=("a clip of {}", "{}"))
  assert run(config, setting)["eval/mine/top_1"] == 1.0
  config.multiple = True
  assert run(config, setting)["eval/mine/mean_average_precision"] == 1.0
  config.templates = ("a clip",)
  with pytest.raises(UserError, match="with {} in each"):
    run(config, setting)
  config.modality = "audio"
  with pytest.raises(UserError, match="'audio' and text meet"):
    run(config, setting)


@pytest.mark.parametrize("config", [common.probe("logistic", "test", "video/pooled", True),
                                    common.knn("test", "video/pooled", multiple=True)])  # fmt: skip
def test_several_labels(config, setting, monkeypatch):
  """Every red clip is bright too, and one class nobody has."""
  names, own = sorted(COLOURS), records_lib.Records.strings
  monkeypatch.setattr(records_lib, "labels", lambda directory: [*names, "bright", "nobody"])
  brighten = lambda label: label + "|bright" if label == names[0] else label
  monkeypatch.setattr(records_lib.Records, "strings", lambda self, key: [brighten(each) for each in own(self, key)])
  found = evaluators.run("mine", config, setting, {"params": {"scale": np.float32(1.0)}}, 8)
  assert found.metrics["eval/mine/mean_average_precision"] == 1.0 and found.metrics["eval/mine/classes"] == 5
  assert found.shown.labels.shape == found.shown.scores.shape == (len(found.shown.labels), 6)
  monkeypatch.setattr(records_lib.Records, "strings", lambda self, key: [""] * len(self))
  with pytest.raises(NothingToCompare, match="no clip of the split 'train' has a label and video"):
    run(config, setting)


def test_class_names_become_words():
  assert [evaluators.readable(name) for name in ("PlayingGuitar", "brush_hair", "YoYo", "dog", "Golf 9Holes")] == [
    "playing guitar", "brush hair", "yo yo", "dog", "golf 9 holes",
  ]  # fmt: skip


def test_what_cannot_be_done_is_a_sentence(setting):
  with pytest.raises(UserError, match="classifier = 'forest' is not one of low_rank"):
    run(common.probe("forest", "test", "video/pooled"), setting)
  with pytest.raises(UserError, match="this model has video/pooled, video/vt"):
    run(common.probe("logistic", "test", "video/va"), setting)
  with pytest.raises(UserError, match="reads no audio"):
    run(common.probe("logistic", "test", "audio/pooled"), setting)
  config = common.probe("logistic", "test", "video/pooled")
  config.options = ml_collections.ConfigDict({"price": 1.0})
  with pytest.raises(UserError, match="options cannot be used: .*price"):
    run(config, setting)


def test_sets_without_labels_say_so(setting, monkeypatch):
  monkeypatch.setattr(records_lib, "labels", lambda directory: [])
  with pytest.raises(NothingToCompare, match="has no labels"):
    run(common.probe("logistic", "test", "video/pooled"), setting)
  monkeypatch.setattr(records_lib, "labels", lambda directory: ["cat"])
  with pytest.raises(NothingToCompare, match="no clip of the split 'train' has a label and video"):
    run(common.probe("logistic", "test", "video/pooled"), setting)
