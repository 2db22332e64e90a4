"""A folder of videos and sound files, with captions beside them, as units."""

import collections
import dataclasses
import json
import os
import pathlib
import re

from vatt_jax.preparation import captions, requests
from vatt_jax.preparation.digests import Digests
from vatt_jax.preparation.requests import MediaUnit, Request
from vatt_jax.preparation.splits import ALIASES
from vatt_jax.preparation.units import Decoded, Options, Problem

VIDEO = frozenset(
  ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .gif .h264 .hevc .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut "
  ".ogv .rm .rmvb .ts .vob .webm .wmv .y4m".split()
)
SOUND = frozenset(
  ".aac .ac3 .aif .aiff .amr .au .caf .flac .m4a .mka .mp2 .mp3 .oga .ogg .opus .wav .weba .wma .wv".split()
)
SUBTITLES = frozenset((".srt", ".vtt"))
CAPTIONS = SUBTITLES | {".txt", ".json"}
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclasses.dataclass(frozen=True)
class Sidecar:
  """A caption file beside a media file; `language` is the one in its name, or ""."""

  path: pathlib.Path
  language: str


def units(
  source: os.PathLike | str, options: Options, digests: Digests, *, skip: os.PathLike | str | None = None
) -> tuple[list[MediaUnit], Decoded]:
  """All media below `source`.

  A video and a sound file of the same name in the same folder are one unit. Hidden files, files that are neither media
  nor captions, and everything in the folder `skip` are passed over.

  Returns:
    The units, and the problems of caption files.
  """
  root = pathlib.Path(source)
  found, problems = [], Decoded()
  for files in walk(root, skip):
    media = [file for file in files if file.suffix.lower() in VIDEO | SOUND]
    beside, orphans = _sidecars(files, media)
    problems.warnings += [Problem(relative_name(path, root), "there is no media file of this name") for path in orphans]
    by_stem = collections.defaultdict(lambda: ([], []))
    for file in media:
      by_stem[file.stem][file.suffix.lower() in SOUND].append(file)
    for videos, sounds in by_stem.values():
      pairs = [(video, sounds[0] if sounds else None) for video in videos]
      pairs += [(None, sound) for sound in (sounds[1:] if videos else sounds)]
      for video, sound in pairs:
        name = relative_name(video or sound, root)
        wanted, warnings = _requests((video or sound), beside, name)
        problems.warnings += warnings
        found.append(
          MediaUnit(name, name, video and str(video), sound and str(sound), False, tuple(wanted), options, digests)
        )
  return found, problems


def walk(root: pathlib.Path, skip):
  """The files, by name, of every folder below `root`, each once even where links make circles."""
  skip = skip and os.path.realpath(skip)
  seen = set()
  for folder, subfolders, files in os.walk(root, followlinks=True):
    real = os.path.realpath(folder)
    if real in seen or real == skip:
      subfolders.clear()
      continue
    seen.add(real)
    subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
    yield [pathlib.Path(folder, name) for name in sorted(files) if not name.startswith(".")]


def _sidecars(files, media) -> tuple[dict[pathlib.Path, list[Sidecar]], list[pathlib.Path]]:
  """The caption files of each media file, and the subtitles that belong to none."""
  by_name = collections.defaultdict(list)
  for file in media:
    by_name[file.stem].append(file)
    by_name[file.name].append(file)  # talk.mp4.srt is seen too
  beside, orphans = collections.defaultdict(list), []
  for file in files:
    if file.suffix.lower() not in CAPTIONS:
      continue
    stem, dot, language = file.stem.rpartition(".")
    if file.stem in by_name:
      for owner in by_name[file.stem]:
        beside[owner].append(Sidecar(file, ""))
    elif dot and LANGUAGE.fullmatch(language) and stem in by_name:
      for owner in by_name[stem]:
        beside[owner].append(Sidecar(file, language))
    elif file.suffix.lower() in SUBTITLES:
      orphans.append(file)
  return beside, orphans


def _requests(file: pathlib.Path, beside, name: str) -> tuple[list[Request], list[Problem]]:
  """What the captions beside a file ask for; without any, windows labelled with the name of the file's folder."""
  *folders, _ = pathlib.PurePosixPath(name).parts
  split = ALIASES.get(folders[0].lower(), "") if folders else ""
  warnings = []
  described, found = [], []
  for sidecar in beside.get(file, ()):
    kind = sidecar.path.suffix.lower()
    like = Request(language=sidecar.language)
    problem = lambda reason, path=sidecar.path: warnings.append(Problem(_beside(name, path), reason))
    try:
      if kind == ".json":
        described += _read_json(sidecar.path, problem)
        continue
      text = captions.read_text(sidecar.path)
    except (OSError, ValueError) as error:
      problem(f"cannot be read, so it is not used: {error}")
      continue
    if kind == ".txt":
      lines = captions.parse_lines(text)
      found += [dataclasses.replace(like, captions=lines)] if lines else []
    else:
      cues = captions.parse_cues(text)
      found += requests.of_cues(cues, like)
      if not cues:
        problem("holds no subtitles")
  wanted = _merge(described, found)
  label = folders[-1] if len(folders) > bool(split) else ""
  if any(request.captions or request.captions_by_kind or request.label for request in wanted):
    label = ""
  return [
    dataclasses.replace(request, split=request.split or split, label=request.label or label) for request in wanted
  ], warnings


def _merge(described: list[Request], found: list[Request]) -> list[Request]:
  """JSON says it all, except where it describes the whole file and leaves the captions to the other files."""
  if not found:
    return described or [Request()]
  if not described:
    return found
  about, *more = described
  if more or about.captions or about.captions_by_kind or about.start is not None or about.end is not None:
    return described
  return [
    dataclasses.replace(request, label=about.label, split=about.split, language=request.language or about.language)
    for request in found
  ]


def _read_json(path: pathlib.Path, problem) -> list[Request]:
  content = json.loads(captions.read_text(path))
  wanted = []
  for i, item in enumerate(content if isinstance(content, list) else [content]):
    if not isinstance(item, dict):
      problem(f"item {i} is not an object, so it is not used")
      continue
    if not any(name in requests.FIELDS or requests.kind_of(name) for name in item):
      problem(f"item {i} has none of the keys {', '.join(requests.FIELDS)}, so it is not used")
      continue
    try:
      wanted.append(requests.parse(item))
    except ValueError as error:
      problem(f"item {i} is not used: {error}")
  return wanted


def relative_name(path: pathlib.Path, root: pathlib.Path) -> str:
  """The path relative to the source, as text that can be stored: a name need not be UTF-8."""
  return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


def _beside(name: str, path: pathlib.Path) -> str:
  return str(pathlib.PurePosixPath(name).with_name(path.name))
