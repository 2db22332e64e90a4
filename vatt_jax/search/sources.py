"""What gets embedded: media files as windows in time, and sentences. Light, as worker processes import it."""

from collections.abc import Iterator, Sequence
import dataclasses
import os
import pathlib

import numpy as np

from vatt_jax.preparation import captions, folder, media as media_lib, requests
from vatt_jax.preparation.units import Options, Problem

IMAGES = frozenset(".avif .bmp .heic .heif .jfif .jpeg .jpg .png .pnm .ppm .tif .tiff .webp".split())
SENTENCES = ".txt"


@dataclasses.dataclass(frozen=True)
class Source:
  """One file or one sentence.

  Attributes:
    name: the absolute path, or the sentence.
    is_text: whether it is a sentence.
  """

  name: str
  is_text: bool = False

  def identity(self) -> str:
    """What changes when a file does; OSError where there is none."""
    if self.is_text:
      return "text"
    status = os.stat(self.name)
    return f"{status.st_size} bytes, {status.st_mtime_ns}"


@dataclasses.dataclass(frozen=True)
class Window:
  """A stretch of a source, in seconds, with the features of a record (WORKSPACE.md, "Records") and what it has."""

  start: float
  end: float
  features: dict
  modalities: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Reading:
  """The windows of one source; `rejected` says why there are none, `warnings` what could not be used."""

  windows: tuple[Window, ...] = ()
  rejected: str = ""
  warnings: tuple[str, ...] = ()


def find(paths: Sequence[str], sentences: Sequence[str] = ()) -> tuple[list[Source], list[Problem]]:
  """The sources behind the arguments of a command line, each once, and those that are none.

  Args:
    paths: files, folders (all media below; other files and hidden ones are passed over) and .txt files of sentences,
      one a line. A file that is named is tried whatever its ending is.
    sentences: as they are.
  """
  found, problems = [Source(text.strip(), is_text=True) for text in sentences if text.strip()], []
  for given in paths:
    path = pathlib.Path(os.path.abspath(os.path.expanduser(given)))
    if path.is_dir():
      known = folder.VIDEO | folder.SOUND | IMAGES
      inside = [file for files in folder.walk(path, None) for file in files if file.suffix.lower() in known]
      found += [Source(str(file)) for file in inside]
      if not inside:
        problems.append(Problem(given, "there is no video, sound or image in this folder"))
    elif not path.exists():
      problems.append(Problem(given, "it does not exist"))
    elif path.suffix.lower() == SENTENCES:
      lines, reason = _lines(path)
      found += [Source(line, is_text=True) for line in lines]
      problems += [Problem(given, reason)] if reason else []
    else:
      found.append(Source(str(path)))
  return list(dict.fromkeys(found)), problems


def _lines(path: pathlib.Path) -> tuple[list[str], str]:
  try:
    lines = captions.parse_lines(captions.read_text(path))
  except (OSError, ValueError) as error:
    return [], f"it cannot be read: {error}"
  return lines, "" if lines else "it holds no sentence"


def read(source: Source, options: Options, modalities: Sequence[str]) -> Reading:
  """Decodes a source into windows of `options.clip_seconds` without overlap.

  Args:
    modalities: "video", "audio", "text": those that are wanted; windows without any of them are left out.
  """
  if source.is_text:
    if "text" not in modalities:
      return Reading(rejected="this model reads no text")
    spoken = {"captions/text": [source.name], "captions/start": [0.0], "captions/end": [0.0]}
    return Reading((Window(0.0, 0.0, spoken, ("text",)),))
  picture, sound = "video" in modalities, "audio" in modalities
  try:
    media = media_lib.read(source.name, options, picture=picture, sound=sound)
  except media_lib.Unreadable as error:
    return Reading(rejected=str(error))
  windows = tuple(_windows(media, options.clip_seconds))
  if pathlib.Path(source.name).suffix.lower() in IMAGES:  # It has no time.
    windows = tuple(dataclasses.replace(window, start=0.0, end=0.0) for window in windows)
  return Reading(windows, "" if windows else "no window of it has picture or sound", tuple(media.warnings))


def _windows(media: media_lib.Media, length: float) -> Iterator[Window]:
  for start, end in requests.windows(0.0, media.end, length):
    times, frames = media.pictures_between(start, end)
    sound_start, samples = media.sound_between(start, end)
    heard = bool(np.any(samples))  # Digital silence is no sound.
    features = {"clip/start": [start]}
    if frames:
      features |= {"video/frames": frames, "video/timestamps": times}
    if heard:
      features |= {"audio/samples": [samples.astype("<i2").tobytes()], "audio/start_seconds": [sound_start]}
      features |= {"audio/sample_rate_hz": [media.sample_rate_hz]}
    has = tuple(name for name, here in (("video", frames), ("audio", heard)) if here)
    if has:
      yield Window(start, end, features, has)
