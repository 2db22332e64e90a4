"""One folder with all that people put into folders, prepared once; each test looks at one thing."""

import json

from etils import epath
import make_media
import numpy as np
import pytest

from vatt_jax.preparation import dataset, folder, summary
from vatt_jax.preparation.digests import Digests
from vatt_jax.preparation.units import Options

OPTIONS = Options(clip_seconds=2, frames_per_second=5, short_side=24, sample_rate_hz=8_000)
SUBTITLES = "".join(
  f"{i}\n00:00:0{i},000 --> 00:00:0{i},800\n{text}\n\n"
  for i, text in enumerate(["zero", "one", "two", "three", "four", "five", "six"])
)


def fill(root):
  media = make_media.write(root / "plain.mp4", seconds=5).read_bytes()

  def put(name, content=media):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content.encode() if isinstance(content, str) else content)

  put("talk/subtitled.mp4", make_media.write(root / "x.mp4", seconds=7).read_bytes())
  (root / "x.mp4").unlink()
  put("talk/subtitled.en.srt", SUBTITLES)
  put("talk/lines.mp4")
  put("talk/lines.txt", "A picture gets brighter.\n\nIt beeps.\n")
  put("talk/one.mp4")
  put("talk/one.json", json.dumps({"caption": "A beep.", "label": "beep", "language": "en", "start": 1, "end": 2.5}))
  put("talk/several.mp4")
  several = [{"start": 0, "end": 1, "captions": ["a", "b"]}, {"start": "0:03", "end": "0:04"}]
  put("talk/several.json", json.dumps(several))
  put("talk/about.mp4")
  put("talk/about.json", json.dumps({"label": "about", "language": "de"}))
  put("talk/about.srt", "1\n00:00:01,000 --> 00:00:02,000\nhallo\n")
  put("talk/bad_json.mp4")
  put("talk/bad_json.json", "{caption: no quotes}")
  put("talk/late.mp4")
  put("talk/late.srt", SUBTITLES)  # The file has 5 seconds: five, six lie behind its end.
  put("talk/orphan.srt", SUBTITLES)
  put("dogs/bark 1.mp4")
  put("dogs/große Hündin – 犬.mp4")
  put("test/cats/meow.mp4")
  put("Validation/cats/purr.mp4")
  put("train/one more.mp4")
  make_media.write(root / "silent_picture.mp4", audio=None)
  make_media.write(root / "silent_picture.wav", video=None, audio="pcm_s16le", sample_rate_hz=44_100)
  put("two_sounds.mp4")
  make_media.write(root / "two_sounds.wav", video=None, audio="pcm_s16le")
  make_media.write(root / "song.flac", video=None, audio="flac", seconds=3.2)
  make_media.write(root / "short.mp4", seconds=0.4)
  put("empty.mp4", b"")
  put("text.mp4", "not a film\n" * 100)
  put("cut.mp4", media[: len(media) // 2])
  put("notes.md", "not media, not captions")
  put(".hidden.mp4")
  put("pictures/photo.jpg", b"\xff\xd8\xff")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, records):
  """(records by source, preparation.json, the output)."""
  root, output = tmp_path_factory.mktemp("videos"), tmp_path_factory.mktemp("prepared")
  fill(root)
  units, problems = folder.units(root, OPTIONS, Digests())
  outcome = dataset.prepare(
    units, output, source=str(root), options={"short_side": 24}, problems=problems, progress=False, workers=2
  )
  by_source = {}
  for split, found in records(output).items():
    for record in sorted(found, key=lambda record: float(record["clip"]["start"])):
      by_source.setdefault(record["source"].decode(), []).append(record | {"split": split})
  return by_source, outcome.preparation, output


def texts(record):
  return [text.decode() for text in record["captions"]["text"]]


def reasons(preparation, kind, file):
  return [problem["reason"] for problem in preparation[kind] if problem["file"] == file]


def test_windows_of_a_file_without_captions(prepared):
  """5 seconds in windows of 2: a tail of 1 is half, and stays."""
  by_source, _, _ = prepared
  clips = by_source["plain.mp4"]
  assert [float(clip["clip"]["start"]) for clip in clips] == [0, 2, 4]
  assert [len(clip["video"]["frames"]) for clip in clips] == [10, 10, 5]
  np.testing.assert_allclose(clips[1]["video"]["timestamps"], np.arange(10) / 5, atol=1e-6)
  assert clips[0]["audio"]["samples"].dtype == np.int16 and clips[0]["audio"]["samples"].shape == (16_000,)
  assert clips[0]["audio"]["sample_rate_hz"] == 8_000 and clips[0]["audio"]["start_seconds"] == 0
  assert clips[0]["video"]["frames"][0].startswith(b"\xff\xd8")
  assert texts(clips[0]) == [] and clips[0]["label"] == b""
  assert [len(by_source[name]) for name in ("song.flac", "short.mp4")] == [2, 1]


def test_a_subtitle_is_a_clip_and_its_neighbours_come_along(prepared):
  clips = prepared[0]["talk/subtitled.mp4"]
  assert [texts(clip)[0] for clip in clips] == ["zero", "one", "two", "three", "four", "five", "six"]
  three = clips[3]
  assert (float(three["clip"]["start"]), len(three["video"]["frames"]), three["language"]) == (3.0, 4, b"en")
  assert set(texts(three)[1:]) == {"one", "two", "four", "five"}
  when = dict(zip(texts(three), zip(three["captions"]["start"], three["captions"]["end"])))
  np.testing.assert_allclose(when["three"], (0, 0.8), atol=1e-6)
  np.testing.assert_allclose(when["one"], (-2, -1.2), atol=1e-6)
  np.testing.assert_allclose(when["five"], (2, 2.8), atol=1e-6)


def test_lines_are_captions_of_every_window(prepared):
  clips = prepared[0]["talk/lines.mp4"]
  assert [texts(clip) for clip in clips] == [["A picture gets brighter.", "It beeps."]] * 3
  assert clips[2]["captions"]["end"] == pytest.approx([1, 1], abs=0.1)


def test_json_describes_one_clip_or_several_or_the_file(prepared):
  by_source, preparation, _ = prepared
  (one,) = by_source["talk/one.mp4"]
  assert (texts(one), one["label"], one["language"], len(one["video"]["frames"])) == (["A beep."], b"beep", b"en", 8)
  first, second = by_source["talk/several.mp4"]
  assert (texts(first), texts(second), float(second["clip"]["start"])) == (["a", "b"], [], 3.0)
  (about,) = by_source["talk/about.mp4"]
  assert (texts(about), about["label"], about["language"]) == (["hallo"], b"about", b"de")
  assert len(by_source["talk/bad_json.mp4"]) == 3
  assert "cannot be read" in reasons(preparation, "warnings", "talk/bad_json.json")[0]


def test_subtitles_behind_the_end_and_without_a_film_are_named(prepared):
  by_source, preparation, _ = prepared
  assert len(by_source["talk/late.mp4"]) == 5
  (late,) = reasons(preparation, "warnings", "talk/late.mp4")
  assert "2 of 7 clips lie where it has neither picture nor sound" in late
  assert reasons(preparation, "warnings", "talk/orphan.srt") == ["there is no media file of this name"]


def test_class_folders_and_split_folders(prepared):
  by_source, _, _ = prepared
  assert by_source["dogs/bark 1.mp4"][0]["label"] == b"dogs"
  names = ("test/cats/meow.mp4", "Validation/cats/purr.mp4", "train/one more.mp4")
  meow, purr, more = (by_source[name][0] for name in names)
  assert (meow["split"], meow["label"]) == ("test", b"cats")
  assert (purr["split"], purr["label"]) == ("validation", b"cats")
  assert (more["split"], more["label"]) == ("train", b"")


def test_names_with_spaces_and_other_letters(prepared):
  assert "dogs/große Hündin – 犬.mp4" in prepared[0]


def test_a_sound_file_beside_a_silent_video_is_its_sound(prepared):
  by_source, preparation, _ = prepared
  clips = by_source["silent_picture.mp4"]
  assert "silent_picture.wav" not in by_source
  assert len(clips[0]["video"]["frames"]) == 10 and clips[0]["audio"]["samples"].shape == (16_000,)
  assert "not used" in reasons(preparation, "warnings", "two_sounds.mp4")[0]
  assert len(by_source["song.flac"][0]["video"]["frames"]) == 0


def test_what_cannot_be_used_is_listed_and_nothing_else(prepared):
  by_source, preparation, _ = prepared
  assert {problem["file"] for problem in preparation["rejected"]} == {"empty.mp4", "text.mp4", "cut.mp4"}
  assert reasons(preparation, "rejected", "empty.mp4") == ["it is empty (0 bytes)"]
  assert not {".hidden.mp4", "notes.md", "pictures/photo.jpg"} & set(by_source)


def test_numbers_and_table(prepared):
  by_source, preparation, output = prepared
  assert preparation["accepted"] == sum(map(len, by_source.values())) == sum(preparation["splits"].values())
  assert set(preparation["splits"]) == {"train", "validation", "test"}
  table = summary.table(preparation, epath.Path(output))
  assert "rejected: 3" in table and "empty.mp4: it is empty (0 bytes)" in table
  assert (output / "tokenizer" / "sentencepiece.model").exists()


def test_training_captions_are_not_said_elsewhere(prepared):
  said = {split: set() for split in ("train", "validation", "test")}
  for clips in prepared[0].values():
    for clip in clips:
      said[clip["split"]].update(text.lower() for text in texts(clip))
  assert not said["train"] & (said["validation"] | said["test"])


def test_the_output_may_lie_in_the_source_and_links_may_make_circles(tmp_path):
  for name in ("a", "out"):
    (tmp_path / name).mkdir()
  make_media.write(tmp_path / "a/x.mp4")
  (tmp_path / "a/circle").symlink_to(tmp_path)
  make_media.write(tmp_path / "out/y.mp4")
  units, _ = folder.units(tmp_path, OPTIONS, Digests(), skip=tmp_path / "out")
  assert [unit.name for unit in units] == ["a/x.mp4"]


def test_a_name_that_is_not_utf8(tmp_path, records):
  name = make_media.write(tmp_path / "a.mp4").rename(tmp_path / "caf\udce9.mp4")
  assert name.exists()
  units, problems = folder.units(tmp_path, OPTIONS, Digests())
  outcome = dataset.prepare(units, tmp_path / "out", source="x", options={}, problems=problems, progress=False)
  assert outcome.preparation["accepted"] == 2
  assert records(tmp_path / "out")["train"][0]["source"] == rb"caf\xe9.mp4"
