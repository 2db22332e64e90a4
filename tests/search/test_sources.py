"""From the arguments of a command line to windows of media."""

import numpy as np

from vatt_jax.preparation.units import Options
from vatt_jax.search import sources
from vatt_jax.search.sources import Source

OPTIONS = Options(clip_seconds=1.0, frames_per_second=10, short_side=32, sample_rate_hz=8_000)
EVERYTHING = ("video", "audio", "text")


def test_folders_files_and_sentences(media, tmp_path):
  (tmp_path / "lines.txt").write_text("a dog barks\n\na cat\n")
  (tmp_path / "none.txt").write_text("\n")
  paths = [str(media), str(media / "red.png"), str(tmp_path / "lines.txt"), str(tmp_path / "none.txt"), "nowhere.mp4"]
  found, problems = sources.find(paths, ["a bird", " "])
  assert [each.name.rsplit("/")[-1] for each in found] == [
    "a bird", "beeps.wav", "empty.mp4", "liar.mp4", "red.png", "talk.mp4", "a dog barks", "a cat",
  ]  # fmt: skip
  assert [each.is_text for each in found] == [True, *[False] * 5, True, True]
  assert [(each.file.rsplit("/")[-1], each.reason) for each in problems] == [
    ("none.txt", "it holds no sentence"),
    ("nowhere.mp4", "it does not exist"),
  ]


def test_windows_have_times_and_what_is_in_them(media):
  windows = sources.read(Source(str(media / "talk.mp4")), OPTIONS, EVERYTHING).windows
  assert [(round(w.start, 2), round(w.end, 2)) for w in windows[:3]] == [(0, 1), (1, 2), (2, 3)]
  assert windows[0].modalities == ("video", "audio")
  assert len(windows[0].features["video/frames"]) == 10
  assert len(np.frombuffer(windows[0].features["audio/samples"][0], "<i2")) == 8_000
  silent = sources.read(Source(str(media / "talk.mp4")), OPTIONS, ("video",)).windows[0]
  assert silent.modalities == ("video",)
  (picture,) = sources.read(Source(str(media / "red.png")), OPTIONS, EVERYTHING).windows
  assert (picture.start, picture.end, picture.modalities) == (0, 0, ("video",))
  (sentence,) = sources.read(Source("a dog barks", is_text=True), OPTIONS, EVERYTHING).windows
  assert sentence.modalities == ("text",)


def test_what_cannot_be_read_says_why(media):
  read = lambda name, wanted=EVERYTHING: sources.read(Source(str(media / name)), OPTIONS, wanted).rejected
  assert read("empty.mp4") == "it is empty (0 bytes)"
  assert "not a media file" in read("liar.mp4")
  assert read("beeps.wav", ("video", "text")) == "it has no picture"
  assert "reads no text" in sources.read(Source("a dog", is_text=True), OPTIONS, ("video",)).rejected
