"""Fills an index: media are decoded by worker processes and embedded in batches; what is done survives a stop."""

import collections
from collections.abc import Callable, Iterator, Sequence
import contextlib
import fcntl
import functools
import os
import time

from etils import epath
import tqdm

from vatt_jax import jobs
from vatt_jax.errors import UserError
from vatt_jax.preparation import pool
from vatt_jax.preparation.units import Problem
from vatt_jax.search import index as index_lib, sources as sources_lib
from vatt_jax.search.encoder import Encoder
from vatt_jax.search.index import Index, Row
from vatt_jax.search.sources import Source, Window
from vatt_jax.training.state import fingerprint

SAVE_SECONDS = 30.0
FILE_TIMEOUT_SECONDS = 3600.0


def embed(
  trained: jobs.Trained, sources: Sequence[Source], output: str, *, clip_seconds: float | None = None,
  batch_size: int = 16, workers: int = 0, say: Callable[[str], None] = print, progress: bool = False,
) -> tuple[Index, list[Problem]]:  # fmt: skip
  """Embeds sources and writes them into the index `output`, beside what it holds already.

  What is done is kept in `.<name>.unfinished` beside the index every half a minute and when this is interrupted; the next
  call goes on from there. Sources that have not changed since are not embedded again.

  Args:
    trained: the checkpoint.
    sources: what to embed.
    output: the file.
    clip_seconds: length of the windows that files are cut into; None: what the model sees at once.
    batch_size: records at once.
    workers: processes that decode; 0: this one.
    say: told what cannot be used, as soon as it is known.

  Returns:
    The index, and the sources that could not be used, with the reasons.

  Raises:
    UserError: where `output` was made by another checkpoint or with other windows, another process is at it, or nothing
      could be embedded.
  """
  path = epath.Path(output)
  encoder = Encoder(trained, batch_size)
  decoding = encoder.decoding(clip_seconds)
  about = {
    "format": index_lib.FORMAT,
    "checkpoint": str(trained.place.resolve()),
    "fingerprint": fingerprint(trained.variables["params"]),
    "clip_seconds": decoding.clip_seconds,
  }
  with _alone(path):
    done = _Done(path, about)
    todo, problems = done.missing(sources)
    batches = _Batches(encoder, done)
    read = functools.partial(sources_lib.read, options=decoding, modalities=encoder.modalities)
    with tqdm.tqdm(total=len(todo), desc="embedding", unit="file", disable=not progress) as bar:
      try:
        for source, reading in pool.each(read, todo, workers=workers, timeout_seconds=FILE_TIMEOUT_SECONDS):
          if isinstance(reading, pool.Crashed | pool.Hung):
            reading = sources_lib.Reading(rejected=_why(reading))
          for warning in reading.warnings:
            bar.write(f"{source.name}: {warning}.")
          if reading.rejected:
            problems.append(Problem(source.name, reading.rejected))
            bar.write(f"{source.name} is left out: {reading.rejected}.")
          batches.add(source, reading.windows)
          done.save_now_and_then()
          bar.update()
        batches.finish()
      finally:
        done.save_unfinished()
    if not any(done.rows.values()):
      raise UserError(f"nothing could be embedded: none of {len(sources)} sources can be used by this model.")
    say(f"{len(todo) - sum(not done.rows.get(each.name) for each in todo)} new, {len(done.rows)} in all")
    return done.finish(), problems


@contextlib.contextmanager
def _alone(path: epath.Path) -> Iterator[None]:
  """Holds the index for this process: of two, the one that ends first would lose its rows. Buckets have no locks."""
  if "://" in str(path):
    yield
    return
  lock = path.with_name(f".{path.name}.lock")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(lock, "w")
  except OSError as error:
    raise UserError(f"--output={path} cannot be written: {error.strerror}.") from error
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      if not lock.exists() or os.fstat(file.fileno()).st_ino != os.stat(lock).st_ino:
        raise BlockingIOError  # Its owner has just removed this one.
    except BlockingIOError:
      raise UserError(f"another process is embedding into {path} right now; wait for it, or end it.") from None
    try:
      yield
    finally:
      lock.unlink(missing_ok=True)


def _why(ended: Exception) -> str:
  return "decoding it crashed" if isinstance(ended, pool.Crashed) else f"decoding it got nowhere ({ended})"


class _Done:
  """The sources that are embedded, in the file and not yet in it.

  Attributes:
    rows: name -> its rows.
  """

  def __init__(self, path: epath.Path, about: dict):
    self._path, self._unfinished = path, path.with_name(f".{path.name}.unfinished")
    self._about, self._identities = about, {}
    self.rows: dict[str, list[Row]] = {}
    self._saved, self._unsaved = time.monotonic(), False
    for kept in (path, self._unfinished):
      if kept.exists():
        self._take(index_lib.load(kept), kept)

  def _take(self, kept: Index, path: epath.Path) -> None:
    index_lib.check_checkpoint(kept, self._about["fingerprint"], path)
    before, now = kept.about["clip_seconds"], self._about["clip_seconds"]
    if before != now:
      raise UserError(
        f"{path} has windows of {before:g} s, and not of {now:g} s: give --clip_seconds={before:g}, or another --output."
      )
    self._identities |= kept.about["sources"]
    self.rows |= kept.by_source()

  def missing(self, sources: Sequence[Source]) -> tuple[list[Source], list[Problem]]:
    """The sources that are new or have changed, and those that are gone."""
    todo, problems = [], []
    for source in sources:
      try:
        identity = source.identity()
      except OSError as error:
        problems.append(Problem(source.name, f"it cannot be read: {error.strerror}"))
        continue
      if source.name not in self.rows or self._identities[source.name] != identity:
        self.rows.pop(source.name, None)
        self._identities[source.name] = identity
        todo.append(source)
    return todo, problems

  def add(self, name: str, rows: list[Row]) -> None:
    self.rows[name], self._unsaved = rows, True

  def _index(self) -> Index:
    sources = {name: self._identities[name] for name in sorted(self.rows)}
    return index_lib.build({**self._about, "sources": sources}, {name: self.rows[name] for name in sources})

  def save_now_and_then(self) -> None:
    if time.monotonic() - self._saved > SAVE_SECONDS:
      self.save_unfinished()

  def save_unfinished(self) -> None:
    if self._unsaved:
      self._save(self._unfinished)
    self._saved, self._unsaved = time.monotonic(), False

  def finish(self) -> Index:
    index = self._save(self._path)
    self._unfinished.unlink(missing_ok=True)
    return index

  def _save(self, path: epath.Path) -> Index:
    index = self._index()
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      index_lib.save(path, index)
    except OSError as error:
      raise UserError(f"--output={self._path} cannot be written: {error.strerror or error}.") from error
    return index


class _Batches:
  """Windows that wait for a full batch of their modality; a source is done when all of its windows are."""

  def __init__(self, encoder: Encoder, done: _Done):
    self._encoder, self._done = encoder, done
    self._waiting: dict[str, list[tuple[str, int, Window]]] = collections.defaultdict(list)
    self._rows: dict[str, dict[tuple[int, str], Row]] = {}
    self._left: dict[str, int] = {}

  def add(self, source: Source, windows: Sequence[Window]) -> None:
    wanted = [(i, w, m) for i, w in enumerate(windows) for m in w.modalities if m in self._encoder.modalities]
    if not wanted:
      return
    self._rows[source.name], self._left[source.name] = {}, len(wanted)
    for i, window, modality in wanted:
      self._waiting[modality].append((source.name, i, window))
    for modality in self._waiting:
      while len(self._waiting[modality]) >= self._encoder.batch_size:
        self._encode(modality)

  def finish(self) -> None:
    for modality in self._waiting:
      while self._waiting[modality]:
        self._encode(modality)

  def _encode(self, modality: str) -> None:
    size = self._encoder.batch_size
    batch, self._waiting[modality] = self._waiting[modality][:size], self._waiting[modality][size:]
    found = self._encoder(modality, [window.features for _, _, window in batch])
    for place, (name, i, window) in enumerate(batch):
      outputs = {output: values[place] for output, values in found.items()}
      self._rows[name][i, modality] = Row(modality, window.start, window.end, outputs)
      self._left[name] -= 1
      if not self._left[name]:
        rows = self._rows.pop(name)
        self._done.add(name, [rows[key] for key in sorted(rows)])
