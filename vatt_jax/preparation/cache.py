"""The cache of decoded units: one file each, written in one piece, so that a stopped run goes on where it was.

A file is: MAGIC, the length of the header (uint64, little-endian), the header (JSON), and the blobs one by one.
The header has everything but JPEG and PCM bytes, which it names by the number of their blob: equal frames are stored
once, and looking through the captions of a large data set reads no media.
"""

import dataclasses
import json
import os
import struct
from typing import BinaryIO

from etils import epath
import numpy as np

from vatt_jax.preparation.clips import Caption, Clip, Question
from vatt_jax.preparation.units import Decoded, Problem

MAGIC = b"VATTCLP1"


class Cache:
  """Decoded units by their identity, in a folder. Picklable: worker processes write into it."""

  def __init__(self, folder: epath.PathLike):
    self.folder = epath.Path(folder)

  def path(self, identity: str) -> epath.Path:
    return self.folder / identity[:2] / identity

  def has(self, identity: str) -> bool:
    """Whether the unit is there in full; a damaged file (a full disk, a power cut) counts as absent."""
    try:
      self.headers(identity)
    except (OSError, ValueError):
      return False
    return True

  def put(self, identity: str, decoded: Decoded) -> None:
    """Stores a unit. A reader sees all of it or nothing."""
    blobs: dict[bytes, int] = {}
    number = lambda blob: blobs.setdefault(blob, len(blobs))
    clips = []
    for clip in decoded.clips:
      described = {field.name: getattr(clip, field.name) for field in dataclasses.fields(clip)}
      described["frames"] = [number(frame) for frame in clip.frames]
      described["samples"] = number(np.asarray(clip.samples, "<i2").tobytes())
      described["captions"] = [dataclasses.astuple(caption) for caption in clip.captions]
      described["questions"] = [dataclasses.astuple(question) for question in clip.questions]
      clips.append(described)
    header = json.dumps(
      {
        "clips": clips,
        "rejected": [dataclasses.astuple(problem) for problem in decoded.rejected],
        "warnings": [dataclasses.astuple(problem) for problem in decoded.warnings],
        "blobs": [len(blob) for blob in blobs],
      }
    ).encode()
    path = self.path(identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f"{path.name}.{os.getpid()}.partial"
    with partial.open("wb") as file:
      file.write(MAGIC + struct.pack("<Q", len(header)) + header)
      for blob in blobs:
        file.write(blob)
    partial.replace(path)

  def sweep(self) -> None:
    """Removes what killed processes were writing."""
    for partial in self.folder.glob("*/*.partial"):
      partial.unlink(missing_ok=True)

  def headers(self, identity: str) -> Decoded:
    """The unit without media: clips whose `frames` and `samples` keep their length but are empty bytes and zeros.

    Raises:
      ValueError: the file is damaged.
      OSError: the file is not there.
    """
    return self.get(identity, media=lambda clip: False)

  def get(self, identity: str, *, media=lambda clip: True) -> Decoded:
    """The unit; only clips for which `media(clip)` is true have their frames and samples read."""
    path = self.path(identity)
    with path.open("rb") as file:
      header, first = _read_header(file)
      offsets = np.cumsum([first, *header["blobs"]]).tolist()
      if path.stat().length != offsets[-1]:
        raise ValueError(f"{path} is {path.stat().length} bytes long instead of {offsets[-1]}.")

      def read(number):
        file.seek(offsets[number])
        return file.read(header["blobs"][number])

      clips = []
      for described in header["clips"]:
        frames, samples = described.pop("frames"), described.pop("samples")
        described["timestamps"] = tuple(described["timestamps"])
        described["captions"] = tuple(Caption(*caption) for caption in described["captions"])
        described["questions"] = tuple(Question(*question) for question in described.get("questions", ()))
        clip = Clip(
          **described,
          frames=(b"",) * len(frames),
          samples=np.broadcast_to(np.int16(0), header["blobs"][samples] // 2),
        )
        if media(clip):
          clip = dataclasses.replace(
            clip, frames=tuple(read(number) for number in frames), samples=np.frombuffer(read(samples), "<i2")
          )
        clips.append(clip)
    problems = {name: [Problem(*problem) for problem in header[name]] for name in ("rejected", "warnings")}
    return Decoded(clips, **problems)


def _read_header(file: BinaryIO) -> tuple[dict, int]:
  """The header and the offset of the first blob; ValueError where this is no such file."""
  start = file.read(len(MAGIC) + 8)
  if len(start) < len(MAGIC) + 8 or not start.startswith(MAGIC):
    raise ValueError("not a file of decoded clips")
  (length,) = struct.unpack("<Q", start[len(MAGIC) :])
  return json.loads(file.read(length)), len(start) + length
