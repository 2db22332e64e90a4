"""Pictures and sound of one media file, by their own timestamps and whatever state the file is in.

Nothing that a container claims is trusted: not durations, not frame rates, not seek tables. A file is read once from
its beginning, packet by packet; a packet that does not decode costs that packet. Time 0 is the earliest first timestamp
of the picture and sound that are read, which is where players start and what subtitles refer to.
"""

import bisect
import collections
from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import io
import math
import os

import av
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter
import numpy as np
from PIL import Image

from vatt_jax.preparation import pool
from vatt_jax.preparation.units import Options

JPEG_QUALITY = 90
GAP_SECONDS = 0.1  # Sound whose timestamps jump further than this did not follow on; less is jitter of the container.
LEAP_SECONDS = 10.0  # A jump further than this has to be confirmed by the next frame.
LONGEST_GAP_SECONDS = 3600.0  # A jump further than this is a broken timestamp, not silence.
PROBE_PACKETS, PROBE_BYTES, PROBE_FRAMES = 2000, 1 << 26, 100  # Frames of streams that do not tell the time, above all.
MOST_FAILED_READS = 100
SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
HALF_COLOURS = ("yuv420p", "yuvj420p")
EXACT_SOUND = ("wav", "flac", "ogg", "mov,mp4,m4a,3gp,3g2,mj2")
SAMPLES = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64}
LOWEST_RATE_HZ = 1000  # Sound below is that of a broken header: a minute of real sound would last for days.
SILENCE = 1  # Largest absolute sample of digital silence: some decoders leave a rounding error.

av.logging.set_level(av.logging.PANIC)


class Unreadable(Exception):
  """Nothing can be had from the file; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Segment:
  """Sound without a gap: int16 (S,) and the time of its first sample in seconds."""

  start: float
  samples: np.ndarray


@dataclasses.dataclass
class Media:
  """What a file holds, times in seconds from its time 0.

  Attributes:
    frames_per_second: most frames that were kept of a second.
    sample_rate_hz: of the sound.
    times: of the frames, ascending.
    frames: JPEG bytes.
    picture_end: end of the last frame; 0 without pictures.
    sound: segments by time; they do not overlap.
    declared_seconds: how long the file says it is, which may be wrong; 0 where it does not say.
    warnings: what could not be used.
  """

  frames_per_second: float
  sample_rate_hz: int
  times: list[float] = dataclasses.field(default_factory=list)
  frames: list[bytes] = dataclasses.field(default_factory=list)
  picture_end: float = 0.0
  sound: list[Segment] = dataclasses.field(default_factory=list)
  declared_seconds: float = 0.0
  warnings: list[str] = dataclasses.field(default_factory=list)

  @property
  def end(self) -> float:
    """Where the longer of picture and sound ends."""
    return max([self.picture_end, *(s.start + len(s.samples) / self.sample_rate_hz for s in self.sound[-1:])])

  def pictures_between(self, start: float, end: float) -> tuple[list[float], list[bytes]]:
    """Seconds from `start` and JPEG bytes of the frames of [start, end).

    Where frames are far apart, the one that is already on the screen at `start` comes first, at 0 seconds.
    """
    first, last = np.searchsorted(self.times, [start - 1e-6, end - 1e-6]).tolist()
    next_change = self.times[first] if first < len(self.times) else self.picture_end
    if first and next_change - start > 2 / self.frames_per_second:
      first -= 1
    return [max(0.0, time - start) for time in self.times[first:last]], self.frames[first:last]

  def sound_between(self, start: float, end: float) -> tuple[float, np.ndarray]:
    """Seconds from `start` to the first sample, and int16 samples; gaps inside are zeros, the ends have none."""
    rate, pieces = self.sample_rate_hz, []
    for segment in self.sound:
      first = max(0, math.ceil((start - segment.start) * rate - 1e-3))
      last = min(len(segment.samples), math.ceil((end - segment.start) * rate - 1e-3))
      if first < last:
        pieces.append((segment.start + first / rate - start, segment.samples[first:last]))
    if len(pieces) == 1:
      return pieces[0]
    if not pieces:
      return 0.0, np.zeros([0], np.int16)
    begin = pieces[0][0]
    places = [round((time - begin) * rate) for time, _ in pieces]
    samples = np.zeros([places[-1] + len(pieces[-1][1])], np.int16)
    for place, (_, piece) in zip(places, pieces):
      samples[place : place + len(piece)] = piece
    return begin, samples


def read(
  path: str,
  options: Options,
  *,
  picture: bool = True,
  sound: bool = True,
  intervals: Sequence[tuple[float, float]] | None = None,
) -> Media:
  """Decodes a media file once, from its beginning to its end or to the end of the last interval.

  Args:
    path: a local file.
    options: size and rates.
    picture, sound: which to read, where the file has it.
    intervals: (start, end) in seconds; frames outside are not kept. None keeps the whole file.

  Raises:
    Unreadable: no frame and no sample of the file can be had, with the reason.
  """
  media = Media(options.frames_per_second, options.sample_rate_hz)
  with _open(path) as container:
    streams, media.warnings = _choose_streams(container, picture, sound)
    if not streams:
      raise Unreadable("; ".join(media.warnings) or f"it has no {' and no '.join(_names(picture, sound))}")
    media.declared_seconds = (container.duration or 0) / av.time_base
    origin, decoded = _decoded(_packets(container, streams, media.warnings), streams)
    wanted = _Intervals(intervals)
    sinks = {}
    for stream in streams:
      sinks[stream.index] = _Pictures(stream, media, options, wanted) if stream.type == "video" else _Sound(media)
    _pump(decoded, sinks, origin, wanted, media)
    if intervals is None:
      _check_duration(container, origin, media)
  if media.sound and all(np.max(np.abs(s.samples.astype(np.int32)), initial=0) <= SILENCE for s in media.sound):
    media.sound = []
    media.warnings.append("its sound is digital silence and counts as absent")
  if not media.picture_end and not media.sound:
    raise Unreadable("; ".join(media.warnings) or "no frame of it can be decoded")
  return media


def _names(picture: bool, sound: bool) -> list[str]:
  return [name for name, asked in (("picture", picture), ("sound", sound)) if asked]


def _open(path: str):
  try:
    if os.path.getsize(path) == 0:
      raise Unreadable("it is empty (0 bytes)")
    # No network: a play list in the guise of a film may name any address. Absolute: "a:b.mp4" looks like a protocol.
    return av.open(os.path.abspath(path), metadata_errors="replace", options={"protocol_whitelist": "file"})
  except OSError as error:  # av's errors of the file system are OSErrors too.
    raise Unreadable(f"it cannot be read: {error.strerror}") from error
  except (av.FFmpegError, ValueError) as error:
    raise Unreadable(f"it is not a media file, or its beginning or index is missing ({_reason(error)})") from error


def _reason(error: Exception) -> str:
  return getattr(error, "strerror", None) or str(error)


def _choose_streams(container, picture: bool, sound: bool):
  """The picture and the sound to read, and warnings about those that nothing here can decode."""
  chosen, warnings = [], []
  for kind in [kind for kind, asked in (("video", picture), ("audio", sound)) if asked]:
    candidates = [s for s in container.streams if s.type == kind and not s.disposition & Disposition.attached_pic]
    decodable = [stream for stream in candidates if stream.codec_context is not None]
    if candidates and not decodable:
      warnings.append(f"there is no decoder for its {kind}")
    if decodable:
      # What players open: the first that is marked as default, else the first with the largest picture.
      stream = max(decodable, key=lambda s: (bool(s.disposition & Disposition.default), getattr(s, "width", 0)))
      stream.codec_context.thread_count = 1  # One process a file keeps every core busy already.
      chosen.append(stream)
  return chosen, warnings


def _packets(container, streams, warnings: list[str] | None = None) -> Iterator[av.Packet]:
  """Packets to the end of the file, going on behind places that cannot be read."""
  failures = 0
  while True:
    try:
      yield from container.demux(streams)
      break
    except IndexError:  # A packet of a stream that began after the file was opened; nobody asked for it.
      continue
    except (av.FFmpegError, ValueError) as error:
      failures, reason = failures + 1, _reason(error)
      if failures > MOST_FAILED_READS:
        break
  if failures and warnings is not None:
    warnings.append(f"{failures} places in it cannot be read ({reason})")


def _decode(packet) -> list | None:
  """The frames of a packet; None where it does not decode."""
  try:
    return packet.decode()
  except av.EOFError:
    return []
  except (av.FFmpegError, ValueError, RuntimeError):
    return None


def _decoded(packets: Iterator[av.Packet], streams) -> tuple[float, Iterator[tuple[av.Packet, list | None]]]:
  """The earliest first timestamp of the streams, as decoded: headers have wrong ones. And packets with their frames.

  Each packet is decoded once, in its turn: at the beginning until its stream has a first frame, and then as they are asked for.
  """
  first, early, size, held = {}, [], 0, 0
  for packet in packets:
    waits = packet.stream.index in first
    frames = None if waits else _decode(packet)
    early.append((packet, waits, frames))
    size += packet.size
    for frame in frames or ():
      if frame.time is not None:
        first.setdefault(packet.stream.index, frame.time)
    held += len(frames or ())
    if len(first) == len(streams) or len(early) > PROBE_PACKETS or size > PROBE_BYTES or held > PROBE_FRAMES:
      break

  def everything():
    for packet, waits, frames in early:
      yield packet, _decode(packet) if waits else frames
    for packet in packets:
      yield packet, _decode(packet)

  return min(first.values(), default=0.0), everything()


def _pump(
  decoded: Iterator[tuple[av.Packet, list | None]], sinks, origin: float, wanted: "_Intervals", media: Media
) -> None:
  """Sends every frame of the file to the sink of its stream."""
  packets, failed = collections.Counter(), collections.Counter()
  leaps = {index: _Leaps() for index in sinks}
  behind = dict.fromkeys(sinks, False)  # Which streams have passed the last interval.
  for packet, frames in decoded:
    kind, sink = packet.stream.type, sinks[packet.stream.index]
    packets[kind] += packet.size > 0
    pool.moving()
    failed[kind] += frames is None
    for found in frames or ():
      found_time = None if found.time is None else found.time - origin
      for frame, time in leaps[packet.stream.index].confirm(found, found_time):
        sink.push(frame, time)
        behind[packet.stream.index] = time is not None and time > wanted.end
    if all(behind.values()):
      break
  for index, sink in sinks.items():
    for frame, time in leaps[index].rest():
      sink.push(frame, time)
    sink.finish()
  for kind, count in failed.items():
    if count:
      media.warnings.append(f"{count} of {packets[kind]} {kind} packets do not decode")


def _check_duration(container, origin: float, media: Media) -> None:
  """Warns where the file ends before its header says; headers of bare sound streams only estimate."""
  declared = media.declared_seconds
  if "matroska" in container.format.name:
    declared -= max(0.0, origin)  # Counted from 0, not from the first timestamp.
  if declared - media.end > max(1.0, 0.05 * declared) and (media.times or container.format.name in EXACT_SOUND):
    media.warnings.append(f"it ends after {media.end:.2f} s, although its header says {declared:.2f} s")


class _Leaps:
  """Holds a frame that leaps ahead until the next one says that time really is there; else one wrong timestamp would
  make all that follows look late."""

  def __init__(self):
    self._held, self._last = [], None

  def confirm(self, frame, time: float | None) -> list[tuple]:
    """The frames that may go on, with their times."""
    held, self._held = self._held, []
    if held and time is not None and time < held[0][1]:
      held = []  # Time is not there.
    self._last = held[0][1] if held else self._last
    if time is not None and self._last is not None and time - self._last > LEAP_SECONDS:
      self._held = [(frame, time)]
      return held
    self._last = self._last if time is None else time
    return [*held, (frame, time)]

  def rest(self) -> list[tuple]:
    return self._held


class _Intervals:
  """Which stretches of a file are wanted."""

  def __init__(self, intervals: Sequence[tuple[float, float]] | None):
    self._starts, self._ends = [], []
    for start, end in sorted(intervals if intervals is not None else [(-math.inf, math.inf)]):
      if self._ends and start <= self._ends[-1]:
        self._ends[-1] = max(end, self._ends[-1])
      else:
        self._starts.append(start)
        self._ends.append(end)

  @property
  def end(self) -> float:
    return self._ends[-1] if self._ends else -math.inf

  def touch(self, start: float, end: float) -> bool:
    """Whether [start, end) has something of an interval."""
    i = bisect.bisect_right(self._ends, start)
    return i < len(self._ends) and self._starts[i] < end


class _Pictures:
  """Keeps the frames that are on the screen at multiples of 1 / frames_per_second, each once, at its own time.

  So nothing is repeated or invented: a steady 25 per second becomes 10, a slide show of one picture in 5 seconds stays
  that, and a container that lies about its rate is not asked.
  """

  def __init__(self, stream, media: Media, options: Options, wanted: _Intervals):
    self._media, self._options, self._wanted = media, options, wanted
    self._period = 1 / float(stream.average_rate or options.frames_per_second)
    self._aspect = float(stream.sample_aspect_ratio or 1)
    if not 0.25 <= self._aspect <= 4:
      self._aspect = 1.0
    self._frame, self._time, self._first, self._count = None, 0.0, 0.0, 0
    self._unordered = self._failed = 0
    self._scaler, self._converter = VideoReformatter(), VideoReformatter()

  def push(self, frame, time: float | None) -> None:
    if self._frame is None:
      self._first = time = max(0.0, time or 0.0)
    else:
      time = self._time + self._period if time is None else time
      if not self._time < time < self._time + LONGEST_GAP_SECONDS:
        self._unordered += 1
        return
      self._keep(time)
    self._frame, self._time, self._count = frame, time, self._count + 1

  def finish(self) -> None:
    if self._frame is None:
      return
    if self._count > 1:
      self._period = (self._time - self._first) / (self._count - 1)
    self._media.picture_end = self._time + self._period
    self._keep(self._media.picture_end)
    if self._failed:
      self._media.warnings.append(f"{self._failed} of its frames are in no format that can be converted")
      if not self._media.times:
        self._media.picture_end = 0.0
    if self._unordered:
      self._media.warnings.append(f"{self._unordered} of its frames have timestamps out of order and are left out")

  def _keep(self, until: float) -> None:
    """Stores the last frame if it is on the screen at a multiple of the period; `until` is when the next one comes."""
    tick = lambda time: math.ceil(time * self._options.frames_per_second - 0.01)
    alone = not self._media.times and self._count == 1
    if (tick(self._time) < tick(until) or alone) and self._wanted.touch(self._time, until):
      try:
        self._media.frames.append(self._to_jpeg(self._frame))
      except (av.FFmpegError, ValueError):  # A damaged header can ask for colours that do not exist.
        self._failed += 1
      else:
        self._media.times.append(self._time)

  def _to_jpeg(self, frame) -> bytes:
    """The frame upright, with square pixels, scaled down to the short side that is asked for."""
    width, height = frame.width * self._aspect, frame.height
    scale = min(1.0, self._options.short_side / min(width, height))
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    rotation = frame.rotation
    # One thread: to start and stop more of them for every frame costs three times what they save.
    reformat = lambda scaler, *what: scaler.reformat(frame, width, height, *what, interpolation=SCALING, threads=1)
    if scale < 1.0 and frame.format.name in HALF_COLOURS:
      frame = reformat(
        self._scaler, frame.format.name
      )  # Smaller first: half of the time, and JPEG has half the colours too.
    pixels = reformat(self._converter, "rgb24").to_ndarray()
    if quarters := round(rotation / 90) % 4:
      pixels = np.ascontiguousarray(np.rot90(pixels, quarters))
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()


class _Sound:
  """Resamples to mono int16 and lays the sound out by its timestamps; lost packets leave a gap, nothing shifts."""

  def __init__(self, media: Media):
    self._media = media
    self._resampler, self._pieces = None, []
    self._start = self._next = 0.0
    self._backwards = self._failed = 0

  def push(self, frame, time: float | None) -> None:
    if time is None or (self._resampler and abs(time - self._next) > LONGEST_GAP_SECONDS):
      time = self._next
    if self._resampler and time < self._next - GAP_SECONDS:
      self._backwards += 1
      return
    if self._resampler and time > self._next + GAP_SECONDS:
      self._end_segment()
    if self._resampler is None:
      self._begin_segment(time)
    self._next += frame.samples / frame.sample_rate
    frame.pts = None  # The resampler would invent or cut samples to follow the jitter of the container.
    try:
      self._resample(frame)
    except (ValueError, av.FFmpegError):  # Rate or channels changed on the way, or nobody knows what the channels are.
      end = self._next
      self._end_segment()
      self._begin_segment(end - frame.samples / frame.sample_rate)
      self._next = end
      try:
        self._resample(_mean_of_channels(frame))
      except (ValueError, av.FFmpegError):  # A damaged header can ask for a rate that does not exist.
        self._failed += 1
        self._end_segment()

  def finish(self) -> None:
    self._end_segment()
    if self._failed:
      self._media.warnings.append(f"{self._failed} pieces of its sound are in no format that can be converted")
    if self._backwards:
      self._media.warnings.append(f"{self._backwards} pieces of its sound have timestamps that go back; left out")

  def _begin_segment(self, time: float) -> None:
    self._resampler = av.AudioResampler("s16", "mono", self._media.sample_rate_hz)
    self._start = self._next = time

  def _resample(self, frame) -> None:
    if frame and frame.sample_rate < LOWEST_RATE_HZ:
      raise ValueError(f"{frame.sample_rate} Hz")
    self._pieces += [piece.to_ndarray()[0] for piece in self._resampler.resample(frame)]

  def _end_segment(self) -> None:
    if self._resampler is None:
      return
    with contextlib.suppress(ValueError, av.FFmpegError):  # It has not seen a frame that it understands.
      self._resample(None)
    if self._pieces:
      self._media.sound.append(Segment(self._start, np.concatenate(self._pieces)))
    self._resampler, self._pieces = None, []


def _mean_of_channels(frame):
  """The frame in mono, whatever its channels are called."""
  count = frame.layout.nb_channels
  # Not `to_ndarray`: of more than eight planes PyAV 18 lists too many and reads behind the last.
  planes = frame.planes[:8] if frame.format.is_planar else frame.planes[:1]
  dtype = SAMPLES[frame.format.packed.name]
  channels = [np.frombuffer(plane, dtype) for plane in planes]
  if frame.format.is_planar:
    channels = np.stack([channel[: frame.samples] for channel in channels[:count]])
  else:
    channels = channels[0][: frame.samples * count].reshape(-1, count).T
  if channels.dtype == np.uint8:
    channels = channels / 128.0 - 1.0
  elif channels.dtype.kind == "i":
    channels = channels / -float(np.iinfo(channels.dtype).min)
  mono = av.AudioFrame.from_ndarray(channels.mean(axis=0, keepdims=True).astype(np.float32), "flt", "mono")
  mono.sample_rate = frame.sample_rate
  return mono
