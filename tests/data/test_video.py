"""Which frames are picked, and how they are cut."""

import io

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from vatt_jax.data import random, video

OPTIONS = video.VideoOptions(frames=4, frames_per_second=5.0, size=16, patch=(2, 8, 8), crop="centre", flip=False)


def jpeg(height, width, left, right):
  pixels = np.zeros((height, width, 3), np.uint8)
  pixels[:, : width // 2], pixels[:, width // 2 :] = left, right
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "JPEG", quality=95)
  return file.getvalue()


@pytest.mark.parametrize("start, expected", [(0.0, [0, 2, 4, 6]), (0.3, [3, 5, 7, 9]), (0.05, [0, 2, 4, 6])])
def test_frames_are_those_shown_at_the_wanted_times(start, expected):
  timestamps = tf.range(12, dtype=tf.float32) / 10
  assert video.pick_frames(timestamps, start, 1.2, OPTIONS).numpy().tolist() == expected


def test_short_clips_are_looped():
  timestamps = tf.constant([0.0, 0.1, 0.2, 0.3])
  assert video.pick_frames(timestamps, 0.0, 0.4, OPTIONS).numpy().tolist() == [0, 2, 0, 2]


def test_variable_frame_rate_goes_by_time():
  timestamps = tf.constant([0.0, 0.05, 0.5])
  assert video.pick_frames(timestamps, 0.0, 1.0, OPTIONS).numpy().tolist() == [0, 1, 1, 2]


def test_centre_crop_is_the_middle_square():
  frames = video.read_frames(
    tf.constant([jpeg(32, 64, 0, 255)] * 4), tf.constant([0, 0], tf.int64), OPTIONS, train=False
  ).numpy()
  assert frames.shape == (4, 16, 16, 3) and frames.dtype == np.uint8
  assert frames[:, :, :6].max() < 20 and frames[:, :, 10:].min() > 235


def test_one_crop_flip_and_colour_for_the_whole_clip():
  options = video.VideoOptions(4, 5.0, 16, (2, 8, 8), crop="inception", flip=True, colour_jitter=1.0)
  picture = jpeg(32, 64, (200, 30, 30), (30, 30, 200))
  for i in range(8):
    frames = video.read_frames(tf.constant([picture] * 4), tf.constant([0, i], tf.int64), options, train=True).numpy()
    assert np.all(frames == frames[0])
  again = [
    video.read_frames(tf.constant([picture] * 4), tf.constant([0, i], tf.int64), options, train=True).numpy()
    for i in (3, 3, 4)
  ]
  assert np.all(again[0] == again[1]) and np.any(again[0] != again[2])


def test_three_crops_lie_along_the_longer_side():
  """Left, centre and right of a wide picture; top to bottom of a tall one."""
  zero = tf.constant([0, 0], tf.int64)
  read = lambda place: video.read_frames(
    tf.constant([jpeg(32, 96, 0, 255)] * 4), zero, OPTIONS, train=False, crop_place=place
  ).numpy()
  assert read(0.0).max() < 20 and read(1.0).min() > 235
  assert np.all(read(0.5) == video.read_frames(tf.constant([jpeg(32, 96, 0, 255)] * 4), zero, OPTIONS, train=False))


def test_crops_need_not_be_square():
  options = video.VideoOptions(4, 5.0, 16, (2, 8, 8), crop="random", flip=False, width=32)
  assert options.grid == (2, 2, 4)
  for train in (False, True):
    frames = video.read_frames(tf.constant([jpeg(64, 64, 0, 255)] * 4), tf.constant([0, 1], tf.int64), options, train)
    assert (
      frames.shape == (4, 16, 32, 3) and frames[0, :, 0].numpy().max() < 20 and frames[0, :, -1].numpy().min() > 235
    )


def test_vgg_crops_lie_inside_and_keep_most_of_the_short_side():
  sides = []
  for i in range(64):
    y, x, h, w = video._vgg_box(tf.constant([100.0, 160.0]), tf.constant([0, i], tf.int64), OPTIONS).numpy()
    assert 0 <= y and 0 <= x and y + h <= 100 and x + w <= 160
    sides.append((h, w))
  heights, widths = np.array(sides).T
  assert np.mean(heights == 100) > 0.15 and heights.min() >= 66  # a fifth is not scaled; at most 0.8 against 1.2
  assert 100 <= widths.max() <= 151


def test_sizes_that_do_not_divide_are_refused():
  with pytest.raises(ValueError, match="do not divide"):
    video.VideoOptions(frames=5, frames_per_second=5.0, size=16, patch=(2, 8, 8))


def spread(count, sampling, train, frames=8, draw=0):
  options = video.VideoOptions(frames, 10.0, 32, (1, 16, 16), 0.0, sampling=sampling)
  key = random.example_key(tf.constant(0), tf.constant(0), tf.constant(draw))
  return video.spread_frames(tf.constant(count), key, options, train).numpy()


def test_frames_spread_over_the_whole_clip():
  """ALPRO's rules: uniform ones never reach the end; random ones are all different and ascend."""
  assert spread(100, "uniform", True).tolist() == [0, 12, 24, 36, 48, 60, 72, 84]
  assert spread(100, "random", False).tolist() == [0, 12, 24, 36, 48, 60, 72, 84]
  assert spread(5, "uniform", False).tolist() == [0] * 8
  for draw in range(20):
    chosen, halves = spread(9, "random", True, draw=draw), spread(9, "halves", True, 4, draw)
    assert (np.diff(chosen) > 0).all() and chosen.min() >= 0 and chosen.max() <= 8
    assert (np.diff(halves) > 0).all() and halves[1] < 4 <= halves[2] and halves[3] <= 8
  assert spread(1, "halves", True, 4).tolist() == [0] * 4
  assert len({tuple(spread(9, "halves", True, 4, draw)) for draw in range(20)}) > 10
