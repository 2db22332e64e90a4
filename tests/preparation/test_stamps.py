"""The demo set without voices: one picture, and the same picture as a clip, from a stamp made here."""

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
