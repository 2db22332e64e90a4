"""The waveform of a clip: which window, at which rate, as samples or as a spectrogram."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from vatt_jax.data import patches, random, ranges


@dataclasses.dataclass(frozen=True)
class AudioOptions:
  """What the model hears.

  Attributes:
    samples: S, length of the window.
    sample_rate_hz: rate of the window; records at another rate are resampled.
    stride: above 1: resampled to so many times that rate, of which every stride-th sample is kept without a low-pass
      filter, as VATT's fine-tuning does (2).
    patch: samples per patch.
    drop_rate: fraction of the patches dropped in training.
    pad: what follows in a window longer than the clip: the clip again ("loop", VATT) or silence ("zero").
    noise: standard deviation of Gaussian noise, relative to the loudest sample (VATT: 0.01), in training.
    speed: largest relative change of speed and pitch in training (ours; VATT: 0).
    gain_db: largest change of loudness in training, in decibels (ours; VATT: 0).
    spectrogram: log-mel spectrogram instead of the waveform: a named option, never dropped.
    spectrogram_patch: (frames, mel bands) of a spectrogram patch.
    window_seconds, hop_seconds, mels, mel_low_hz, mel_high_hz: of the spectrogram.
  """

  samples: int
  sample_rate_hz: int
  patch: int
  drop_rate: float = 0.5
  stride: int = 1
  pad: str = "loop"
  noise: float = 0.01
  speed: float = 0.0
  gain_db: float = 0.0
  spectrogram: bool = False
  spectrogram_patch: tuple[int, int] = (16, 5)
  window_seconds: float = 0.04267
  hop_seconds: float = 0.02134
  mels: int = 80
  mel_low_hz: float = 80.0
  mel_high_hz: float = 7600.0

  def __post_init__(self):
    cut = "spectrogram_patch" if self.spectrogram else "patch"
    ranges.check(self, positive=("samples", "sample_rate_hz", cut), shares=("drop_rate",))
    if self.pad not in ("loop", "zero"):
      raise ValueError(f"pad {self.pad!r} is not one of loop, zero")
    if self.stride < 1:
      raise ValueError(f"stride {self.stride} is not at least 1")
    if not self.spectrogram and self.samples % self.patch:
      raise ValueError(f"{self.samples} samples do not divide into patches of {self.patch}")
    if self.spectrogram and (self.grid[0] < 1 or self.mels % self.spectrogram_patch[1]):
      raise ValueError(
        f"{self.samples} samples and {self.mels} mel bands do not make patches of {self.spectrogram_patch}"
      )

  @property
  def seconds(self) -> float:
    return self.samples / self.sample_rate_hz

  @property
  def grid(self) -> tuple[int, ...]:
    if not self.spectrogram:
      return (self.samples // self.patch,)
    hop, window = round(self.hop_seconds * self.sample_rate_hz), round(self.window_seconds * self.sample_rate_hz)
    frames = 1 + (self.samples - window) // hop
    return (frames // self.spectrogram_patch[0], self.mels // self.spectrogram_patch[1])

  @property
  def patch_values(self) -> int:
    return math.prod(self.spectrogram_patch) if self.spectrogram else self.patch

  @property
  def patch_dtype(self) -> type:
    return np.float32 if self.spectrogram else np.int16


def read_window(
    samples: tf.Tensor, rate: tf.Tensor, audio_start: tf.Tensor, start: tf.Tensor, duration: tf.Tensor,
    key: tf.Tensor, options: AudioOptions, train: bool,
) -> tf.Tensor:  # fmt: skip
  """The window as float32 (S,), in units of int16.

  Args:
    samples: int16 (n,), all samples of the record.
    rate: their rate in Hz.
    audio_start: seconds from the clip's start to its first sample.
    start: seconds from the clip's start to the window's.
    duration: of the clip in seconds.
    key: int64 (2,), of this visit.
  """
  hz = options.sample_rate_hz * options.stride
  in_samples = lambda seconds: tf.cast(tf.round(tf.cast(seconds, tf.float64) * hz), tf.int32)
  track_start, length = in_samples(audio_start), tf.maximum(in_samples(duration), 1)
  factor = 1.0 + random.uniform(key, "speed", (), -options.speed, options.speed) if train and options.speed else None

  def cut(wave):
    """The window of `wave`, the track at `hz`, as float32."""

    def pick(places):
      """Samples at int32 places, counted from the window's start; 0 where the track has none."""
      places += in_samples(start)
      if options.pad == "loop":
        places = tf.math.floormod(places, length)
      return _pick(wave, places - track_start)

    places = tf.range(options.samples) * options.stride
    if factor is not None:
      return _between(pick, tf.cast(places, tf.float32) * factor)
    first = in_samples(start) - track_start
    end = first + options.samples * options.stride
    whole = (first >= 0) & (end <= tf.size(wave)) & (end + track_start <= length)
    return tf.cond(whole, lambda: tf.cast(wave[first : end : options.stride], tf.float32), lambda: pick(places))

  window = tf.cond(
    tf.equal(rate, hz), lambda: cut(samples), lambda: cut(resample(tf.cast(samples, tf.float32), rate, hz))
  )
  return tf.ensure_shape(window, [options.samples])


def disturb(wave: tf.Tensor, loudest: tf.Tensor, key: tf.Tensor, options: AudioOptions) -> tf.Tensor:
  """Changes loudness and adds noise, to a window or to what DropToken left of it.

  Args:
    wave: float32 of any shape.
    loudest: the largest absolute sample of the whole window.
    key: int64 (2,), of this visit.
  """
  if options.gain_db:
    gain = 10.0 ** (random.uniform(key, "gain", (), -options.gain_db, options.gain_db) / 20.0)
    wave, loudest = wave * gain, loudest * gain
  if options.noise:
    noise = tf.ensure_shape(random.normal(key, "noise", tf.shape(wave)), wave.shape)
    wave += noise * (options.noise * loudest)
  return wave


def as_int16(wave: tf.Tensor) -> tf.Tensor:
  return tf.cast(tf.round(tf.clip_by_value(wave, -32768.0, 32767.0)), tf.int16)


def _pick(wave: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
  """wave[places] as float32, 0 outside of the track."""
  last = tf.maximum(tf.size(wave) - 1, 0)
  inside = (places >= 0) & (places <= last)
  return tf.where(inside, tf.cast(tf.gather(wave, tf.clip_by_value(places, 0, last)), tf.float32), 0.0)


def _between(pick, places: tf.Tensor) -> tf.Tensor:
  """Linear interpolation of `pick`, a function of int32 places, at float places."""
  whole = tf.floor(places)
  part, whole = tf.cast(places - whole, tf.float32), tf.cast(whole, tf.int32)
  return pick(whole) * (1.0 - part) + pick(whole + 1) * part


def resample(wave: tf.Tensor, rate: tf.Tensor, wanted_hz: int) -> tf.Tensor:
  """float32 (n,) at `rate` -> at `wanted_hz`: low-pass by a windowed sinc where the rate falls, then interpolation."""
  rate = tf.cast(rate, tf.float64)
  ratio = rate / wanted_hz
  half = tf.cast(tf.math.ceil(16.0 * tf.maximum(ratio, 1.0)), tf.int32)
  time = tf.cast(tf.range(-half, half + 1), tf.float64)
  cutoff = 0.95 / tf.maximum(ratio, 1.0)
  angle = math.pi * time * cutoff
  sinc = tf.where(time == 0, tf.ones_like(time), tf.sin(angle) / tf.where(time == 0, tf.ones_like(time), angle))
  kernel = sinc * (0.5 + 0.5 * tf.cos(math.pi * time / tf.cast(half + 1, tf.float64)))
  kernel = tf.cast(kernel / tf.reduce_sum(kernel), tf.float32)
  filtered = tf.cond(
    ratio > 1.0, lambda: tf.nn.conv1d(wave[None, :, None], kernel[:, None, None], 1, "SAME")[0, :, 0], lambda: wave
  )
  count = tf.cast(tf.cast(tf.size(wave), tf.float64) / ratio, tf.int32)
  return _between(lambda places: _pick(filtered, places), tf.range(count, dtype=tf.float64) * ratio)


def log_mel(window: tf.Tensor, options: AudioOptions) -> tf.Tensor:
  """float32 (S,) -> (frames, mels) in [0, 1]: log(1 + 10000 * mel), scaled to the clip's own range (vatt)."""
  hop, width = (round(x * options.sample_rate_hz) for x in (options.hop_seconds, options.window_seconds))
  magnitude = tf.abs(tf.signal.stft(window, width, hop))
  matrix = tf.signal.linear_to_mel_weight_matrix(
    options.mels, magnitude.shape[-1], options.sample_rate_hz, options.mel_low_hz, options.mel_high_hz
  )
  mel = tf.math.log(1.0 + 10000.0 * (magnitude @ matrix))
  low, high = tf.reduce_min(mel), tf.reduce_max(mel)
  mel = (mel - low) / tf.maximum(high - low, 1e-6)
  return mel[: options.grid[0] * options.spectrogram_patch[0]]


def spectrograms(waves: np.ndarray, options: AudioOptions) -> tuple[np.ndarray, tuple[int, int]]:
  """float32 (B, S) in [-1, 1], or int16 -> patches float32 (B, N, P) and their grid; the length may be any."""
  waves = waves / 32768.0 if waves.dtype == np.int16 else waves
  options = dataclasses.replace(options, samples=waves.shape[1])
  cut = lambda wave: patches.spectrogram_patches(
    log_mel(tf.constant(wave, tf.float32), options), options.spectrogram_patch
  )
  return np.stack([cut(wave).numpy() for wave in waves]), options.grid
