"""Random access to the records of a prepared data set."""

import collections
from collections.abc import Sequence
import json
import pathlib

from array_record.python.array_record_data_source import ArrayRecordDataSource
from etils import epath
import numpy as np
import tensorflow as tf

from vatt_jax.data.label import SEPARATOR
from vatt_jax.errors import UserError

VERSION = "1.0.0"

FEATURES = {
  "video/frames": tf.io.RaggedFeature(tf.string),
  "video/timestamps": tf.io.RaggedFeature(tf.float32),
  "audio/samples": tf.io.FixedLenFeature([], tf.string, ""),
  "audio/start_seconds": tf.io.FixedLenFeature([], tf.float32, 0.0),
  "audio/sample_rate_hz": tf.io.FixedLenFeature([], tf.int64, 0),
  "captions/text": tf.io.RaggedFeature(tf.string),
  "captions/start": tf.io.RaggedFeature(tf.float32),
  "captions/end": tf.io.RaggedFeature(tf.float32),
  "captions/kind": tf.io.RaggedFeature(tf.string),  # Only in data sets where a caption has one.
  "questions/text": tf.io.RaggedFeature(tf.string),
  "questions/answer": tf.io.RaggedFeature(tf.string),
  "language": tf.io.FixedLenFeature([], tf.string, ""),
  "label": tf.io.FixedLenFeature([], tf.string, ""),
  "source": tf.io.FixedLenFeature([], tf.string, ""),
  "clip/start": tf.io.FixedLenFeature([], tf.float32, 0.0),
  "licence": tf.io.FixedLenFeature([], tf.string, ""),
}


class Records(Sequence):
  """The serialized records of one split, by number. Reading is thread-safe and keeps no position.

  Args:
    directory: what `prepare --output` wrote.
    split: "train", "validation" or "test".

  Raises:
    UserError: when the data set or the split does not exist, or a file of it is cut off.
  """

  def __init__(self, directory: str, split: str):
    self.directory, self.split = directory, split
    files = [str(path) for path in _files(directory, split)]
    try:
      self._source = ArrayRecordDataSource(files)
    except (RuntimeError, OSError) as error:
      raise UserError(
        f"the {split} records at {directory!r} cannot be opened: {str(error).splitlines()[0]}. Copy or prepare them again."
      ) from error

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, number: int) -> bytes:
    if not 0 <= number < len(self):
      raise IndexError(f"{self.directory} has no record {number}: {self.split} has {len(self)}")
    # One by one: for several at once the reader starts threads, whose memory is new each time, and takes five times as long.
    return self._source[int(number)]

  def after(self, number: int) -> int:
    """The record that stands in for this one when it is broken."""
    return (number + 1) % len(self)

  def name(self, number: int) -> str:
    return f"record {number} of {self.directory}"

  def strings(self, feature: str) -> list[str]:
    """A string feature of every record, "" where it is missing; reads the whole split once."""
    values = []
    for start in range(0, len(self), 256):
      block = [self[number] for number in range(start, min(start + 256, len(self)))]
      parsed = tf.io.parse_example(block, {feature: FEATURES[feature]})[feature]
      values += [value.decode("utf-8", "replace") for value in parsed.numpy()]
    return values


class Joined(Sequence):
  """Several `Records` as one: the numbers of a later set follow those of the earlier.

  Attributes:
    directory: all of them, for messages.
    ranges: the numbers of each set.
  """

  def __init__(self, sets: Sequence[Records]):
    self._sets = tuple(sets)
    self.directory = ", ".join(records.directory for records in sets)
    ends = np.cumsum([len(records) for records in sets]).tolist()
    self.ranges = tuple(range(end - len(records), end) for records, end in zip(sets, ends))

  def __len__(self) -> int:
    return self.ranges[-1].stop

  def __getitem__(self, number: int) -> bytes:
    records, start = self._own(number)
    return records[number - start]

  def after(self, number: int) -> int:
    """The record of the same set that stands in for this one when it is broken."""
    records, start = self._own(number)
    return start + records.after(number - start)

  def name(self, number: int) -> str:
    records, start = self._own(number)
    return records.name(number - start)

  def _own(self, number: int) -> tuple[Records, int]:
    for records, own in zip(self._sets, self.ranges):
      if number in own:
        return records, own.start
    raise IndexError(f"{self.directory} have no record {number}: there are {len(self)}")


class Each(Sequence):
  """Every caption, or every question, of a split as a record of its own, with everything else that its record has.

  Args:
    records: the split; read once to count.
    what: "captions" or "questions".
  """

  def __init__(self, records: Records, what: str):
    self.directory, self.split = records.directory, records.split
    self._records, self._names = records, [name for name in FEATURES if name.startswith(f"{what}/")]
    counts = [len(decode(records[number])[f"{what}/text"]) for number in range(len(records))]
    self._places = [(number, i) for number, count in enumerate(counts) for i in range(count)]

  def __len__(self) -> int:
    return len(self._places)

  def __getitem__(self, number: int) -> bytes:
    whole, i = self._places[number]
    return self._only(self._records[whole], i)

  def strings(self, feature: str) -> list[str]:
    """As `Records.strings`."""
    values = self._records.strings(feature)
    return [values[number] for number, _ in self._places]

  def after(self, number: int) -> int:
    """The example that stands in for this one when it is broken."""
    return (number + 1) % len(self)

  def name(self, number: int) -> str:
    return self._records.name(self._places[number][0])

  def _only(self, record: bytes, i: int) -> bytes:
    example = tf.train.Example.FromString(record)
    for name in self._names:
      feature = example.features.feature[name]
      if not feature.WhichOneof("kind"):
        continue
      values = getattr(feature, feature.WhichOneof("kind")).value
      values[:] = [values[i]]
    return example.SerializeToString()


class Some(Sequence):
  """Some records of a split, in an order of their own.

  Args:
    records: the split.
    numbers: which of them.
  """

  def __init__(self, records: Records | Each, numbers: Sequence[int]):
    self.directory, self.split = records.directory, records.split
    self._records, self._numbers = records, np.asarray(numbers, int)

  def __len__(self) -> int:
    return len(self._numbers)

  def __getitem__(self, number: int) -> bytes:
    return self._records[self._numbers[number]]

  def after(self, number: int) -> int:
    """The record that stands in for this one when it is broken."""
    return (number + 1) % len(self)

  def name(self, number: int) -> str:
    return self._records.name(int(self._numbers[number]))


def open_split(directory: str, split: str, examples: str = "clips") -> Records | Each:
  """The records of a split.

  Args:
    examples: what counts as one: "clips", "captions" or "questions".

  Raises:
    UserError: when the data set or the split does not exist, or has nothing of that kind.
  """
  records = Records(directory, split)
  if examples == "clips":
    return records
  found = Each(records, examples)
  if not len(found):
    raise UserError(f"the split {split!r} of the data set at {directory!r} has no {examples}.")
  return found


def splits(directory: str) -> dict[str, int]:
  """Split name -> number of clips, for the splits that exist."""
  info = _info(directory)
  return {split["name"]: sum(int(n) for n in split["shardLengths"]) for split in info["splits"]}


def labels(directory: str) -> list[str]:
  """Names of the classes, in the order of their numbers: `labels.txt`, else the sorted names of the training split.

  A record's `label` joins several names by "|".
  """
  path = epath.Path(directory) / "labels.txt"
  if path.exists():
    return path.read_text().splitlines()
  names = Records(directory, "train").strings("label")
  return sorted({part for name in names for part in name.split(SEPARATOR) if part})


def answers(directory: str) -> list[str]:
  """The answers to the questions of the training split, the most frequent first; empty where nothing is asked."""
  _info(directory)
  path = epath.Path(directory) / "answers.txt"
  return path.read_text().splitlines() if path.exists() else []


def decode(record: bytes) -> dict:
  """One record as Python values: lists of bytes and floats, `audio/samples` int16 (S,)."""
  example = tf.train.Example.FromString(record)
  values = collections.defaultdict(list)
  for name, feature in example.features.feature.items():
    kind = feature.WhichOneof("kind")
    values[name] = list(getattr(feature, kind).value) if kind else []
  values["audio/samples"] = np.frombuffer(b"".join(values["audio/samples"]), "<i2")
  return values


def encode(values: dict[str, list]) -> bytes:
  """A record as `pipeline.example_function` reads it, of features by their names in `FEATURES`; what is missing is empty.

  Args:
    values: name -> list of str, bytes, int or float; `audio/samples` is one bytes object.
  """
  example = tf.train.Example()
  for name, items in values.items():
    feature, dtype = example.features.feature[name], FEATURES[name].dtype
    if dtype == tf.string:
      feature.bytes_list.value.extend(item.encode() if isinstance(item, str) else item for item in items)
    else:
      (feature.int64_list if dtype == tf.int64 else feature.float_list).value.extend(items)
  return example.SerializeToString()


def _info(directory: str) -> dict:
  path = epath.Path(directory) / "clips" / VERSION / "dataset_info.json"
  if not directory or not path.exists():
    where = f"at {directory!r}" if directory else "(--config.data.directory is empty)"
    raise UserError(
      f"there is no prepared data set {where}. Make one with "
      "`python -m vatt_jax.prepare --source=FOLDER --output=DIR`, then pass --config.data.directory=DIR."
    )
  return json.loads(path.read_text())


def _files(directory: str, split: str) -> list[pathlib.PurePath]:
  info = _info(directory)
  for item in info["splits"]:
    if item["name"] == split:
      shards = len(item["shardLengths"])
      names = [f"clips-{split}.array_record-{i:05d}-of-{shards:05d}" for i in range(shards)]
      return [epath.Path(directory) / "clips" / VERSION / name for name in names]
  names = ", ".join(item["name"] for item in info["splits"])
  raise UserError(f"the data set at {directory!r} has no split {split!r}; it has {names}.")
