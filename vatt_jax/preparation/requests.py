"""What to cut out of a media file, and the cutting: `Request`s and a file become clips."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import hashlib
import math
import os
import re

import numpy as np

from vatt_jax.preparation import media as media_lib
from vatt_jax.preparation.captions import Cue, parse_seconds
from vatt_jax.preparation.clips import Caption, Clip, Question
from vatt_jax.preparation.digests import Digests
from vatt_jax.preparation.splits import ALIASES
from vatt_jax.preparation.units import Decoded, Options, Problem

FORMAT = 2  # Raised when the same input gives other clips than before, so that no cached ones are used.
_LOOK_SECONDS = 0.5  # Of a file, to estimate how large its clips will be.
FIELDS = ("caption", "captions", "start", "end", "label", "language", "split", "licence")
NEIGHBOURS = 4


@dataclasses.dataclass(frozen=True)
class Request:
  """One clip, or where `start` or `end` is open, windows of `Options.clip_seconds`.

  Attributes:
    start, end: seconds from time 0 of the file, or None; an infinite `end` is that of the file.
    captions: of the clip as a whole (of each window).
    captions_by_kind: more of them, each with what it is about: ("sound", "a dog barks").
    neighbours: what is said before and after, in seconds from time 0 of the file.
    questions, label, language, split, licence: as in `Clip`.
  """

  start: float | None = None
  end: float | None = None
  captions: tuple[str, ...] = ()
  captions_by_kind: tuple[tuple[str, str], ...] = ()
  neighbours: tuple[Cue, ...] = ()
  questions: tuple[Question, ...] = ()
  label: str = ""
  language: str = ""
  split: str = ""
  licence: str = ""

  @property
  def is_one_clip(self) -> bool:
    return self.start is not None and self.end is not None


def parse(fields: Mapping[str, object]) -> Request:
  """A request from a manifest's row or a JSON sidecar; keys other than `FIELDS` and `caption_<kind>` are not looked at.

  Raises:
    ValueError: a time or split that means nothing, with a sentence that says which.
  """
  given = {name: fields[name] for name in FIELDS if fields.get(name) not in (None, "", [])}
  times = {}
  for name in ("start", "end"):
    try:
      times[name] = parse_seconds(given[name]) if name in given else None
    except ValueError:
      raise ValueError(f"{name} {given[name]!r} is not a time (seconds or H:MM:SS)") from None
  if None not in times.values() and times["end"] <= times["start"]:
    raise ValueError(f"end {times['end']:g} is not after start {times['start']:g}")
  split = ALIASES.get(str(given.get("split", "")).strip().lower(), "")
  if "split" in given and not split:
    raise ValueError(f"split {given['split']!r} is not train, validation or test")
  captions = [*_texts(given.get("caption")), *_texts(given.get("captions"))]
  kinds = {name: kind for name in fields if (kind := kind_of(name))}
  return Request(
    **times,
    captions=tuple(dict.fromkeys(captions)),
    captions_by_kind=tuple(dict.fromkeys((kinds[name], text) for name in kinds for text in _texts(fields[name]))),
    label=_label(given.get("label", "")),
    language=str(given.get("language", "")).strip(),
    split=split,
    licence=str(given.get("licence", "")).strip(),
  )


def kind_of(field: str) -> str:
  """What a field `caption_<kind>` is about, "" for all other fields."""
  found = re.fullmatch(r"caption_([a-z0-9]+)", field)
  return found[1] if found else ""


def _texts(value: object) -> list[str]:
  """One caption or a list of them, without empty ones."""
  given = value if isinstance(value, list) else [] if value is None else [value]
  return [text for each in given if (text := " ".join(str(each).split()))]


def _label(value: object) -> str:
  """Names of classes, each once, joined by `|`; given so or as a list."""
  parts = [part for name in (value if isinstance(value, list) else [value]) for part in str(name).split("|")]
  return "|".join(dict.fromkeys(name for part in parts if (name := " ".join(part.split()))))


def of_cues(cues: Sequence[Cue], like: Request) -> list[Request]:
  """One request for every cue (by start time), with the cues nearest in time as neighbours and the rest from `like`."""
  centre = lambda cue: (cue.start + cue.end) / 2
  requests = []
  for i, cue in enumerate(cues):
    around = [*cues[max(0, i - NEIGHBOURS) : i], *cues[i + 1 : i + 1 + NEIGHBOURS]]
    nearest = sorted(around, key=lambda other, cue=cue: abs(centre(other) - centre(cue)))[:NEIGHBOURS]
    requests.append(
      dataclasses.replace(like, start=cue.start, end=cue.end, captions=(cue.text,), neighbours=tuple(nearest))
    )
  return requests


def windows(start: float, end: float, length: float) -> Iterator[tuple[float, float]]:
  """Windows of `length` from `start` without overlap; a tail of at least half is kept, and so is a short file."""
  whole = math.floor((end - start) / length + 1e-3)
  tail_start = start + whole * length
  for i in range(whole):
    yield start + i * length, start + (i + 1) * length
  if end - tail_start >= length / 2 or (whole == 0 and end > start):
    yield tail_start, end


@dataclasses.dataclass
class MediaUnit:
  """A video, a sound file, or a pair, and what to cut out of it.

  Attributes:
    name: what messages and keys call it; unique.
    source: path of the video, or of the sound, relative to the folder or manifest.
    video, audio: local paths or None; one of them is given.
    audio_replaces: `audio` is heard instead of the video's own sound, not only where the video has none.
    requests: what to cut.
    options: how.
    digests: reads the files' contents for `identity`.
  """

  name: str
  source: str
  video: str | None
  audio: str | None
  audio_replaces: bool
  requests: Sequence[Request]
  options: Options
  digests: Digests = dataclasses.field(default_factory=Digests, repr=False)

  def identity(self) -> str:
    files = [path and self.digests.of(path) for path in (self.video, self.audio)]
    everything = (FORMAT, files, self.name, self.source, self.audio_replaces, self.requests, self.options)
    return hashlib.sha256(repr(everything).encode("utf-8", "backslashreplace")).hexdigest()

  def expected_bytes(self) -> float:
    """About how many bytes its clips will have, from its first half second and what its header says."""
    try:
      look = media_lib.read(self.video or self.audio, self.options, intervals=[(0.0, _LOOK_SECONDS)])
    except media_lib.Unreadable:
      return 0.0
    ends = [look.declared_seconds if request.end in (None, math.inf) else request.end for request in self.requests]
    seconds = sum(max(0.0, end - (request.start or 0.0)) for request, end in zip(self.requests, ends))
    a_frame = np.mean([len(frame) for frame in look.frames] or [0])
    frames = max(
      1.0, seconds * len(look.frames) / max(1 / self.options.frames_per_second, min(_LOOK_SECONDS, look.picture_end))
    )
    has_sound = look.sound or self.audio
    return float(frames * a_frame + seconds * bool(has_sound) * 2 * self.options.sample_rate_hz)

  def decode(self) -> Decoded:
    decoded = Decoded()
    media = self._read(decoded)
    if media is None:
      return decoded
    lost, keys = 0, set()
    for request in self.requests:
      start, end = request.start or 0.0, media.end if request.end in (None, math.inf) else request.end
      spans = [(start, end)] if request.is_one_clip else windows(start, min(end, media.end), self.options.clip_seconds)
      for start, end in spans:
        if clip := _cut(media, request, start, end, self, keys):
          decoded.clips.append(clip)
        else:
          lost += request.is_one_clip
    if not decoded.clips:
      decoded.rejected.append(Problem(self.name, f"no clip of it has picture or sound (it ends at {media.end:.2f} s)"))
    elif lost:
      reason = f"{lost} of {len(self.requests)} clips lie where it has neither picture nor sound"
      decoded.warnings.append(Problem(self.name, f"{reason} (it ends at {media.end:.2f} s)"))
    return decoded

  def _read(self, decoded: Decoded) -> media_lib.Media | None:
    """Picture and sound together; problems go to `decoded`, None where nothing is left."""
    intervals = None
    if all(request.is_one_clip and request.end < math.inf for request in self.requests):
      intervals = [(request.start, request.end) for request in self.requests]

    def read(path, **what):
      name = self.name if path == self.video or not self.video else f"{self.name} ({os.path.basename(path)})"
      try:
        media = media_lib.read(path, self.options, intervals=intervals, **what)
      except media_lib.Unreadable as error:
        decoded.rejected.append(Problem(name, str(error)))
        return None
      decoded.warnings += [Problem(name, warning) for warning in media.warnings]
      return media

    both = self.video and self.audio
    media = read(self.video, sound=not (both and self.audio_replaces)) if self.video else None
    if self.audio and media and media.sound:
      decoded.warnings.append(Problem(self.name, "it has sound of its own, so the sound file beside it is not used"))
    elif self.audio:
      sound = read(self.audio, picture=False)
      if media and sound:
        media.sound = sound.sound
      media = media or sound
    return media


def _cut(
  media: media_lib.Media, request: Request, start: float, end: float, unit: MediaUnit, keys: set[str]
) -> Clip | None:
  """The clip [start, end) of a file; None where there is nothing to see or hear. Its key is added to `keys`."""
  timestamps, frames = media.pictures_between(start, end)
  sound_start, samples = media.sound_between(start, end)
  if not np.any(samples):  # Digital silence is no sound.
    sound_start, samples = 0.0, samples[:0]
  if not frames and not len(samples):
    return None
  key = base = f"{unit.name}#{start:.3f}-{end:.3f}"
  count = 1
  while key in keys:  # The same stretch again, with other captions.
    count += 1
    key = f"{base}~{count}"
  keys.add(key)
  captions = [Caption(text, 0.0, end - start) for text in request.captions]
  captions += [Caption(text, 0.0, end - start, kind) for kind, text in request.captions_by_kind]
  captions += [Caption(cue.text, cue.start - start, cue.end - start) for cue in request.neighbours]
  return Clip(
    key=key,
    split=request.split,
    frames=tuple(frames),
    timestamps=tuple(timestamps),
    samples=samples,
    sample_rate_hz=media.sample_rate_hz,
    audio_start_seconds=sound_start,
    captions=tuple(captions),
    language=request.language,
    label=request.label,
    questions=request.questions,
    source=unit.source,
    start=start,
    licence=request.licence,
  )
