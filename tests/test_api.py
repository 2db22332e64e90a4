"""Trained encoders in Python."""

import shutil

import numpy as np
import pytest

import vatt_jax
from vatt_jax.errors import UserError
from vatt_jax.training import checkpoints


@pytest.fixture(scope="module")
def model(smoke_run):
  return vatt_jax.load(smoke_run)


def test_what_comes_out(model):
  frames = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3)).astype(np.uint8)
  out = model.encode(video=frames, audio=np.zeros((2, 3200), np.float32), text=["a red square", "blau"])
  names = {"video/pooled", "audio/pooled", "text/pooled", "video/va", "audio/va", "video/vt", "text/vt", "audio/vt"}
  assert names <= set(out)
  assert all(value.shape[0] == 2 and value.dtype == np.float32 for value in out.values())
  assert model.config.audio.sample_rate_hz == 8000


def test_scaled_frames_are_the_same(model):
  frames = np.random.default_rng(0).integers(0, 256, (1, 4, 32, 32, 3)).astype(np.uint8)
  scaled = frames.astype(np.float32) / 127.5 - 1.0
  np.testing.assert_allclose(model.encode(video=frames)["video/va"], model.encode(video=scaled)["video/va"], atol=1e-5)


def test_other_sizes_resize_the_tables(model):
  out = model.encode(video=np.zeros((1, 6, 64, 48, 3), np.uint8), audio=np.zeros((1, 1600), np.float32))
  assert np.isfinite(model.encode(text=np.ones((1, 30), np.int32))["text/vt"]).all()
  assert np.isfinite(out["video/va"]).all() and np.isfinite(out["audio/va"]).all()


def test_ids_and_strings_say_the_same(model):
  ids = model.tokenizer.encode("a red square")[: model.config.text.length]
  by_ids = model.encode(text=np.array([ids], np.int32))["text/vt"]
  np.testing.assert_allclose(by_ids, model.encode(text=["a red square"])["text/vt"], atol=1e-6)


def test_what_cannot_be_encoded_is_said(model):
  with pytest.raises(UserError, match="needs video, audio or text"):
    model.encode()
  with pytest.raises(UserError, match="does not divide into patches"):
    model.encode(video=np.zeros((1, 4, 33, 32, 3), np.uint8))
  with pytest.raises(UserError, match=r"\(B, T, H, W, 3\)"):
    model.encode(video=np.zeros((4, 32, 32, 3), np.uint8))
  with pytest.raises(UserError, match="no checkpoint"):
    vatt_jax.load("/nowhere")


@pytest.mark.parametrize("damage", ["manifest", "state"])
def test_a_damaged_checkpoint_is_said(smoke_run, tmp_path, damage):
  place = tmp_path / "copy"
  shutil.copytree(checkpoints.find(smoke_run), place)
  if damage == "manifest":
    (place / checkpoints.MANIFEST).write_text('{"step": 4, "conf')
  else:
    shutil.rmtree(place / "state" / "d")
  with pytest.raises(UserError, match="checkpoint .*copy cannot be read"):
    vatt_jax.load(str(place))


def test_ids_that_are_none_are_said(model):
  with pytest.raises(UserError, match="rows of one length"):
    model.encode(text=[[1, 2], [1]])
  with pytest.raises(UserError, match="from 0 to .*, not 1 to 1000000"):
    model.encode(text=np.array([[1, 1_000_000]]))
  with pytest.raises(UserError, match="from 0 to .*, not -1 to 1"):
    model.encode(text=np.array([[1, -1]]))


def test_what_only_alpro_has_is_said(model):
  with pytest.raises(UserError, match="this model has no match: ALPRO's models have"):
    model.match(np.zeros((1, 4, 32, 32, 3), np.uint8), ["a dog"])
  assert not hasattr(model, "entities") and not hasattr(model, "nonsense")


def test_what_would_be_encoded_as_nonsense_is_said(model):
  frames, wave = np.full((1, 4, 32, 32, 3), 200), np.full((1, 3_200), 3_000)
  for dtype in (np.float32, np.int64):
    with pytest.raises(UserError, match=r"video must be uint8, or floats in \[-1, 1\] .* up to 200"):
      model.encode(video=frames.astype(dtype))
    with pytest.raises(UserError, match="audio must be int16, or floats .* up to 3000"):
      model.encode(audio=wave.astype(dtype))
  with pytest.raises(UserError, match=r"a list of strings, such as \['a red square'\]"):
    model.encode(text="a red square")
