import json

import make_media
import pytest

from vatt_jax.errors import UserError
from vatt_jax.preparation import dataset, manifest
from vatt_jax.preparation.digests import Digests
from vatt_jax.preparation.units import Options

OPTIONS = Options(clip_seconds=2, frames_per_second=5, short_side=24, sample_rate_hz=8_000)


@pytest.fixture(scope="module")
def media(tmp_path_factory):
  """A folder with films/a b.mp4 (5 s), films/c.mp4 (5 s), sounds/s.wav (3 s)."""
  root = tmp_path_factory.mktemp("media")
  (root / "films").mkdir()
  (root / "sounds").mkdir()
  make_media.write(root / "films" / "a b.mp4", seconds=5)
  make_media.write(root / "films" / "c.mp4", seconds=5, audio=None)
  make_media.write(root / "sounds" / "s.wav", seconds=3, video=None, audio="pcm_s16le")
  return root


def units(media, name, text):
  (media / name).write_text(text, encoding="utf-8")
  return manifest.units(media / name, OPTIONS, Digests())


def test_csv(media, tmp_path, records):
  found, problems = units(
    media,
    "clips.csv",
    "\ufeffVideo,audio,start,end,caption,label,language,split,mood\n"
    'films/a b.mp4,,0,1,"Ein Satz, mit Komma",x,de,train,sad\n'
    "./films/a b.mp4,,0,1,Noch einer,x,de,train,\n"  # The same clip: a second caption.
    "films/a b.mp4,,0:02,0:03.5,later,,,test,\n"
    "films/c.mp4,sounds/s.wav,,,windows,,,val,\n"
    ",sounds/s.wav,1,2,sound alone,,,,\n"
    "films/gone.mp4,,0,1,missing,,,,\n"
    "films/gone.mp4,,1,2,missing,,,,\n"
    "films/c.mp4,,3,2,backwards,,,,\n"
    "films/c.mp4,,soon,2,no time,,,,\n"
    "films/c.mp4,,0,1,what split,,,exam,\n"
    ",,0,1,no file,,,,\n"
    "films/c.mp4,,0,1,a comma, not quoted,,,,\n",
  )
  reasons = {problem.file: problem.reason for problem in problems.rejected}
  assert reasons == {
    "films/gone.mp4": "there is no such file (clips.csv:7)",
    "clips.csv:9": "end 2 is not after start 3",
    "clips.csv:10": "start 'soon' is not a time (seconds or H:MM:SS)",
    "clips.csv:11": "split 'exam' is not train, validation or test",
    "clips.csv:12": "it names neither a video nor an audio file",
    "clips.csv:13": "it has more fields than the header (is a comma in a caption not inside quotes?)",
  }
  assert [problem.reason for problem in problems.warnings] == ["the column 'mood' is not known and not used"]

  outcome = dataset.prepare(found, tmp_path, source="m", options={}, problems=problems, progress=False)
  assert outcome.preparation["splits"] == {"train": 2, "validation": 3, "test": 1}
  read = records(tmp_path)
  (later,) = read["test"]
  assert (float(later["clip"]["start"]), len(later["video"]["frames"])) == (2.0, 8)
  two, sound = sorted(read["train"], key=lambda record: record["source"])
  assert two["captions"]["text"] == [b"Ein Satz, mit Komma", b"Noch einer"]
  assert (two["label"], two["language"]) == (b"x", b"de")
  assert (len(sound["video"]["frames"]), sound["audio"]["samples"].shape) == (0, (8_000,))
  windows = sorted(read["validation"], key=lambda record: record["clip"]["start"])
  assert [float(record["clip"]["start"]) for record in windows] == [0, 2, 4]
  assert [len(record["audio"]["samples"]) for record in windows] == [16_000, 8_000, 0]  # The sound has 3 seconds.


def test_the_sound_of_a_row_replaces_the_sound_of_its_video(media, tmp_path, records):
  found, _ = units(media, "dub.csv", "video,audio,start,end\nfilms/a b.mp4,sounds/s.wav,3.5,4.5\n")
  dataset.prepare(found, tmp_path, source="m", options={}, progress=False)
  (record,) = records(tmp_path)["train"]
  assert len(record["video"]["frames"]) == 5 and len(record["audio"]["samples"]) == 0


def test_captions_by_kind(media, tmp_path, records):
  found, problems = units(
    media,
    "kinds.jsonl",
    '{"video": "films/a b.mp4", "start": 0, "end": 1, "caption": "all of it", "caption_sound": ["beeps", "more beeps"]}\n'
    '{"video": "films/a b.mp4", "start": 0, "end": 1, "caption_picture": "a bar"}\n'
    '{"video": "films/c.mp4", "start": 0, "end": 1, "caption": "no kind", "caption_": "unknown"}\n',
  )
  assert [problem.reason for problem in problems.warnings] == ["the column 'caption_' is not known and not used"]
  dataset.prepare(found, tmp_path, source="m", options={}, problems=problems, progress=False)
  rows = [row for split in records(tmp_path).values() for row in split]
  said = sorted(list(zip(row["captions"]["kind"], row["captions"]["text"])) for row in rows)
  assert said == [
    [(b"", b"all of it"), (b"sound", b"beeps"), (b"sound", b"more beeps"), (b"picture", b"a bar")],
    [(b"", b"no kind")],
  ]


def test_json_lines(media):
  rows = [
    {"video": "films/c.mp4", "caption": "a", "start": 0, "end": 2},
    {"video": "films/c.mp4", "captions": ["b", "c"], "start": 2.0, "end": 4},
    {"audio": "sounds/s.wav", "caption": None, "label": 3, "licence": "CC0"},
    {"video": "https://example.org/a.mp4"},
  ]
  text = "\n".join([*map(json.dumps, rows), "", "{broken", "[1]"])
  found, problems = units(media, "clips.jsonl", text)
  assert [unit.name for unit in found] == ["films/c.mp4", "sounds/s.wav"]
  assert [request.captions for request in found[0].requests] == [("a",), ("b", "c")]
  assert (found[1].requests[0].label, found[1].requests[0].licence) == ("3", "CC0")
  files = [problem.file for problem in problems.rejected]
  assert files == ["https://example.org/a.mp4", "clips.jsonl:6", "clips.jsonl:7"]
  assert "download it first" in problems.rejected[0].reason


@pytest.mark.parametrize("label, names", [
    ("dog| barking dog |", "dog|barking dog"), (["dog", "a\u2028cat", "dog"], "dog|a cat"), ("|", ""), (["dog|cat"], "dog|cat"),
    (0, "0"), ("Male speech, man speaking", "Male speech, man speaking"),
])  # fmt: skip
def test_several_labels(media, label, names):
  (unit,), problems = units(media, "a.jsonl", json.dumps({"video": "films/c.mp4", "label": label}))
  assert unit.requests[0].label == names and not problems.rejected


@pytest.mark.parametrize("name, delimiter", [("a.tsv", "\t"), ("a.csv", ";")])
def test_other_delimiters(media, name, delimiter):
  (unit,), _ = units(media, name, "video|caption\nfilms/c.mp4|a, b\n".replace("|", delimiter))
  assert unit.requests[0].captions == ("a, b",)


def test_a_table_without_media_is_the_users_error(media):
  with pytest.raises(UserError, match="neither a column `video` nor `audio`; its columns are path, caption"):
    units(media, "wrong.csv", "path,caption\nfilms/c.mp4,a\n")
