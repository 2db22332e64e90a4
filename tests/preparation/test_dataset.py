"""What `prepare` promises about interruptions, repetitions and other people's folders, shown with made-up units."""

import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
import time

from array_record.python.array_record_module import ArrayRecordReader
import numpy as np
import pytest

from vatt_jax.data import records as reader
from vatt_jax.errors import UserError
from vatt_jax.preparation import dataset, pool
from vatt_jax.preparation.cache import Cache
from vatt_jax.preparation.clips import Caption, Clip, Question
from vatt_jax.preparation.digests import Digests
from vatt_jax.preparation.units import Decoded, Problem


@dataclasses.dataclass
class Counted:
  """A unit of one clip that leaves a line in `log` whenever it is decoded, and behaves as `mood` says."""

  name: str
  log: str
  text: str = ""
  mood: str = "good"

  def identity(self):
    return hashlib.sha256(repr((self.name, self.text)).encode()).hexdigest()

  def decode(self):
    with open(self.log, "a") as log:
      log.write(self.name + "\n")
    if self.mood == "crash":
      os.abort()
    if self.mood == "hang":
      time.sleep(1000)
    for _ in range(20 if self.mood == "slow" else 0):
      time.sleep(0.2)
      pool.moving()
    if self.mood == "bug":
      raise KeyError("oops")
    if self.mood == "reject":
      return Decoded(rejected=[Problem(self.name, "it is bad")])
    if self.mood == "interrupt":
      raise KeyboardInterrupt
    random = np.random.default_rng(len(self.name))
    labelled = self.mood == "labelled"
    return Decoded(
      [
        Clip(
          key=self.name,
          frames=(b"\xff\xd8" + random.bytes(99),) * 3,
          timestamps=(0.0, 0.1, 0.2),
          samples=random.integers(-99, 99, 800).astype(np.int16),
          sample_rate_hz=8_000,
          audio_start_seconds=0.25,
          captions=(Caption(self.text or f"this is {self.name}", 0.0, 0.3),),
          questions=(Question("what is it?", self.name),) if labelled else (),
          label=f"{self.name}|film" if labelled else "",
          source=self.name,
          start=1.5,
        )
      ]
    )


@pytest.fixture
def log(tmp_path):
  path = tmp_path / "log"
  path.touch()
  return path


def many(log, count=20, **kwargs):
  return [Counted(f"film {i}", str(log), **kwargs) for i in range(count)]


def prepare(units, output, *, workers=0, source="here", file_timeout_seconds=3600.0, **options):
  return dataset.prepare(
    units,
    output,
    source=source,
    options=options,
    workers=workers,
    file_timeout_seconds=file_timeout_seconds,
    progress=False,
  )


def decoded(log):
  return sorted(log.read_text().splitlines())


def test_records_are_those_of_the_contract(tmp_path, log, records):
  prepare(many(log, 1), tmp_path / "out")
  (record,) = records(tmp_path / "out")["train"]
  clip = many(log, 1)[0].decode().clips[0]
  assert record["video"]["frames"] == list(clip.frames)
  np.testing.assert_allclose(record["video"]["timestamps"], [0.0, 0.1, 0.2], atol=1e-7)
  np.testing.assert_array_equal(record["audio"]["samples"], clip.samples)
  assert record["audio"]["start_seconds"] == 0.25 and record["audio"]["sample_rate_hz"] == 8_000
  assert record["captions"]["text"] == [b"this is film 0"]
  assert (record["source"], record["clip"]["start"]) == (b"film 0", 1.5)
  assert record["label"] == record["language"] == record["licence"] == b""


def test_the_same_units_give_the_same_bytes(tmp_path, log, record_files, preparation):
  prepare(many(log), tmp_path / "a", workers=0)
  prepare(list(reversed(many(log))), tmp_path / "b", workers=2)
  assert record_files(tmp_path / "a") == record_files(tmp_path / "b")
  assert preparation(tmp_path / "a") == preparation(tmp_path / "b")
  for name in ("sentencepiece.model", "sentencepiece.vocab"):
    assert (tmp_path / "a/tokenizer" / name).read_bytes() == (tmp_path / "b/tokenizer" / name).read_bytes()


def test_nothing_is_done_twice(tmp_path, log, record_files):
  assert not prepare(many(log), tmp_path / "out").unchanged
  written = lambda: {path: path.stat().st_mtime_ns for path in (tmp_path / "out/clips").rglob("*")}
  before = written()
  assert prepare(many(log), tmp_path / "out").unchanged
  assert decoded(log) == sorted(unit.name for unit in many(log))
  assert written() == before


def test_new_and_changed_units_are_decoded_and_the_rest_is_not(tmp_path, log, record_files):
  prepare(many(log, 12), tmp_path / "out")
  log.write_text("")
  changed = [*many(log, 11), Counted("film 11", str(log), text="other"), Counted("new", str(log))]
  assert not prepare(changed, tmp_path / "out").unchanged
  assert decoded(log) == ["film 11", "new"]
  prepare(changed, tmp_path / "fresh")
  assert record_files(tmp_path / "out") == record_files(tmp_path / "fresh")


def test_interrupted_it_goes_on(tmp_path, log, record_files):
  units = many(log)
  units[13].mood = "interrupt"
  with pytest.raises(KeyboardInterrupt):
    prepare(units, tmp_path / "out")
  done = set(decoded(log)) - {units[13].name}
  assert 0 < len(done) < 20
  log.write_text("")
  prepare(many(log), tmp_path / "out")
  assert set(decoded(log)) == {unit.name for unit in units} - done
  prepare(many(log), tmp_path / "fresh")
  assert record_files(tmp_path / "out") == record_files(tmp_path / "fresh")


@pytest.mark.parametrize("moves", range(10))
def test_killed_while_the_new_data_set_moves_into_place(tmp_path, log, moves, monkeypatch, record_files, preparation):
  """Every rename may be the last thing that happens: the next run finishes the move."""
  units = functools.partial(many, log, mood="labelled")
  prepare(units(), tmp_path / "out")
  rename, done = type(dataset.epath.Path(tmp_path)).rename, []

  def rename_until_killed(path, target):
    if path.name in dataset.PUBLISHED:
      if len(done) == moves:
        raise KeyboardInterrupt
      done.append(target)
    return rename(path, target)

  monkeypatch.setattr(type(dataset.epath.Path(tmp_path)), "rename", rename_until_killed)
  with pytest.raises(KeyboardInterrupt):
    prepare(units(25), tmp_path / "out")
  monkeypatch.undo()
  prepare(units(25), tmp_path / "out")
  prepare(units(25), tmp_path / "fresh")
  assert record_files(tmp_path / "out") == record_files(tmp_path / "fresh")
  assert preparation(tmp_path / "out") == preparation(tmp_path / "fresh")
  assert {path.name for path in (tmp_path / "out").iterdir()} == {".work", *dataset.PUBLISHED}


def test_few_files_all_train_and_that_is_said(tmp_path, log):
  found = prepare(many(log, 3), tmp_path / "out").preparation
  assert found["splits"] == {"train": 3, "validation": 0, "test": 0}
  (warning,) = found["warnings"]
  assert "no clip is for validation or test: of fewer than 10 files all train" in warning["reason"]


@pytest.mark.slow  # A decoder that hangs costs its workers, too.
def test_a_crash_costs_the_unit_that_crashed(tmp_path, log):
  units = many(log, 6)
  units[2].mood, units[3].mood, units[4].mood = "crash", "bug", "reject"
  found = prepare(units, tmp_path / "out", workers=2).preparation
  assert found["accepted"] == 3
  assert {problem["file"]: problem["reason"] for problem in found["rejected"]} == {
    "film 2": "the decoder crashed on it",
    "film 3": "unexpected KeyError: 'oops' (please report this)",
    "film 4": "it is bad",
  }


def test_a_decoder_that_hangs_costs_the_unit_it_hangs_on(tmp_path, log):
  """One that takes longer than the limit but gets on is waited for."""
  units = many(log, 4)
  units[0].mood, units[1].mood = "slow", "hang"
  found = prepare(units, tmp_path / "out", workers=2, file_timeout_seconds=3.0).preparation
  assert found["accepted"] == 3
  assert found["rejected"] == [{"file": "film 1", "reason": "the decoder hung on it (3 s without progress)"}]


def test_compressed_records_read_the_same(tmp_path, log, monkeypatch):
  """Data sets were once written as TFDS writes them by itself, compressed."""
  prepare(many(log), tmp_path / "plain")
  monkeypatch.setattr("vatt_jax.preparation.records._uncompressed", contextlib.nullcontext)
  prepare(many(log), tmp_path / "compressed")
  for split in ("train", "validation", "test"):
    plain, compressed = (reader.Records(str(tmp_path / name), split) for name in ("plain", "compressed"))
    assert len(plain) and list(compressed) == list(plain)
  options = [
    ArrayRecordReader(str(next((tmp_path / name / "clips/1.0.0").glob("*train*")))).writer_options_string()
    for name in ("plain", "compressed")
  ]
  assert "uncompressed" in options[0] and "uncompressed" not in options[1]


def test_other_options_are_refused_and_shown(tmp_path, log):
  prepare(many(log), tmp_path / "out", short_side=128)
  with pytest.raises(UserError, match="short_side=128 instead of 256"):
    prepare(many(log), tmp_path / "out", short_side=256)
  with pytest.raises(UserError, match="source=here instead of there"):
    prepare(many(log), tmp_path / "out", short_side=128, source="there")


def test_options_are_refused_from_the_first_moment(tmp_path, log):
  units = many(log)
  units[5].mood = "interrupt"
  with pytest.raises(KeyboardInterrupt):
    prepare(units, tmp_path / "out", short_side=128)
  with pytest.raises(UserError, match="short_side"):
    prepare(many(log), tmp_path / "out", short_side=256)


def test_a_folder_of_something_else_is_left_alone(tmp_path, log):
  (tmp_path / "out/clips").mkdir(parents=True)
  (tmp_path / "out/clips/holiday.txt").write_text("mine")
  with pytest.raises(UserError, match="holds clips of something else"):
    prepare(many(log), tmp_path / "out")
  assert (tmp_path / "out/clips/holiday.txt").read_text() == "mine"


def test_two_at_a_time_are_refused(tmp_path, log):
  class Nested(Counted):
    def decode(self):
      with pytest.raises(UserError, match="Another process"):
        prepare(many(log), tmp_path / "out")
      return super().decode()

  assert prepare([Nested("a", str(log))], tmp_path / "out").preparation["accepted"] == 1


def test_nothing_usable_is_the_users_error_and_spoils_nothing(tmp_path, log):
  with pytest.raises(UserError, match="film 0: it is bad; film 1: it is bad"):
    prepare(many(log, 2, mood="reject"), tmp_path / "out", short_side=1)
  prepare(many(log, 2, text="x"), tmp_path / "out", short_side=2)
  with pytest.raises(UserError, match="holds no media"):
    prepare([], tmp_path / "none")


def test_a_deleted_cache_costs_time_only(tmp_path, log):
  prepare(many(log), tmp_path / "out")
  for path in (tmp_path / "out/.work/units").rglob("*"):
    path.unlink() if path.is_file() else None
  log.write_text("")
  assert prepare(many(log), tmp_path / "out").unchanged
  assert decoded(log) == []


def test_without_captions_there_is_no_vocabulary(tmp_path, log):
  @dataclasses.dataclass
  class Mute(Counted):
    def decode(self):
      decoded = super().decode()
      return Decoded([dataclasses.replace(clip, captions=()) for clip in decoded.clips])

  prepare(many(log), tmp_path / "out")
  assert (tmp_path / "out/tokenizer/sentencepiece.model").exists()
  found = prepare([Mute("mute", str(log))], tmp_path / "out").preparation
  assert found["vocabulary_pieces"] == 0
  assert any("no vocabulary" in warning["reason"] for warning in found["warnings"])
  assert not (tmp_path / "out/tokenizer").exists()


def test_labels_answers_and_questions(tmp_path, log, records, preparation):
  """Classes are those of training, sorted; several labels are joined by "|"; the most frequent answer comes first."""
  found = prepare(many(log, mood="labelled"), tmp_path / "out").preparation
  training = sorted(unit.name for unit in many(log) if f"{unit.name}|film".encode() in labels_of(records, tmp_path))
  assert reader.labels(str(tmp_path / "out")) == sorted([*training, "film"])
  assert reader.answers(str(tmp_path / "out")) == training
  assert (found["labels"], found["answers"]) == (len(training) + 1, len(training))
  assert any("labels are not in the training split: film " in w["reason"] for w in found["warnings"])
  record = reader.decode(reader.Records(str(tmp_path / "out"), "train")[0])
  assert record["questions/text"] == [b"what is it?"] and record["questions/answer"][0].startswith(b"film")
  found = dataset.prepare(
    many(log, mood="labelled"), tmp_path / "official", source="here", options={}, labels=["film", "z"], progress=False
  ).preparation
  assert reader.labels(str(tmp_path / "official")) == ["film", "z"]
  assert any("20 labels are not in the official list: film 0" in w["reason"] for w in found["warnings"])


def labels_of(records, tmp_path):
  return {record["label"] for record in records(tmp_path / "out")["train"]}


def test_without_labels_there_are_no_lists(tmp_path, log):
  prepare(many(log, 3), tmp_path / "out")
  assert reader.labels(str(tmp_path / "out")) == reader.answers(str(tmp_path / "out")) == []


def test_a_benchmark_keeps_the_captions_that_training_has_too(tmp_path, log):
  units = [Counted(f"film {i}", str(log), text="the same") for i in range(20)]
  assert prepare(units, tmp_path / "a").preparation["contents"]["test"]["captions"] == 0
  kept = dataset.prepare(
    units, tmp_path / "b", source="x", options={}, official_splits=True, progress=False
  ).preparation
  assert kept["contents"]["test"]["captions"] == kept["splits"]["test"] > 0


def test_a_disk_that_is_too_small_is_said_first(tmp_path, log, monkeypatch):
  @dataclasses.dataclass
  class Large(Counted):
    def expected_bytes(self):
      return 1e18

  units = [Large("a", str(log)), Large("b", str(log))]
  with pytest.raises(UserError, match=r"needs about 4,000,000.0 TB .* and has .* --frames_per_second"):
    prepare(units, tmp_path / "out")
  assert decoded(log) == []
  dataset.prepare(units, tmp_path / "out", source="here", options={}, check_disk=False, progress=False)


def test_the_cache_stores_equal_frames_once_and_notices_damage(tmp_path, log):
  cache, unit = Cache(tmp_path / "cache"), many(log, 1)[0]
  original = unit.decode()
  cache.put("ab12", original)
  (clip,), (read,) = original.clips, cache.get("ab12").clips
  for field in dataclasses.fields(Clip):
    if field.name != "samples":
      assert getattr(read, field.name) == getattr(clip, field.name)
  np.testing.assert_array_equal(read.samples, clip.samples)
  (header,) = cache.headers("ab12").clips
  assert len(header.frames) == 3 and header.frames[0] == b"" and len(header.samples) == 800
  path = pathlib.Path(cache.path("ab12"))
  assert path.stat().st_size < 1600 + 2 * len(clip.frames[0]) + 1000
  assert cache.has("ab12") and not cache.has("cd34")
  path.write_bytes(path.read_bytes()[:-1])
  assert not cache.has("ab12")


def test_digests_are_remembered_until_a_file_changes(tmp_path, monkeypatch):
  file, memory = tmp_path / "a", tmp_path / "memory.jsonl"
  file.write_bytes(b"one")
  os.utime(file, (1, 1))
  first = Digests(memory).of(file)
  assert first == hashlib.sha256(b"one").hexdigest()
  monkeypatch.setattr(hashlib, "file_digest", None)  # Not called again:
  memory.write_text(memory.read_text() + '["half a li')
  assert Digests(memory).of(file) == first
  monkeypatch.undo()
  file.write_bytes(b"two")
  assert Digests(memory).of(file) == hashlib.sha256(b"two").hexdigest()
