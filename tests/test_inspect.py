"""What `inspect` shows of records, batches and checkpoints."""

from absl import flags
import numpy as np
import pytest

from configs.finetune import kinetics400
from tests.runs import smoke_config
from vatt_jax import errors, inspect as program
from vatt_jax.data import audio, patches, video
from vatt_jax.inspection import batch, checkpoint, record


def test_a_record(miniature):
  said = record.describe(miniature, "train", [0, 1])
  assert said.startswith("record 0 of 48 in train") and "captions/text" in said and "JPEG files" in said
  with pytest.raises(errors.UserError, match="there is no record 48: train of .* has 48"):
    record.describe(miniature, "train", [48])


def test_patches_become_frames_and_sound_again():
  """All patches give the clip back; one that was dropped leaves a grey place, or silence."""
  rng = np.random.default_rng(0)
  seen = video.VideoOptions(frames=4, frames_per_second=4.0, size=16, patch=(2, 8, 8))
  frames = rng.integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)
  cut = patches.video_patches(frames, seen.patch)
  np.testing.assert_array_equal(batch.unpatch_video(cut, np.arange(8), seen), frames)
  without = batch.unpatch_video(cut[1:], np.arange(1, 8), seen)
  assert (without[:2, :8, :8] == batch.GREY).all()
  np.testing.assert_array_equal(without[2:], frames[2:])
  heard = audio.AudioOptions(samples=32, sample_rate_hz=8_000, patch=8)
  wave = rng.integers(-100, 100, 32).astype(np.int16)
  expected = np.where(np.arange(32) < 8, 0, wave)
  np.testing.assert_array_equal(batch.unpatch_audio(wave.reshape(4, 8)[1:], np.arange(1, 4), heard), expected)


def test_the_page_of_a_batch(miniature, tmp_path):
  config = smoke_config(data__directory=miniature)
  batch.write(config, [0, 1], 0, str(tmp_path / "batch.html"))
  page = (tmp_path / "batch.html").read_text()
  assert "Record 1" in page and "data:image/jpeg" in page and "data:audio/wav" in page
  assert "video/patches: uint8" in page
  batch.write(config, [0, 1], 1, str(tmp_path / "again.html"))
  assert (tmp_path / "again.html").read_text() != page  # Another visit, other crops.


def test_the_page_of_a_config_that_leaves_its_patches_to_what_it_starts_from(miniature, tmp_path):
  config = kinetics400.get_config("smoke")
  config.data.directory = miniature
  batch.write(config, [0], 0, str(tmp_path / "batch.html"))
  assert "data:image/jpeg" in (tmp_path / "batch.html").read_text()


def test_a_checkpoint(smoke_run):
  said = checkpoint.describe(smoke_run)
  assert "objective vatt" in said and "params/video/patch_projection/kernel" in said
  assert "trained parameters" in said and "model.agnostic = True" in said


@pytest.mark.parametrize("arguments, sentence", [
    ([], "one of record, batch, checkpoint must be named"),
    (["record"], "inspect record needs --data"),
    (["batch"], "inspect batch needs --config"),
    (["checkpoint"], "inspect checkpoint needs --checkpoint"),
    (["record", "--data=x", "--records=one"], "--records=one must be numbers"),
    (["record", "--data=x", "--records="], "--records= must be numbers"),
    (["checkpoint", "--checkpoint=/nowhere"], "there is no checkpoint in '/nowhere'"),
])  # fmt: skip
def test_user_errors_are_sentences(arguments, sentence, monkeypatch):
  values = flags.FlagValues()
  monkeypatch.setattr(program.flags, "FLAGS", values)
  program.define_flags(values)
  with pytest.raises(errors.UserError, match=sentence):
    program.main(values(["inspect", *arguments]))
