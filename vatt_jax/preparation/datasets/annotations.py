"""What an official annotation file says of a data set, and the folder in which it and the media lie."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import csv
import dataclasses
import fnmatch
import json
import math
import os
import pathlib
import re

from vatt_jax.errors import UserError
from vatt_jax.preparation.folder import SOUND, VIDEO, relative_name, walk
from vatt_jax.preparation.requests import Request

IMAGE = frozenset(".jpg .jpeg .png .webp .bmp .tif .tiff".split())
KINDS = (VIDEO, SOUND, IMAGE, {""})  # Preferred in this order; some downloads of images have no endings.
WHOLE = Request(start=0.0, end=math.inf)
CHUNK = 2**24  # characters of a JSON file that is too large to be read at once


@dataclasses.dataclass(frozen=True)
class Example:
  """One clip, as an annotation file describes it.

  Attributes:
    names: what its file may be called, as it was published; the first is what messages say. Endings are not compared,
      folders decide where several files have the name.
    request: what to cut out of it. A licence that it does not have is that of the data set.
    cut: names of a file that is this clip and nothing else, whatever the times of `request`; looked for first.
    within: words, one of which must be in the folders of its path; empty: any folder.
  """

  names: tuple[str, ...]
  request: Request
  cut: tuple[str, ...] = ()
  within: tuple[str, ...] = ()


class Folder:
  """A folder with annotations and media in any arrangement.

  Attributes:
    root: the folder.
    media: paths of the media, relative to `root`.

  Args:
    root: see above.
    layout: what it must hold, for messages.
    skip: a folder inside that does not belong to it.
  """

  def __init__(self, root: os.PathLike | str, layout: str, *, skip: os.PathLike | str | None = None):
    self.root, self._layout = pathlib.Path(root), layout
    self.media: list[str] = []
    self._annotations: list[pathlib.Path] = []
    self._by_stem: dict[str, list[str]] = {}
    endings = frozenset().union(*KINDS)
    for files in walk(self.root, skip):
      for file in files:
        if file.suffix.lower() in endings:
          path = relative_name(file, self.root)
          self.media.append(path)
          self._by_stem.setdefault(file.stem, []).append(path)
        else:
          self._annotations.append(file)

  def annotations(self, *patterns: str, columns: Sequence[str] = (), optional: bool = False) -> list[pathlib.Path]:
    """The files whose names match one of the patterns, without regard to case, and whose first line names `columns`.

    Raises:
      UserError: there are none, and they are not optional.
    """
    found = [f for f in self._annotations if any(fnmatch.fnmatch(f.name.lower(), p.lower()) for p in patterns)]
    found = [file for file in found if not columns or set(columns) <= _header(file)]
    if not found and not optional:
      what = " or ".join(patterns) + (f" with the columns {', '.join(columns)}" if columns else "")
      raise UserError(f"{self.root} holds no {what}. --manual_dir must hold {self._layout}.")
    return sorted(found)

  def find(self, names: Iterable[str], within: Sequence[str] = ()) -> str | None:
    """The path of the first of the names that is there."""
    for name in names:
      *folders, base = name.split("/")
      stems = dict.fromkeys((base, os.path.splitext(base)[0]))  # a.avi may have become a.mp4, or a.avi.mp4.
      hits = [path for stem in stems for path in self._by_stem.get(stem, ())]
      hits = [path for path in hits if not within or any(word in os.path.dirname(path).lower() for word in within)]
      if hits:
        return min(hits, key=lambda path: (-_shared(folders, path), _kind(path), path))
    return None


@dataclasses.dataclass(frozen=True)
class PublicDataset:
  """How to read a data set.

  Attributes:
    examples: (folder, variant) -> what its annotation files describe.
    layout: what its folder must hold, as the end of a sentence.
    licence: what its authors say about annotations and media.
    variants: its splits, folds or subsets, the usual one first.
    labels: folder -> class names in their official order; empty where there is none.
  """

  examples: Callable[[Folder, str], Iterable[Example]]
  layout: str
  licence: str
  variants: tuple[str, ...] = ("",)
  labels: Callable[[Folder], Sequence[str]] = lambda folder: ()


def table(
  path: pathlib.Path, *required: str, columns: Sequence[str] | None = None, delimiter: str = ","
) -> Iterator[dict[str, str]]:
  """The rows of a table, without spaces around the fields; lines that begin with # are comments.

  Args:
    path: the file.
    *required: columns that it must have.
    columns: their names, where the file has no header.
    delimiter: tabs are never quoted.

  Raises:
    UserError: it cannot be read or lacks a column.
  """
  quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
  try:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
      lines = file if columns is None else (line for line in file if not line.startswith("#"))
      reader = csv.DictReader(lines, columns, delimiter=delimiter, skipinitialspace=True, quoting=quoting, restval="")
      if lacking := [name for name in required if name not in (reader.fieldnames or ())]:
        raise UserError(f"{path} has no column {', '.join(lacking)}; it has {', '.join(reader.fieldnames or ())}.")
      for row in reader:
        yield {name: value.strip() for name, value in row.items() if name is not None}
  except (OSError, csv.Error) as error:
    raise UserError(f"{path} cannot be read: {error}") from error


def lines(path: pathlib.Path) -> list[str]:
  """The lines of a text file that say something."""
  return [line.strip() for line in path.read_text("utf-8-sig", errors="replace").splitlines() if line.strip()]


def read_json(path: pathlib.Path):
  """The content of a JSON file, or `UserError`."""
  try:
    return json.loads(path.read_text("utf-8-sig"))
  except (OSError, ValueError) as error:
    raise UserError(f"{path} cannot be read: {error}") from error


def json_items(path: pathlib.Path) -> Iterator[tuple[str, dict]]:
  """The items of a JSON object of objects, one at a time: the file may be larger than the memory."""
  decoder, text, place = json.JSONDecoder(), "", 0
  between, colon = re.compile(r"[\s,{]*"), re.compile(r"\s*:\s*")
  with path.open(encoding="utf-8-sig") as file:
    while True:
      try:
        place = between.match(text, place).end()
        if text[place : place + 1] == "}":
          return
        key, end = decoder.raw_decode(text, place)
        value, end = decoder.raw_decode(text, colon.match(text, end).end())
      except (ValueError, AttributeError) as error:  # It goes on in the next chunk.
        chunk = file.read(CHUNK)
        if not chunk:
          raise UserError(f"{path} cannot be read: it ends in the middle of an object.") from error
        text, place = text[place:] + chunk, 0
        continue
      place = end
      yield key, value


def _header(path: pathlib.Path) -> set[str]:
  with path.open(encoding="utf-8-sig", errors="replace") as file:
    return {name.strip() for name in file.readline().split(",")}


def _shared(folders: Sequence[str], path: str) -> int:
  return len(set(folders) & set(path.split("/")[:-1]))


def _kind(path: str) -> int:
  ending = os.path.splitext(path)[1].lower()
  return next(i for i, endings in enumerate(KINDS) if ending in endings)
