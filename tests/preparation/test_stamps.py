"""The demo set's other forms, from stamps made here: one picture, the same picture as a clip, and with its sound effect."""

import wave

import numpy as np
from PIL import Image
import pytest

from vatt_jax.preparation import stamps


@pytest.mark.parametrize("kind, frames", [("pictures", 1), ("clips", 20)])
def test_a_stamp_in_english_alone(kind, frames, tmp_path, monkeypatch):
  folder = tmp_path / "animals"
  folder.mkdir()
  for name in ("cat", "nameless"):
    Image.fromarray(np.full((20, 30, 4), 200, np.uint8)).save(folder / f"{name}.png")
  (folder / "cat.txt").write_text("A cat.\nfr.utf8=Un chat.\n")
  monkeypatch.setattr(stamps, "fetch", lambda: tmp_path)
  (stamp,) = stamps.silent_units(kind, short_side=32, frames_per_second=10)
  (clip,) = stamp.decode().clips
  assert len(clip.frames) == len(clip.timestamps) == frames and not len(clip.samples)
  assert [caption.text for caption in clip.captions] == ["A cat."] and clip.language == "en" and clip.label == "animals"
  assert clip.split == stamps.split_of("A cat.")


def write_sound(path, seconds, rate=8_000):
  """A tone between two seconds of silence."""
  tone = 3000 * np.sin(np.arange(round(seconds * rate)) / 5)
  samples = np.concatenate([np.zeros(rate), tone, np.zeros(rate)]).astype(np.int16)
  with wave.open(str(path), "wb") as file:
    file.setparams((1, 2, rate, len(samples), "NONE", ""))
    file.writeframes(samples.tobytes())


def test_sound_effects_are_cut_at_one_loudness_and_letters_are_none(tmp_path, monkeypatch):
  for name, seconds in {"animals/cow": 2, "animals/whale": 11, "animals/cat": 0, "symbols/a": 1}.items():
    picture = tmp_path / f"{name}.png"
    picture.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((20, 30, 4), 200, np.uint8)).save(picture)
    picture.with_suffix(".txt").write_text(f"{picture.stem.title()}.\nfr.utf8=Autre.\n")
    if seconds:
      write_sound(picture.with_suffix(".wav"), seconds)
  write_sound(tmp_path / "animals/cat_desc.wav", 1)  # Its name, spoken.
  monkeypatch.setattr(stamps, "fetch", lambda: tmp_path)
  found = stamps.effects(short_side=32, frames_per_second=10, sample_rate_hz=8_000)
  assert [stamp.name for stamp in found] == ["animals/cow", "animals/whale"]
  clips = [clip for stamp in found for clip in stamp.decode().clips]
  for clip, seconds in zip(clips, (2.1, 8.0), strict=True):
    assert len(clip.samples) / 8_000 == pytest.approx(seconds, abs=0.01) and len(clip.frames) == round(10 * seconds)
    loud = np.sqrt(np.mean((clip.samples / 32768) ** 2))
    assert loud == pytest.approx(stamps.LOUDNESS, rel=0.01) and clip.language == "en"
  assert [clip.captions[0].text for clip in clips] == ["Cow.", "Whale."]
  assert clips[0].split == stamps.split_of("Cow.") and clips[0].source.endswith("animals/cow.wav")
  assert found[0].identity() != found[1].identity()
