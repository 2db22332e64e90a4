"""Pictures and sounds inside a page: base64, and small."""

import base64
import io
import wave

import numpy as np
from PIL import Image

from vatt_jax.evaluation.report.markup import Markup, tag

_RATE_HZ = 16000  # Enough for speech; a page does not need more.


def picture(jpeg: bytes, limit_bytes: int, description: str = "") -> Markup:
  """A thumbnail as an `img`; made smaller until it takes `limit_bytes`, a blank box where there is no picture."""
  jpeg = _fit(jpeg, limit_bytes)
  if not jpeg:
    return tag("div", "no picture", class_="blank")
  return tag("img", src=_data_url("image/jpeg", jpeg), alt=description, loading="lazy")


def player(waveform: np.ndarray, rate_hz: int, limit_bytes: int) -> Markup:
  """A sound as its envelope and an `audio` element, at about 16 kHz and cut to the length that `limit_bytes` allow.

  Args:
    waveform: int16 (samples,), mono; an empty one gives a blank box.
    rate_hz: samples per second.
    limit_bytes: of the base64 text, roughly.
  """
  if not len(waveform):
    return tag("div", "no sound", class_="blank")
  waveform, rate_hz = _short(waveform, rate_hz, limit_bytes)
  return tag("div", _envelope(waveform), _audio(waveform, rate_hz))


def sound(waveform: np.ndarray, rate_hz: int, limit_bytes: int) -> Markup:
  """The `audio` element of `player` alone, of a sound that is not empty."""
  return _audio(*_short(waveform, rate_hz, limit_bytes))


def _short(waveform, rate_hz, limit_bytes) -> tuple[np.ndarray, int]:
  waveform, rate_hz = thin_out(waveform, rate_hz)
  return waveform[: max(limit_bytes * 3 // 8, 1)], rate_hz  # Two bytes a sample, and base64 adds a third.


def _audio(waveform: np.ndarray, rate_hz: int) -> Markup:
  return tag("audio", src=_data_url("audio/wav", wav(waveform, rate_hz)), controls=True, preload="metadata")


def thin_out(waveform: np.ndarray, rate_hz: int) -> tuple[np.ndarray, int]:
  """Lowers the rate by a whole factor, to at least 16 kHz, through a windowed-sinc low-pass: int16 in, int16 out."""
  factor = rate_hz // _RATE_HZ
  if factor < 2:
    return np.asarray(waveform, np.int16), rate_hz
  kernel = np.sinc(np.arange(-8 * factor, 8 * factor + 1) / factor) * np.hanning(16 * factor + 1)
  smooth = np.convolve(np.pad(np.asarray(waveform, np.float32), 8 * factor), kernel / kernel.sum(), "valid")
  return np.clip(np.round(smooth[::factor]), -32768, 32767).astype(np.int16), rate_hz // factor


def wav(waveform: np.ndarray, rate_hz: int) -> bytes:
  """A WAV file of int16 mono samples."""
  file = io.BytesIO()
  with wave.open(file, "wb") as writer:
    writer.setnchannels(1)
    writer.setsampwidth(2)
    writer.setframerate(rate_hz)
    writer.writeframes(np.asarray(waveform, "<i2").tobytes())
  return file.getvalue()


def _envelope(waveform: np.ndarray, bars: int = 64) -> Markup:
  """The loudness over time, scaled to the loudest moment, as an SVG of upright bars."""
  parts = np.array_split(np.abs(waveform.astype(np.float32)), min(bars, len(waveform)))
  heights = np.array([part.max() for part in parts])
  heights = np.maximum(27 * heights / max(heights.max(), 1), 0.6)
  path = "".join(f"M{4 * i + 2} {30 - height:.1f}v{2 * height:.1f}" for i, height in enumerate(heights))
  line = tag("path", d=path, class_="curve", style="--c:var(--soft)")
  return tag(
    "svg",
    line,
    viewBox=f"0 0 {4 * len(heights)} 60",
    preserveAspectRatio="none",
    role="img",
    aria_label="loudness over time",
    style="height:60px",
  )


def _fit(jpeg: bytes, limit_bytes: int) -> bytes:
  """The JPEG, or a smaller version, or nothing: unreadable, or too large at any size."""
  if len(jpeg) * 4 <= limit_bytes * 3:
    return jpeg
  for size, quality in ((192, 80), (128, 75), (96, 65), (64, 50), (48, 30)):
    try:
      image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    except (OSError, ValueError):
      return b""
    image.thumbnail((size, size))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    if file.tell() * 4 <= limit_bytes * 3:
      return file.getvalue()
  return b""


def _data_url(kind: str, data: bytes) -> str:
  return f"data:{kind};base64,{base64.b64encode(data).decode()}"
