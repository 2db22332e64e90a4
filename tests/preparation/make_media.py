"""Tiny real media files whose content tells the time: the picture gets brighter, and the sound beeps every second."""

from fractions import Fraction

import av
import numpy as np

BEEP_SECONDS = 0.1
TICKS = 90_000  # of the time base in a second


def brightness(time: float) -> float:
  """Grey level of the picture at a time in seconds."""
  return 20.0 + 20.0 * time


def beeps(seconds: float, rate: int) -> np.ndarray:
  """float (S,): 440 Hz during the first tenth of every second, else nothing."""
  time = np.arange(round(seconds * rate)) / rate
  return 0.5 * np.sin(2 * np.pi * 440 * time) * (time % 1 < BEEP_SECONDS)


def write(
  path,
  *,
  seconds=3.0,
  frame_rate=10,
  size=(64, 48),
  video="libx264",
  pixels="yuv420p",
  frame_times=None,
  first_time=0.0,
  rotation=0,
  bright_edge="",
  audio="aac",
  layout="mono",
  sample_rate_hz=16_000,
  sound_start=0.0,
  sound_seconds=None,
  wave=beeps,
):
  """Writes a media file; the ending of `path` decides the container.

  Args:
    seconds: length of the picture, and of the sound unless `sound_seconds` says otherwise.
    frame_rate, size, video, pixels: of the picture; `video=None`: no picture.
    frame_times: presentation times in seconds, for a variable rate.
    first_time: added to all times.
    rotation: degrees that a player has to turn the picture by, counterclockwise.
    bright_edge: "right" makes the right eighth of the picture white.
    audio, layout, sample_rate_hz: of the sound; `audio=None`: no sound.
    sound_start: how much later than the picture the sound begins, in seconds.
    wave: (seconds, rate) -> float (S,), the same in every channel.
  """
  with av.open(str(path), "w") as container:
    streams = []
    if video:
      stream = container.add_stream(video, rate=frame_rate)
      stream.width, stream.height, stream.pix_fmt = *size, pixels
      stream.codec_context.time_base = Fraction(1, TICKS) if frame_times is not None else Fraction(1, frame_rate)
      if video == "libx264":
        stream.options = {"crf": "12", "preset": "ultrafast", "g": "10"}
      if video == "libx265":
        stream.options = {"x265-params": "log-level=none"}
      if rotation:
        stream.set_display_rotation(rotation)
      streams.append((stream, _pictures(stream, seconds, frame_rate, frame_times, first_time, bright_edge)))
    if audio:
      sound = container.add_stream(audio, rate=sample_rate_hz, layout=layout)
      sound.bit_rate = 64_000
      samples = wave(seconds if sound_seconds is None else sound_seconds, sample_rate_hz)
      streams.append((sound, _sound(sound, samples, first_time + sound_start)))
    packets = [packet for stream, frames in streams for frame in [*frames, None] for packet in stream.encode(frame)]
    for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
      container.mux(packet)
  return path


def _pictures(stream, seconds, frame_rate, frame_times, first_time, bright_edge):
  times = np.arange(round(seconds * frame_rate)) / frame_rate if frame_times is None else frame_times
  for time in times:
    grey = np.full((stream.height, stream.width, 3), round(min(255, brightness(time))), np.uint8)
    if bright_edge == "right":
      grey[:, -stream.width // 8 :] = 255
    frame = av.VideoFrame.from_ndarray(grey, "rgb24").reformat(format=stream.pix_fmt)
    frame.time_base = stream.codec_context.time_base
    frame.pts = round((time + first_time) / frame.time_base)
    yield frame


def _sound(stream, samples, start):
  context = stream.codec_context
  context.open()
  convert = av.AudioResampler(context.format, context.layout, context.rate)
  step = context.frame_size or 1024
  for first in range(0, len(samples), step):
    piece = samples[first : first + step].astype(np.float32)
    frame = av.AudioFrame(format="flt", layout=context.layout.name, samples=len(piece))
    frame.planes[0].update(np.repeat(piece, context.layout.nb_channels).tobytes())
    frame.sample_rate, frame.time_base = context.rate, Fraction(1, context.rate)
    frame.pts = first + round(start * context.rate)
    yield from convert.resample(frame)
