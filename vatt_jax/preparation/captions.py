"""Caption files: SubRip, WebVTT and plain text, read as forgivingly as players do."""

import dataclasses
import html
import os
import pathlib
import re

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d{1,6})?)"
_TIMING = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}")
_TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")  # <i>, <c.yellow>, <00:00:01.500>, and the {\an8} of SubStation Alpha
ROLLING_SECONDS = 0.1


@dataclasses.dataclass(frozen=True)
class Cue:
  """A line of a subtitle file; times in seconds from the start of the media file."""

  text: str
  start: float
  end: float


def read_text(path: os.PathLike | str) -> str:
  """The text of a file in UTF-8, in UTF-16 with a byte order mark, or else in Windows-1252, which never fails."""
  content = pathlib.Path(path).read_bytes()
  if content.startswith((b"\xff\xfe", b"\xfe\xff")):
    return content.decode("utf-16", errors="replace")
  try:
    return content.decode("utf-8-sig")
  except UnicodeDecodeError:
    return content.decode("cp1252", errors="replace")


def parse_cues(text: str) -> list[Cue]:
  """The cues of an .srt or .vtt file by start time; what is not a cue (headers, notes, styles) is passed over.

  A cue is a line `[H:]MM:SS.mmm --> [H:]MM:SS.mmm` and the lines below it as far as the next empty line. Tags are
  taken out. Cues without text or whose end is not after their start are left out. Where subtitles roll, that is, a
  cue begins with the last line of the cue just before it, the line counts once.
  """
  cues, last_line, last_end = [], None, float("-inf")
  for start, end, lines in _blocks(text):
    words = [line for line in map(_clean, lines) if line]
    if not words:
      continue
    newest = words[-1]
    rolls = last_line is not None and start - last_end < ROLLING_SECONDS and words[0] == last_line
    if rolls and (len(words) > 1 or end - start < ROLLING_SECONDS):
      words = words[1:]
    last_line, last_end = newest, end
    if words and end > start:
      cues.append(Cue(" ".join(words), start, end))
  return sorted(cues, key=lambda cue: (cue.start, cue.end))


def parse_lines(text: str) -> tuple[str, ...]:
  """The captions of a .txt file: its lines that are not empty."""
  return tuple(line for line in (" ".join(line.split()) for line in text.splitlines()) if line)


def parse_seconds(text: str | int | float) -> float:
  """Seconds from a number, "12.5", "MM:SS" or "H:MM:SS.mmm"; ValueError for anything else."""
  text = str(text).strip()
  match = re.fullmatch(_TIME, text)
  seconds = _seconds(*match.groups()) if match else float(text)
  if not 0 <= seconds < float("inf"):
    raise ValueError(f"{text} is not a time in seconds")
  return seconds


def _blocks(text: str):
  """(start, end, lines) of each cue."""
  timing, lines = None, []
  for line in [*text.splitlines(), ""]:
    if match := _TIMING.match(line):
      if timing:  # No empty line before this cue: the line above is its number.
        yield *timing, lines[:-1] if lines and lines[-1].strip().isdigit() else lines
      times = match.groups()
      timing, lines = (_seconds(*times[:3]), _seconds(*times[3:])), []
    elif timing and line.strip():
      lines.append(line)
    elif timing:
      yield *timing, lines
      timing, lines = None, []


def _seconds(hours: str | None, minutes: str, seconds: str) -> float:
  return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))


def _clean(line: str) -> str:
  return " ".join(html.unescape(_TAG.sub("", line)).split())
