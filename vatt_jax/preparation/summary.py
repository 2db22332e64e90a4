"""What was accepted, rejected and why: as numbers for preparation.json and as a table for people."""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import importlib.metadata

from etils import epath

from vatt_jax.preparation.clips import Clip
from vatt_jax.preparation.units import Problem

PACKAGES = ("vatt_jax", "av", "pillow", "sentencepiece", "tensorflow-datasets", "array-record")
MOST_LINES = 20  # of problems in the printed table; preparation.json has all


@dataclasses.dataclass
class Count:
  """What one split holds."""

  clips: int = 0
  with_video: int = 0
  with_sound: int = 0
  with_captions: int = 0
  captions: int = 0
  captions_dropped: int = 0
  questions: int = 0

  def add(self, clip: Clip, *, dropped_captions: int) -> None:
    self.clips += 1
    self.with_video += bool(clip.frames)
    self.with_sound += bool(len(clip.samples))
    self.with_captions += bool(clip.captions)
    self.captions += len(clip.captions)
    self.captions_dropped += dropped_captions
    self.questions += len(clip.questions)


def describe(found, settings: Mapping, vocabulary_pieces: int) -> dict:
  """The content of preparation.json; the same for the same input, wherever and whenever it is made."""
  as_dicts = lambda problems: [dataclasses.asdict(p) for p in sorted(set(problems), key=dataclasses.astuple)]
  return {
    "accepted": found.accepted,
    "splits": {split: count.clips for split, count in found.counts.items()},
    "contents": {split: dataclasses.asdict(count) for split, count in found.counts.items()},
    "vocabulary_pieces": vocabulary_pieces,
    "labels": len(found.labels),
    "answers": len(found.answers),
    "rejected": as_dicts(found.rejected),
    "warnings": as_dicts(found.warnings),
    "options": dict(settings),
    "versions": {package: _version(package) for package in PACKAGES},
  }


def table(preparation: Mapping, output: epath.Path) -> str:
  """The report that `prepare` prints."""
  contents = preparation["contents"].values()
  names = [field.name for field in dataclasses.fields(Count)]
  names = [name for name in names if name != "questions" or any(count[name] for count in contents)]
  rows = [["split", *(name.replace("_", " ") for name in names)]]
  for split, count in preparation["contents"].items():
    rows.append([split, *(f"{count[name]:,}" for name in names)])
  total = {name: sum(count[name] for count in contents) for name in names}
  rows.append(["all", *(f"{total[name]:,}" for name in names)])
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  lines = ["  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]) for row in rows]
  for name in ("rejected", "warnings"):
    problems = [Problem(**problem) for problem in preparation[name]]
    lines += ["", f"{name}: {len(problems) or 'none'}", *_problem_lines(problems)]
  lines += ["", f"vocabulary: {preparation['vocabulary_pieces']:,} pieces"]
  lines += [f"{name}: {preparation[name]:,}" for name in ("labels", "answers") if preparation.get(name)]
  lines += [f"{name}: {_megabytes(output / name)}" for name in ("clips", ".work") if (output / name).exists()]
  return "\n".join(lines)


def _problem_lines(problems: Sequence[Problem]) -> list[str]:
  lines = [f"  {problem.file or '(the data set)'}: {problem.reason}" for problem in problems[:MOST_LINES]]
  if len(problems) > MOST_LINES:
    lines.append(f"  ... and {len(problems) - MOST_LINES:,} more in preparation.json")
    reasons = collections.Counter(problem.reason for problem in problems).most_common(3)
    lines += [f"  {count:,} times: {reason}" for reason, count in reasons if count > 1]
  return lines


def _megabytes(path: epath.Path) -> str:
  return f"{_bytes(path) / 1e6:,.1f} MB"


def _bytes(path: epath.Path) -> int:
  return sum(map(_bytes, path.iterdir())) if path.is_dir() else path.stat().length


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return "not installed"
