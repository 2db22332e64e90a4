"""A table of clips, .csv, .tsv or .jsonl, as units."""

import collections
from collections.abc import Iterator
import csv
import dataclasses
import io
import json
import os
import pathlib

from vatt_jax.errors import UserError
from vatt_jax.preparation import captions, requests
from vatt_jax.preparation.digests import Digests
from vatt_jax.preparation.requests import MediaUnit, Request
from vatt_jax.preparation.units import Decoded, Options, Problem

COLUMNS = ("video", "audio", *requests.FIELDS)


def units(path: os.PathLike | str, options: Options, digests: Digests) -> tuple[list[MediaUnit], Decoded]:
  """The media files that a manifest names, each with all the clips that its rows ask for.

  Rows that name the same clip (files, times, label, language and split) give it several captions.

  Returns:
    The units, and the rows that cannot be used.

  Raises:
    UserError: the manifest cannot be read or has neither a column `video` nor `audio`.
  """
  path = pathlib.Path(path)
  problems = Decoded()
  wanted = collections.defaultdict(dict)  # (video, audio) -> request without captions -> (kind, caption)
  columns, missing = {}, set()
  for line, row in _rows(path):
    where = f"{path.name}:{line}"
    if isinstance(row, str):
      problems.rejected.append(Problem(where, row))
      continue
    row = {str(name).strip().lower(): value for name, value in row.items()}
    columns.update(dict.fromkeys(row))
    files = []
    for kind in ("video", "audio"):
      file = str(row.get(kind) or "").strip()
      file = os.path.normpath(file) if file and "://" not in file else file
      if file and (reason := _missing(file, path.parent)):
        if file not in missing:
          problems.rejected.append(Problem(file, f"{reason} ({where})"))
        missing.add(file)
        file = None
      files.append(file or None)
    try:
      request = requests.parse(row)
      if not any(files):
        if not (row.get("video") or row.get("audio")):
          raise ValueError("it names neither a video nor an audio file")
        continue  # Already among the missing.
    except ValueError as error:
      problems.rejected.append(Problem(where, str(error)))
      continue
    bare = dataclasses.replace(request, captions=(), captions_by_kind=())
    texts = [("", text) for text in request.captions] + list(request.captions_by_kind)
    wanted[tuple(files)].setdefault(bare, {}).update(dict.fromkeys(texts))
  if columns and not {"video", "audio"} & set(columns):
    raise UserError(f"{path} has neither a column `video` nor `audio`; its columns are {', '.join(columns)}.")
  for name in columns:
    if name not in COLUMNS and not requests.kind_of(name):
      problems.warnings.append(Problem(path.name, f"the column {name!r} is not known and not used"))
  return [_unit(path.parent, *files, asked, options, digests) for files, asked in wanted.items()], problems


def _unit(folder, video, audio, asked: dict[Request, dict[tuple[str, str], None]], options, digests) -> MediaUnit:
  place = lambda file: file and str(folder / file)
  return MediaUnit(
    name=" + ".join(file for file in (video, audio) if file),
    source=video or audio,
    video=place(video),
    audio=place(audio),
    audio_replaces=True,
    requests=tuple(
      dataclasses.replace(
        bare,
        captions=tuple(text for kind, text in texts if not kind),
        captions_by_kind=tuple((kind, text) for kind, text in texts if kind),
      )
      for bare, texts in asked.items()
    ),
    options=options,
    digests=digests,
  )


def _missing(file: str, folder: pathlib.Path) -> str:
  """Why a file that a row names cannot be opened, or ""."""
  if "://" in file:
    return "it is an address, not a file: download it first"
  return "" if (folder / file).is_file() else "there is no such file"


def _rows(path: pathlib.Path) -> Iterator[tuple[int, dict | str]]:
  """(line number, columns) of each row, or (line number, what is wrong with it)."""
  try:
    text = captions.read_text(path)
  except OSError as error:
    raise UserError(f"{path} cannot be read: {error.strerror}.") from error
  if path.suffix.lower() in (".jsonl", ".ndjson"):
    yield from _json_rows(text)
  else:
    yield from _csv_rows(text)


def _json_rows(text: str):
  for line, content in enumerate(text.split("\n"), 1):
    if not content.strip():
      continue
    try:
      row = json.loads(content)
    except ValueError as error:
      yield line, f"not JSON: {error}"
      continue
    yield line, row if isinstance(row, dict) else "not a JSON object"


def _csv_rows(text: str):
  header = text.lstrip().partition("\n")[0]
  reader = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=header.count), restval="")
  try:
    for row in reader:
      if None in row:
        yield reader.line_num, "it has more fields than the header (is a comma in a caption not inside quotes?)"
      else:
        yield reader.line_num, row
  except csv.Error as error:
    raise UserError(f"the manifest cannot be read near line {reader.line_num}: {error} (a quote left open?)") from error
