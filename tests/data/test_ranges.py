"""A slip of the pen in a number of the input options is told."""

import dataclasses

import pytest

from vatt_jax.data.audio import AudioOptions
from vatt_jax.data.text import TextOptions
from vatt_jax.data.video import VideoOptions

VIDEO = VideoOptions(frames=4, frames_per_second=5.0, size=16, patch=(2, 8, 8))
AUDIO = AudioOptions(samples=800, sample_rate_hz=8_000, patch=80)


@pytest.mark.parametrize(
  "options, field, value, said",
  [
    (VIDEO, "drop_rate", 1.5, "drop_rate 1.5 is not at least 0 and below 1"),
    (VIDEO, "drop_rate", -0.5, "drop_rate -0.5 is not at least 0"),
    (VIDEO, "frames", 0, "frames 0 is not positive"),
    (VIDEO, "frames_per_second", 0.0, "frames_per_second 0.0 is not positive"),
    (VIDEO, "patch", (0, 8, 8), r"patch \(0, 8, 8\) is not positive"),
    (VIDEO, "patch", (2, 8), r"patch \(2, 8\) is not \(t, h, w\)"),
    (AUDIO, "drop_rate", 1.0, "drop_rate 1.0 is not"),
    (AUDIO, "patch", 0, "patch 0 is not positive"),
    (AUDIO, "sample_rate_hz", 0, "sample_rate_hz 0 is not positive"),
    (TextOptions(), "length", 0, "length 0 is not positive"),
    (TextOptions(), "candidates", 0, "candidates 0 is not positive"),
  ],
)
def test_numbers_that_mean_nothing_are_told(options, field, value, said):
  with pytest.raises(ValueError, match=said):
    dataclasses.replace(options, **{field: value})
