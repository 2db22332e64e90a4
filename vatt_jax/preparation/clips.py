"""The clip: what everything that prepares data makes, and what everything that trains reads.

The demo set, a folder, a manifest and a public data set all become `Clip`s; `records.py` stores them as the TFDS data
set `clips`. The layout is a contract: see WORKSPACE.md, "Records".
"""

import dataclasses

import numpy as np

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Caption:
  """A sentence and when it is said, in seconds from the start of its clip; whole-clip captions span the clip.

  Captions of the neighbourhood have times outside the clip, so `start` may be negative. `kind` is what it is about, such
  as "sound", "picture" or "both", where that is known.
  """

  text: str
  start: float
  end: float
  kind: str = ""


@dataclasses.dataclass(frozen=True)
class Question:
  """A question about a clip and its answer, "" where the answer is kept back."""

  text: str
  answer: str


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
  """One clip. What does not exist is empty: no frames, no samples, no captions, "".

  Attributes:
    key: unique and stable name; it decides the place of the record in the data set.
    split: "train", "validation", "test", or "" to let `splits.py` decide by source file.
    frames: JPEG bytes of each frame.
    timestamps: seconds from the clip's start, one for each frame, ascending.
    samples: int16 (S,), mono.
    sample_rate_hz: rate of `samples`.
    audio_start_seconds: time of the first sample from the clip's start (positive: the sound begins later).
    captions: what is said or written about the clip; its own captions first, then those nearest in time.
    language: BCP-47 code of the captions, or "".
    questions: what is asked about the clip. A clip has many: to repeat its frames for each of them would cost more.
    label: class name, or ""; several class names are joined by "|".
    source: the file or page that the clip comes from.
    start: seconds from the start of the source to the start of the clip.
    licence: licence of the media, or "".
  """

  key: str
  split: str = ""
  frames: tuple[bytes, ...] = ()
  timestamps: tuple[float, ...] = ()
  samples: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros([0], np.int16))
  sample_rate_hz: int = 48_000
  audio_start_seconds: float = 0.0
  captions: tuple[Caption, ...] = ()
  questions: tuple[Question, ...] = ()
  language: str = ""
  label: str = ""
  source: str = ""
  start: float = 0.0
  licence: str = ""
