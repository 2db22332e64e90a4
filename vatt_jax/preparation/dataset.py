"""From units to a data set: decode what is not cached, assign splits, write records, vocabulary and preparation.json.

    DIR/clips/1.0.0/        the TFDS data set
    DIR/tokenizer/          sentencepiece.model, sentencepiece.vocab
    DIR/labels.txt          a class name a line, line number = class id; where clips have labels
    DIR/answers.txt         the answers to training's questions, the most frequent first; where there are questions
    DIR/preparation.json    what was accepted and rejected; written last, so it marks a complete data set
    DIR/.work/              decoded units, digests, options; may be deleted, then the next run decodes everything again

A new data set is written to DIR/.work/new in full and then moved into place, so a run that is killed at any moment
leaves the old data set or the new one, and the next run finishes the move.
"""

import collections
from collections.abc import Iterator, Mapping, Sequence
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import traceback

from etils import epath
import tqdm

from vatt_jax.errors import UserError
from vatt_jax.preparation import beam as beam_lib, pool, space, splits as splits_lib, summary, vocabulary
from vatt_jax.preparation.cache import Cache
from vatt_jax.preparation.clips import SPLITS, Clip
from vatt_jax.preparation.units import Decoded, Problem, Unit

PUBLISHED = ("clips", "tokenizer", "labels.txt", "answers.txt", "preparation.json")
COUNTED = {"tokenizer": "vocabulary_pieces", "labels.txt": "labels", "answers.txt": "answers"}  # 0: it does not exist.


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What `preparation.json` says, and whether the data set was there already, unchanged."""

  preparation: dict
  unchanged: bool


def prepare(
  units: Sequence[Unit],
  output: epath.PathLike,
  *,
  source: str,
  options: Mapping[str, int | float | str],
  problems: Decoded | None = None,
  labels: Sequence[str] = (),
  official_splits: bool = False,
  check_disk: bool = True,
  workers: int = 0,
  file_timeout_seconds: float = 3600.0,
  beam: str | None = None,
  progress: bool = True,
) -> Outcome:
  """Makes or brings up to date the data set of `units` in `output`.

  The same units give the same records, whatever `workers` and `beam` are and however often the work was interrupted.

  Args:
    units: what to decode; their names and the keys of their clips are unique.
    output: the folder of the data set, DIR above.
    source: what `units` were found in, for the record and for refusing another source in the same folder.
    options: everything else that shapes the data set; `vocabulary_size` (0 or absent: by the amount of text) is read
      here, the others are only compared with those of an earlier run.
    problems: what went wrong while the units were looked for (its clips are ignored).
    labels: the class names in their official order; without, the sorted names of the training split.
    official_splits: of a public benchmark: held-out clips keep the captions that training has too, which are its
      queries, and not every split need exist.
    check_disk: estimate the room that is needed, and stop where the disk has less.
    workers: processes that decode; 0 decodes in this process.
    file_timeout_seconds: a file of which no packet was decoded for so long is rejected and its process ended; needs
      processes.
    beam: options of an Apache Beam pipeline that decodes instead, "" is its local runner.
    progress: whether to draw progress bars on stderr.

  Raises:
    UserError: `output` holds something else, another process works on it, the disk is too small, or no clip can be made of the
      units.
  """
  output, settings = epath.Path(output), {"source": source, **options}
  units, problems = sorted(units, key=lambda unit: unit.name), problems or Decoded()
  with _claim(output, settings):
    work = output / ".work"
    _publish(work, output)  # An earlier run may have been killed just here.
    identities, unread = _identify(units, workers, progress)
    rejected = [*problems.rejected, *unread]
    fingerprint = _fingerprint(identities, rejected, problems.warnings, settings, [*labels], official_splits)
    if earlier := _read_json(output / "preparation.json"):
      if earlier["fingerprint"] == fingerprint and (output / "clips").exists():
        return Outcome(earlier, unchanged=True)
    cache = Cache(work / "units")
    cache.sweep()
    if check_disk:
      space.check([unit for unit in units if unit.name in identities], cache, identities, output, progress)
    each = functools.partial(pool.each, workers=workers, timeout_seconds=file_timeout_seconds)
    if beam is not None:
      each = functools.partial(beam_lib.each, options=beam, folder=work / "beam")
    crashed = _decode_missing(units, identities, cache, each, progress)
    usable = sorted({identity for name, identity in identities.items() if name not in crashed})
    found = Found(cache, usable, labels, official_splits)
    found.rejected += [*rejected, *crashed.values()]
    found.warnings += [*problems.warnings, *found.strange_labels(labels)]
    if not official_splits:
      found.warnings += found.missing_splits()
    if not found.accepted:
      if not earlier:
        (work / "options.json").unlink(missing_ok=True)  # Nothing here yet that other options could spoil.
      raise UserError(_nothing(source, found.rejected))
    new = work / "new"
    _remove(new)
    preparation = _write(found, new, settings, progress)
    preparation["fingerprint"] = fingerprint
    _write_json(new / "preparation.json", preparation)
    _publish(work, output)
  return Outcome(preparation, unchanged=False)


class Found:
  """The decoded units of a data set: what is in them, and their clips by split.

  Attributes:
    counts: split -> `summary.Count`.
    captions: the captions of the training clips.
    kinds: whether any caption says what it is about.
    labels: class names, in the order of their ids.
    answers: the answers of the training clips, the most frequent first.
    rejected, warnings: problems.
  """

  def __init__(self, cache: Cache, identities: Sequence[str], labels: Sequence[str], official_splits: bool):
    self._cache, self._identities = cache, identities
    self.rejected: list[Problem] = []
    self.warnings: list[Problem] = []
    self._splits = splits_lib.Splits(clip for decoded in self._headers() for clip in decoded.clips)
    self.captions: set[str] = set()
    self.questions: set[str] = set()
    self.kinds = False
    keys, classes, trained, answers = set(), set(), set(), collections.Counter()
    for decoded in self._headers():
      self.rejected += decoded.rejected
      self.warnings += decoded.warnings
      for clip in decoded.clips:
        if clip.key in keys:
          raise ValueError(f"Two clips have the key {clip.key!r}.")
        keys.add(clip.key)
        classes.update(clip.label.split("|") if clip.label else ())
        self.kinds |= any(caption.kind for caption in clip.captions)
        if self._splits.of(clip) == "train":
          self.captions.update(caption.text for caption in clip.captions)
          self.questions.update(question.text for question in clip.questions)
          trained.update(clip.label.split("|") if clip.label else ())
          answers.update(question.answer for question in clip.questions if question.answer)
    self._classes = classes
    self.labels = list(labels or sorted(trained or classes)) if classes else []
    self.answers = sorted(answers, key=lambda answer: (-answers[answer], answer))
    self._normal_captions = set() if official_splits else {splits_lib.normal(caption) for caption in self.captions}
    self.counts = {split: summary.Count() for split in SPLITS}
    for decoded in self._headers():
      for clip in decoded.clips:
        held_out = self._hold_out(clip)
        self.counts[held_out.split].add(held_out, dropped_captions=len(clip.captions) - len(held_out.captions))

  @property
  def accepted(self) -> int:
    return sum(count.clips for count in self.counts.values())

  def missing_splits(self) -> list[Problem]:
    """A warning where nothing is left to validate or test with."""
    empty = [split for split in SPLITS if not self.counts[split].clips]
    advice = f"of fewer than {splits_lib.FEWEST_SOURCES} files all train, unless folders or a manifest name splits"
    return [Problem("", f"no clip is for {' or '.join(empty)}: {advice}")] if empty else []

  def strange_labels(self, official: Sequence[str]) -> list[Problem]:
    """A warning where clips have labels that have no id."""
    strange = sorted(self._classes - set(self.labels))
    names = ", ".join(strange[:3]) + (", ..." if len(strange) > 3 else "")
    where = "the official list" if official else "the training split"
    return [Problem("labels.txt", f"{len(strange)} labels are not in {where}: {names}")] if strange else []

  def clips(self, split: str) -> Iterator[Clip]:
    """The clips of a split with their media, one unit in memory at a time."""
    for identity in self._identities:
      for clip in self._cache.get(identity, media=lambda clip: self._splits.of(clip) == split).clips:
        if self._splits.of(clip) == split:
          yield self._hold_out(clip)

  def _headers(self) -> Iterator[Decoded]:
    return (self._cache.headers(identity) for identity in self._identities)

  def _hold_out(self, clip: Clip) -> Clip:
    return splits_lib.hold_out(clip, self._splits.of(clip), self._normal_captions)


@contextlib.contextmanager
def _claim(output: epath.Path, settings: Mapping):
  """Holds `output` for this process and these settings, or raises `UserError`."""
  stored = None
  for path in (output / "preparation.json", output / ".work" / "options.json"):
    if stored is None and (known := _read_json(path)):
      stored = known.get("options")
  if stored is None and (taken := [name for name in PUBLISHED if (output / name).exists()]):
    raise UserError(f"{output} holds {', '.join(taken)} of something else. Choose another --output.")
  if stored is not None and (different := _differences(stored, settings)):
    raise UserError(f"{output} was prepared with {different}. Use the same options, or choose another --output.")
  work = output / ".work"
  try:
    work.mkdir(parents=True, exist_ok=True)
    lock = open(work / "lock", "w")
  except OSError as error:
    raise UserError(f"{output} cannot be written: {error.strerror}. Choose another --output.") from error
  with lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise UserError(f"Another process is preparing {output} right now.") from None
    _write_json(work / "options.json", {"options": settings})
    yield


def _differences(stored: Mapping, settings: Mapping) -> str:
  return ", ".join(
    f"{name}={stored.get(name)} instead of {settings.get(name)}"
    for name in sorted({*stored, *settings})
    if stored.get(name) != settings.get(name)
  )


def _identify(units, workers, progress) -> tuple[dict[str, str], list[Problem]]:
  """The identity of every unit by its name, and those whose files cannot be read."""
  identities, unread = {}, []

  def identify(unit):
    try:
      return unit.name, unit.identity(), None
    except OSError as error:
      return unit.name, None, Problem(unit.name, f"cannot be read: {error.strerror}")

  with concurrent.futures.ThreadPoolExecutor(max(1, workers)) as threads:
    for name, identity, problem in _bar(threads.map(identify, units), len(units), "reading", progress):
      if problem:
        unread.append(problem)
      else:
        identities[name] = identity
  return identities, unread


def _decode_missing(units, identities, cache, each, progress) -> dict[str, Problem]:
  """Decodes into the cache what is not there; returns the units, by name, that could not be decoded at all."""
  tasks = [(unit, identities[unit.name]) for unit in units if unit.name in identities]
  missing = [(unit, identity) for unit, identity in tasks if not cache.has(identity)]
  crashed = {}
  if not missing:
    return crashed
  done = each(functools.partial(_decode, cache), missing)
  with contextlib.closing(done):
    bar = _bar(done, len(tasks), "decoding", progress, initial=len(tasks) - len(missing))
    for (unit, _), result in bar:
      if isinstance(result, pool.Crashed):
        result = Problem(unit.name, "the decoder crashed on it")
      if isinstance(result, pool.Hung):
        result = Problem(unit.name, f"the decoder hung on it ({result})")
      if result:
        crashed[unit.name] = result
  return crashed


def _decode(cache: Cache, task: tuple[Unit, str]) -> Problem | None:
  unit, identity = task
  try:
    decoded = unit.decode()
  except Exception as error:  # A bug of ours, but one file must not cost the others their data set.
    traceback.print_exc()
    return Problem(unit.name, f"unexpected {type(error).__name__}: {error} (please report this)")
  cache.put(identity, decoded)
  return None


def _write(found: Found, new: epath.Path, settings: Mapping, progress: bool) -> dict:
  """Writes data set and vocabulary below `new`; returns what preparation.json will say."""
  from vatt_jax.preparation import records  # Here, because it imports TensorFlow.

  filled = [split for split in SPLITS if found.counts[split].clips]
  with tqdm.tqdm(total=found.accepted, desc="writing", unit="clip", disable=not progress, mininterval=0.5) as bar:

    def clips(split):
      for clip in found.clips(split):
        yield clip
        bar.update()

    questions = any(count.questions for count in found.counts.values())
    records.write(new, clips, filled, questions=questions, kinds=found.kinds)
  for name, lines in (("labels.txt", found.labels), ("answers.txt", found.answers)):
    if lines:
      (new / name).write_text("".join(f"{line}\n" for line in lines))
  pieces = 0
  if found.captions or found.questions:
    pieces = vocabulary.train(
      found.captions | found.questions, new / "tokenizer", size=int(settings.get("vocabulary_size", 0))
    )
  else:
    found.warnings.append(Problem("", "no training clip has a caption, so there is no vocabulary"))
  return summary.describe(found, settings, pieces)


def _publish(work: epath.Path, output: epath.Path) -> None:
  """Moves a complete data set from `work`/new into place. Every step may be the last: run again, it goes on."""
  new, old = work / "new", work / "old"
  if not (preparation := _read_json(new / "preparation.json")):
    _remove(old)
    return
  for name in PUBLISHED:
    source, target = new / name, output / name
    unwanted = name in COUNTED and not preparation.get(COUNTED[name])
    if target.exists() and (source.exists() or unwanted):
      old.mkdir(exist_ok=True)
      _remove(old / name)
      target.rename(old / name)
    if source.exists():
      source.rename(target)
  _remove(new)
  _remove(old)


def _fingerprint(identities, rejected, warnings, settings, labels, official_splits) -> str:
  everything = [
    sorted(identities.items()),
    sorted(dataclasses.astuple(problem) for problem in (*rejected, *warnings)),
    sorted(settings.items()),
    [labels, official_splits],
  ]
  return hashlib.sha256(json.dumps(everything).encode()).hexdigest()


def _nothing(source: str, rejected: Sequence[Problem]) -> str:
  if not rejected:
    return f"{source} holds no media that can be used."
  first = "; ".join(f"{problem.file}: {problem.reason}" for problem in sorted(rejected, key=dataclasses.astuple)[:3])
  return f"No clip can be made of {source}. Rejected: {first}{'; ...' if len(rejected) > 3 else ''}"


def _bar(iterable, total, what, progress, initial=0):
  return tqdm.tqdm(
    iterable, total=total, initial=initial, desc=what, unit="file", disable=not progress, mininterval=0.5
  )


def _read_json(path: epath.Path) -> dict | None:
  try:
    return json.loads(path.read_text())
  except (FileNotFoundError, NotADirectoryError):
    return None
  except ValueError as error:
    raise UserError(f"{path} is damaged: {error}. Delete it and run again.") from error


def _write_json(path: epath.Path, content: Mapping) -> None:
  partial = path.parent / (path.name + ".partial")
  partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
  partial.replace(path)


def _remove(path: epath.Path) -> None:
  if path.is_dir():
    path.rmtree()
  else:
    path.unlink(missing_ok=True)
