"""Windows of sound: where they lie, at which rate, as samples or as a spectrogram."""

import numpy as np
import tensorflow as tf

from vatt_jax.data import audio

KEY = tf.constant([0, 0], tf.int64)


def options(**changes):
  return audio.AudioOptions(
    **{"samples": 800, "sample_rate_hz": 8_000, "patch": 100, "noise": 0.0, "pad": "zero", **changes}
  )


def window(samples, start, *, rate=8_000, audio_start=0.0, duration=None, train=False, opts=None):
  opts, duration = opts or options(), duration or len(samples) / rate
  arguments = (
    tf.constant(samples, tf.int16),
    tf.constant(rate, tf.int64),
    tf.constant(audio_start),
    tf.constant(float(start)),
  )
  wave = audio.read_window(*arguments, tf.constant(float(duration)), KEY, opts, train)
  wave = audio.disturb(wave, tf.reduce_max(tf.abs(wave)), KEY, opts) if train else wave
  return (audio.log_mel(wave / 32768.0, opts) if opts.spectrogram else audio.as_int16(wave)).numpy()


def test_window_is_cut_to_the_sample():
  samples = np.arange(4_000)
  np.testing.assert_array_equal(window(samples, 0.1), samples[800:1600])


def test_sound_that_starts_late_is_silent_before():
  got = window(np.arange(1, 4_001), 0.0, audio_start=0.05)
  np.testing.assert_array_equal(got, np.r_[np.zeros(400), np.arange(1, 401)])


def test_silence_after_a_short_clip():
  got = window(np.full(400, 7), 0.0)
  np.testing.assert_array_equal(got, np.r_[np.full(400, 7), np.zeros(400)])


def test_looping_a_short_clip():
  got = window(np.arange(300), 0.0, opts=options(pad="loop"))
  np.testing.assert_array_equal(got, np.arange(800) % 300)


def test_resampling_keeps_a_tone_and_removes_what_would_alias():
  time = np.arange(48_000) / 48_000
  tone = lambda hz: np.round(10_000 * np.sin(2 * np.pi * hz * time)).astype(np.int16)
  got = window(tone(440), 0.2, rate=48_000).astype(float)
  expected = 10_000 * np.sin(2 * np.pi * 440 * (0.2 + np.arange(800) / 8_000))
  assert np.abs(got - expected).max() < 200
  assert np.abs(window(tone(7_000), 0.2, rate=48_000)).max() < 300


def test_decimation_takes_every_second_sample_and_lets_alias():
  """VATT's fine-tuning: 24 kHz are every second sample at 48 kHz, and nothing is filtered."""
  opts = options(sample_rate_hz=4_000, stride=2)
  np.testing.assert_array_equal(window(np.arange(4_000), 0.1, opts=opts), np.arange(800, 2_400, 2))
  looped = window(np.arange(300), 0.0, opts=options(sample_rate_hz=4_000, stride=2, pad="loop"))
  np.testing.assert_array_equal(looped, np.arange(0, 1_600, 2) % 300)
  high = np.round(10_000 * np.sin(2 * np.pi * 3_500 * np.arange(8_000) / 8_000))
  assert (
    window(high, 0.1, opts=opts).max() > 9_000 > 1_000 > window(high, 0.1, opts=options(sample_rate_hz=4_000)).max()
  )


def test_noise_is_relative_to_the_loudest_sample():
  loud = np.round(20_000 * np.sin(np.arange(4_000))).astype(np.int16)
  opts = options(noise=0.01)
  difference = window(loud, 0.1, train=True, opts=opts).astype(float) - window(loud, 0.1)
  assert 150 < difference.std() < 250
  np.testing.assert_array_equal(window(loud, 0.1, opts=opts), window(loud, 0.1))


def test_spectrogram_of_a_tone_peaks_at_its_band():
  opts = options(samples=8_000, spectrogram=True, spectrogram_patch=(4, 8), mels=32, mel_high_hz=3_800.0)
  time = np.arange(16_000) / 8_000
  bands = [
    window(np.round(5_000 * np.sin(2 * np.pi * hz * time)), 0.5, opts=opts).mean(axis=0).argmax()
    for hz in (200, 800, 3_000)
  ]
  assert opts.grid == (11, 4)
  assert bands == sorted(bands) and len(set(bands)) == 3


def test_spectrogram_is_scaled_to_its_own_range():
  opts = options(samples=8_000, spectrogram=True, spectrogram_patch=(4, 8), mels=32, mel_high_hz=3_800.0)
  got = window(np.random.default_rng(0).integers(-900, 900, 16_000), 0.2, opts=opts)
  assert got.shape == (44, 32) and got.min() >= 0.0 and got.max() <= 1.0 and got.max() - got.min() > 0.9


def test_the_published_spectrogram_has_144_patches_of_80():
  opts = audio.AudioOptions(samples=153_600, sample_rate_hz=48_000, patch=128, spectrogram=True)
  assert opts.grid == (9, 16) and opts.spectrogram_patch[0] * opts.spectrogram_patch[1] == 80


def test_another_speed_stretches_the_sound():
  """A ramp read at speed f has slope f; the same key always draws the same speed."""
  got = [window(np.arange(4_000), 0.0, train=True, opts=options(speed=0.2)) for _ in range(2)]
  slope = (got[0][700] - got[0][100]) / 600
  assert 0.8 <= slope <= 1.2 and slope != 1.0
  np.testing.assert_array_equal(*got)
