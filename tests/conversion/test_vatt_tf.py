"""VATT's TensorFlow checkpoints: what converted weights compute, and what is said when a file is not as expected."""

import jax
import ml_collections
import numpy as np
import pytest

from tests.conversion import official, reference
from tests.conversion.official import PUBLISHED, TINY
import vatt_jax
from vatt_jax import convert, jobs, objectives
from vatt_jax.conversion import Options, vatt_tf
from vatt_jax.errors import UserError
from vatt_jax.training.sharding import path_name

TEXT_LENGTH = 20  # more than 8 and 16 words apart, where relative positions share buckets


def media(rows=2, geometry=TINY, length=6):
  """Frames and samples in [-1, 1], ids with padding; the last sentence is empty."""
  random = np.random.default_rng(1)
  T, H, W = (p * n for p, n in zip(geometry.patch, geometry.tables))
  frames = random.uniform(-1, 1, (rows, T, H, W, 3)).astype(np.float32)
  samples = random.uniform(-1, 1, (rows, geometry.audio_patch * geometry.audio_table)).astype(np.float32)
  ids = random.integers(1, geometry.words[0], (rows, length)).astype(np.int32)
  ids[0, length // 2 :], ids[-1] = 0, 0
  return frames, samples, ids


def convert_and_load(directory, shapes, **options):
  """Random weights through a checkpoint and its conversion: the loaded model, and the reference's float64 copy."""
  values = official.random_values(shapes)
  path = official.write_checkpoint(directory / "official", values)
  convert.convert("vatt_tf", path, str(directory / "ours"), Options(**options))
  return vatt_jax.load(str(directory / "ours")), {name: value.astype(np.float64) for name, value in values.items()}


def assert_same(found, expected):
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, atol=1e-5, rtol=1e-5, err_msg=name)


CASES = {
  "heads 64 wide": ({}, {}, {"video": 2, "audio": 1}),
  "heads of another width": (
    {"video_size": (2, 24, 12, 40), "audio_size": (1, 20, 8, 28)},
    {"num_heads": 4},
    {"video": 4, "audio": 4},
  ),
}


@pytest.mark.parametrize("shapes, options, heads", CASES.values(), ids=CASES)
def test_modality_specific_computes_what_the_reference_does(tmp_path, shapes, options, heads):
  model, v = convert_and_load(tmp_path, official.modality_specific(**shapes), text_length=TEXT_LENGTH, **options)
  frames, samples, ids = media(length=TEXT_LENGTH)
  expected = reference.modality_specific(v, frames, samples, ids, heads)
  assert_same(model.encode(video=frames, audio=samples, text=ids), expected)


def test_modality_agnostic_computes_what_the_reference_does(tmp_path):
  model, v = convert_and_load(tmp_path, official.modality_agnostic())
  frames, samples, ids = media()
  expected = reference.modality_agnostic(v, frames, samples, ids, 2)
  assert_same(model.encode(video=frames, audio=samples, text=ids), expected)


LARGER = TINY._replace(tables=(5, 6, 4), audio_table=11)  # 10 frames of 24 pixels, 55 samples


@pytest.mark.parametrize("modality", ["video", "audio"])
@pytest.mark.parametrize("post_width", [0, 18], ids=["specific", "agnostic"])
def test_classifiers_compute_what_the_reference_does(tmp_path, modality, post_width):
  shapes = official.classifier(modality, post_width=post_width, geometry=LARGER)
  model, v = convert_and_load(tmp_path, shapes)
  seen = dict(zip(("video", "audio"), media(geometry=LARGER)))[modality]
  assert_same(model.encode(**{modality: seen}), reference.classifier(v, modality, seen, 1))


@pytest.mark.parametrize("modality, grid", [("video", (3, 9, 6)), ("audio", (17,))], ids=["video", "audio"])
def test_clips_of_another_size_resize_the_tables(tmp_path, modality, grid):
  model, v = convert_and_load(tmp_path, official.classifier(modality, geometry=LARGER))
  other = LARGER._replace(**{"tables": grid} if modality == "video" else {"audio_table": grid[0]})
  seen = dict(zip(("video", "audio"), media(geometry=other)))[modality]
  assert_same(model.encode(**{modality: seen}), reference.classifier(v, modality, seen, 1, grid))


BASE, MEDIUM, LARGE = (12, 768, 768, 3072), (12, 1024, 1024, 4096), (24, 1024, 1024, 4096)
SMALL = (6, 512, 8, 64, 2048)
VIDEO_320, AUDIO = PUBLISHED._replace(tables=(8, 20, 20)), PUBLISHED
specific = lambda video: official.modality_specific(video, BASE, SMALL, (512, 256), PUBLISHED)
agnostic = lambda size: official.modality_agnostic(size, 1024, (512, 256), PUBLISHED)

# Variables in all where known, and trainable parameters, as counted on the official models.
PUBLISHED_MODELS = {
  "bbs": (specific(BASE), None, 193_877_292, "base"),
  "mbs": (specific(MEDIUM), 480, 260_905_772, "medium"),
  "lbs": (specific(LARGE), None, 412_060_460, "large"),
  "ma_medium": (agnostic(MEDIUM), 244, 162_990_336, "medium"),
  "vit_base": (official.classifier("video", BASE, 400, 0, VIDEO_320), None, 87_762_832, "base"),
  "vit_medium_ma": (official.classifier("video", MEDIUM, 400, 1024, VIDEO_320), None, 156_864_912, "medium"),
  "wat_base": (official.classifier("audio", BASE, 527, 0, AUDIO), None, 86_484_239, "base"),
  "wat_medium_ma": (official.classifier("audio", MEDIUM, 527, 1024, AUDIO), None, 155_160_079, "medium"),
}


@pytest.mark.parametrize("name", PUBLISHED_MODELS)
def test_published_sizes(name):
  shapes, variables, parameters, named = PUBLISHED_MODELS[name]
  assert variables in (None, len(shapes))
  conversion = vatt_tf.convert(official.virtual(shapes), Options())
  assert sum(x.size for x in jax.tree.leaves(conversion.variables["params"])) == parameters
  model = conversion.config["model"]
  assert named == model.get("video_size", model.get("size"))


@pytest.mark.parametrize("name", ["mbs", "ma_medium"])
def test_the_tree_is_that_of_our_model(name):
  """Every path and shape of a fresh model, so that converted weights are a place to train from."""
  conversion = vatt_tf.convert(official.virtual(PUBLISHED_MODELS[name][0]), Options())
  patches = lambda n, values: np.zeros([1, n, values], np.uint8)
  places = lambda n: np.zeros([1, n], np.int32)
  batch = {
      "video/patches": patches(3, 3072), "video/positions": places(3), "audio/patches": patches(3, 128),
      "audio/positions": places(3), "text/ids": np.zeros([1, 1, 16], np.int32), "text/mask": np.ones([1, 1, 16], bool),
  }  # fmt: skip
  config = ml_collections.ConfigDict(conversion.config, convert_dict=True)
  objective = objectives.build(config, jobs.input_options(config.data), 0)
  fresh = jax.eval_shape(lambda: objective.init(jax.random.key(0), batch))
  shapes = lambda tree: {path_name(path): x.shape for path, x in jax.tree_util.tree_leaves_with_path(tree)}
  assert shapes(conversion.variables) == shapes(fresh)


def test_what_is_left_behind_is_named(tmp_path):
  path = official.write_checkpoint(tmp_path, official.random_values(official.classifier("audio")), slots=("momentum",))
  dropped = vatt_tf.open_checkpoint(path).dropped
  assert {"save_counter", "optimizer/iter", "optimizer/decay", "_CHECKPOINTABLE_OBJECT_GRAPH"} <= set(dropped)
  assert f"{reference.CLASSIFIER}/kernel/.OPTIMIZER_SLOT/optimizer/momentum" in dropped
  assert len(dropped) == 4 + len(official.classifier("audio"))


def test_input_is_read_off_the_tables():
  data = vatt_tf.convert(official.virtual(PUBLISHED_MODELS["vit_base"][0]), Options()).config["data"]["video"]
  assert (data["frames"], data["size"], data["patch"], data["frames_per_second"]) == (32, 320, [4, 16, 16], 12.5)
  data = vatt_tf.convert(official.virtual(PUBLISHED_MODELS["wat_base"][0]), Options(sample_rate_hz=16_000)).config[
    "data"
  ]["audio"]
  assert (data["samples"], data["patch"], data["sample_rate_hz"]) == (153_600, 128, 16_000)
  data = vatt_tf.convert(official.virtual(official.modality_agnostic()), Options()).config["data"]
  assert data["text"]["length"] == TINY.text_table
  assert (data["video"]["frames_per_second"], data["audio"]["sample_rate_hz"]) == (10.0, 48_000)


def changed(shapes, **changes):
  """The shapes with some replaced; None removes."""
  return {name: shape for name, shape in (shapes | changes).items() if shape is not None}


MS, MA, VIT = official.modality_specific(), official.modality_agnostic(), official.classifier("video")
FEED_FORWARD = f"{reference.FINETUNED}/tx/layers/1/feed_forward/mlp/wo/kernel"
TABLE = f"{reference.FINETUNED}/pos_embedding_lookup/horizontal_position_embeddings/embeddings"
KERNEL = f"{reference.FINETUNED}/voxel_to_patch/kernel"
PROBLEMS = {
  "unknown": (changed(VIT, **{"model/extra/kernel": (3, 4)}), {}, r"unknown model/extra/kernel \(3, 4\)"),
  "missing": (changed(VIT, **{FEED_FORWARD: None}), {}, f"missing {FEED_FORWARD}"),
  "missing dimension": (changed(VIT, **{TABLE: None}), {}, f"lacks {TABLE}"),
  "shape": (changed(VIT, **{FEED_FORWARD: (41, 24)}), {}, rf"{FEED_FORWARD} \(41, 24\) does not make .*\(40, 24\)"),
  "grey pictures": (changed(VIT, **{KERNEL: (2, 4, 6, 1, 24)}), {}, r"\(2, 4, 6, 1, 24\) does not make .*\(144, 24\)"),
  "axes": (changed(VIT, **{TABLE: (2, 2, 24)}), {}, rf"{TABLE} .* 2 axes were expected"),
  "not VATT": ({"dense/kernel": (3, 4)}, {}, "is no checkpoint of VATT"),
  "head width": (official.classifier("audio", size=(1, 24, 24, 40)), {}, "24 wide.*give --num_heads"),
  "head number": (VIT, {"num_heads": 5}, "64 wide, which 5 heads do not divide"),
  "no words": (VIT, {"vocabulary": "words.txt"}, "--vocabulary says nothing about a classifier of video"),
  "length known": (MA, {"text_length": 8}, "--text_length says nothing about a checkpoint with a table"),
  "no file": (MS, {"vocabulary": "/nowhere.txt"}, "no word list at /nowhere.txt"),
}  # fmt: skip


@pytest.mark.parametrize("shapes, options, sentence", PROBLEMS.values(), ids=PROBLEMS)
def test_what_is_not_as_expected_is_told(shapes, options, sentence):
  with pytest.raises(UserError, match=sentence):
    vatt_tf.convert(official.virtual(shapes), Options(**options))


def test_the_vocabulary_belongs_to_the_word_vectors(tmp_path):
  path = tmp_path / "words.txt"
  words = ["<pad>", "<unk>", *(f"word{i}" for i in range(11))]
  options = Options(vocabulary=str(path))
  path.write_text("\n".join(words) + "\n")
  assert vatt_tf.convert(official.virtual(MS), options).tokenizer.content == path.read_bytes()
  path.write_text("\n".join(words[:-1]))
  with pytest.raises(UserError, match="has 12 words, but there are 13 word vectors"):
    vatt_tf.convert(official.virtual(MS), options)
  path.write_text("\n".join(reversed(words)))
  with pytest.raises(UserError, match="its first line must be <pad>"):
    vatt_tf.convert(official.virtual(MS), options)


def test_a_checkpoint_is_found_by_any_of_its_names(tmp_path):
  path = official.write_checkpoint(tmp_path, official.random_values(official.classifier("audio")))
  for place in (path, f"{path}.index", f"{path}.data-00000-of-00001", str(tmp_path)):
    assert vatt_tf.open_checkpoint(place).place == path
  (tmp_path / "checkpoint").unlink()  # Published folders may lack it.
  assert vatt_tf.open_checkpoint(str(tmp_path)).place == path
  (tmp_path / "ckpt-2.index").touch()
  with pytest.raises(UserError, match=r"holds several checkpoints \(ckpt-1, ckpt-2\); name one"):
    vatt_tf.open_checkpoint(str(tmp_path))


def test_files_that_cannot_be_read_are_told(tmp_path):
  with pytest.raises(UserError, match="holds no TensorFlow checkpoint"):
    vatt_tf.open_checkpoint(str(tmp_path))
  with pytest.raises(UserError, match=r"there is no TensorFlow checkpoint at .*ckpt-9"):
    vatt_tf.open_checkpoint(str(tmp_path / "ckpt-9"))
  path = official.write_checkpoint(tmp_path, official.random_values(official.classifier("audio")))
  data = tmp_path / "ckpt-1.data-00000-of-00001"
  data.write_bytes(data.read_bytes()[:1000])
  with pytest.raises(UserError, match="not a readable TensorFlow checkpoint"):
    vatt_tf.convert(vatt_tf.open_checkpoint(path), Options())
  data.unlink()
  with pytest.raises(UserError, match="data-.* is missing"):
    vatt_tf.open_checkpoint(path)
  data.touch()
  (tmp_path / "ckpt-1.index").write_bytes(b"nonsense")
  with pytest.raises(UserError, match="not a readable TensorFlow checkpoint"):
    vatt_tf.open_checkpoint(path)


def test_pictures_need_not_be_square(tmp_path):
  shapes = official.classifier("video")
  shapes[TABLE] = (3, 24)
  checkpoint = official.write_checkpoint(tmp_path, official.random_values(shapes))
  config = vatt_tf.convert(vatt_tf.open_checkpoint(checkpoint), Options()).config
  assert (config["data"]["video"]["size"], config["data"]["video"]["width"]) == (12, 18)
