"""Storage that fails now and then, and data sets in buckets; a whole run on such storage is in test_survival.py."""

import errno
import json
import shutil
import time

from etils import epath
from etils.epath import backend as epath_backends
import pytest

from vatt_jax import storage
from vatt_jax.data import records, remote
from vatt_jax.errors import UserError
from vatt_jax.training import workdir


def failing(times, error):
  """A function that raises so many times, then returns how often it was called."""
  calls = []

  def function():
    calls.append(1)
    if len(calls) <= times:
      raise error
    return len(calls)

  return function


def test_errors_that_pass_are_tried_again():
  for error in (OSError(errno.EIO, "?"), ConnectionResetError(), TimeoutError()):
    assert storage.persistently(failing(2, error), pause_seconds=0) == 3
  with pytest.raises(TimeoutError):
    storage.persistently(failing(storage.ATTEMPTS, TimeoutError()), pause_seconds=0)


@pytest.mark.parametrize("error", [FileNotFoundError(), OSError(errno.ENOSPC, "?"), PermissionError(), ValueError()])
def test_errors_that_stay_are_raised_at_once(error):
  function = failing(1, error)
  with pytest.raises(type(error)):
    storage.persistently(function, pause_seconds=0)
  assert function() == 2


def test_what_was_done_before_the_answer_was_lost_counts_as_done():
  calls = []

  def rename():
    calls.append(1)
    raise TimeoutError if len(calls) == 1 else FileNotFoundError

  assert storage.persistently(rename, pause_seconds=0, done_once=True) is None and len(calls) == 2


@pytest.fixture
def bucket(monkeypatch, tmp_path):
  """gs://bucket, which is a folder; returns the folder."""
  folder = tmp_path / "bucket"
  folder.mkdir()
  here = lambda path: str(path).replace("gs://bucket", str(folder))
  for name in ("open", "exists", "isdir", "listdir", "mkdir", "makedirs", "rename", "replace", "remove", "stat"):
    plain = getattr(epath_backends.os_backend, name)
    operation = lambda path, *rest, plain=plain, **kw: plain(here(path), *map(here, rest), **kw)
    monkeypatch.setattr(epath_backends.tf_backend, name, operation)
  copy = lambda source, target, overwrite: epath_backends.os_backend.copy(here(source), here(target), overwrite)
  monkeypatch.setattr(epath_backends.tf_backend, "copy", copy)
  return folder


def test_a_data_set_in_a_bucket_is_copied_once(bucket, miniature, monkeypatch, tmp_path):
  monkeypatch.setenv("VATT_JAX_CACHE", str(tmp_path / "cache"))
  shutil.copytree(miniature, bucket / "set")
  place = remote.local_copy("gs://bucket/set")
  assert records.Records(place, "train")[3] == records.Records(miniature, "train")[3]
  assert remote.local_copy(miniature) == miniature
  files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*") if path.is_file()}
  first = next(path for path in files if "train" in path.name)
  first.write_bytes(b"cut off")  # as by a full disk
  assert remote.local_copy("gs://bucket/set") == place and first.stat().st_size > 7
  assert all(path.stat().st_mtime_ns == files[path] for path in files if path != first)
  with pytest.raises(UserError, match="there is no prepared data set"):
    records.Records(remote.local_copy("gs://bucket/none"), "train")


def test_a_workdir_in_a_bucket_is_refused_while_its_run_is_alive(bucket, monkeypatch):
  place = epath.Path("gs://bucket")
  beat = {"phase": "train", "written": time.time(), "process": 7, "host": "elsewhere"}
  workdir.write_json(place / workdir.HEARTBEAT, beat)
  monkeypatch.setattr(time, "sleep", lambda _: None)
  with workdir.lock("gs://bucket"):
    pass  # It was killed: its heart does not beat any more.
  later = {**beat, "written": beat["written"] + 1}
  monkeypatch.setattr(time, "sleep", lambda _: (bucket / workdir.HEARTBEAT).write_text(json.dumps(later)))
  with pytest.raises(UserError, match="in use by process 7 on elsewhere"), workdir.lock("gs://bucket"):
    pass
