"""Features without an encoder: mean colours and log-mel spectra."""

import numpy as np

from vatt_jax.data import audio, patches, pipeline, video
from vatt_jax.evaluation.raw import BANDS, SECTIONS, raw


def test_a_picture_is_its_mean_colours():
  options = video.VideoOptions(frames=4, frames_per_second=4.0, size=16, patch=(2, 8, 8))
  frames = np.zeros([4, 16, 16, 3], np.uint8)
  frames[:, :4, :4] = 200  # One of the four corners of the first patch of each frame.
  batch = {"video/patches": patches.video_patches(frames, options.patch)[None]}
  found = raw("video", batch, pipeline.InputOptions(video=options))
  assert found.shape == (1, 4 * 4 * 3)
  np.testing.assert_array_equal(np.flatnonzero(found[0]), [0, 1, 2])
  assert found[0, 0] == 200


def test_a_higher_tone_has_higher_bands():
  options = audio.AudioOptions(samples=8_000, sample_rate_hz=8_000, patch=160, mel_high_hz=3_800.0)
  time = np.arange(8_000) / 8_000
  waves = np.stack([np.sin(2 * np.pi * hertz * time) * 20_000 for hertz in (300, 3_000)]).astype(np.int16)
  found = raw("audio", {"audio/patches": waves.reshape(2, 50, 160)}, pipeline.InputOptions(audio=options))
  assert found.shape == (2, SECTIONS * BANDS)
  low, high = found.reshape(2, SECTIONS, BANDS).mean(axis=1).argmax(axis=1)
  assert low < high
