"""Units: the pieces of a source that are decoded, cached and retried one by one."""

import dataclasses
from typing import Protocol

from vatt_jax.preparation.clips import Clip


@dataclasses.dataclass(frozen=True)
class Options:
  """What shapes the clips of media files.

  Attributes:
    clip_seconds: length of the windows that a file without times is cut into.
    frames_per_second: most frames that are kept of a second.
    short_side: most pixels of a frame's shorter side; small pictures stay as they are.
    sample_rate_hz: rate of the samples.
  """

  clip_seconds: float = 10.0
  frames_per_second: float = 10.0
  short_side: int = 256
  sample_rate_hz: int = 48_000


@dataclasses.dataclass(frozen=True)
class Problem:
  """A file and one sentence about what is wrong with it."""

  file: str
  reason: str


@dataclasses.dataclass
class Decoded:
  """What one unit became: its clips, the files that could not be used at all, and those used only in part."""

  clips: list[Clip] = dataclasses.field(default_factory=list)
  rejected: list[Problem] = dataclasses.field(default_factory=list)
  warnings: list[Problem] = dataclasses.field(default_factory=list)


class Unit(Protocol):
  """One independent piece of work; picklable, since worker processes decode units.

  Attributes:
    name: how messages call it, mostly a path relative to the source.
  """

  name: str

  def identity(self) -> str:
    """Hex digest of the contents of every file the unit reads and of every option that shapes its clips."""

  def decode(self) -> Decoded:
    """Reads the media. Bad media end up in `rejected` or `warnings`; an exception is a bug."""
