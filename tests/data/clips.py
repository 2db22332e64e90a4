"""Records in memory whose frames and samples tell their own time."""

import io

import numpy as np
from PIL import Image
import tensorflow as tf

RATE = 4_000  # samples per second: a sample's value is its number
FRAMES_PER_SECOND = 10


def jpeg(level: int) -> bytes:
  file = io.BytesIO()
  Image.fromarray(np.full((24, 32, 3), level, np.uint8)).save(file, "JPEG", quality=95)
  return file.getvalue()


def record(seconds: float = 5.0, captions=(("a word", 0.0, 5.0),), frames=None, **strings) -> bytes:
  """Frame i is a grey of 4 i + 8, sample j has the value j."""
  count = round(seconds * FRAMES_PER_SECOND)
  samples = np.arange(round(seconds * RATE)).astype("<i2").tobytes()
  example = tf.train.Example()
  put = lambda name, kind, values: getattr(example.features.feature[name], kind).value.extend(values)
  put("video/frames", "bytes_list", [jpeg(4 * i + 8) for i in range(count)] if frames is None else frames)
  put("video/timestamps", "float_list", [i / FRAMES_PER_SECOND for i in range(count)])
  put("audio/samples", "bytes_list", [samples])
  put("audio/sample_rate_hz", "int64_list", [RATE])
  put("captions/text", "bytes_list", [text.encode() for text, _, _ in captions])
  put("captions/start", "float_list", [start for _, start, _ in captions])
  put("captions/end", "float_list", [end for _, _, end in captions])
  put("clip/start", "float_list", [100.0])
  for name, value in strings.items():
    put(name, "bytes_list", [each.encode() for each in ([value] if isinstance(value, str) else value)])
  return example.SerializeToString()


def frame_seconds(patches: np.ndarray) -> np.ndarray:
  """The time that each frame of a clip without DropToken shows: uint8 (N, P) of whole-frame patches -> (N,)."""
  return np.round((patches.astype(float).mean(-1) - 8) / 4) / FRAMES_PER_SECOND


class Memory:
  """A list of records that looks like `records.Records`, and counts what is read."""

  directory, split = "memory", "train"

  def __init__(self, records):
    self._records, self.reads = list(records), 0

  def __len__(self):
    return len(self._records)

  def __getitem__(self, number):
    self.reads += 1
    return self._records[number]

  def after(self, number):
    return (number + 1) % len(self)

  def name(self, number):
    return f"record {number} of memory"
