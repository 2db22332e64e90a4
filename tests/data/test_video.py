"""Which frames are picked, and how they are cut."""

import dataclasses
import io

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from vatt_jax.data import patches, random as random_lib, video

FOUR = tf.range(4)
ZERO = tf.constant([0, 0], tf.int64)
OPTIONS = video.VideoOptions(frames=4, frames_per_second=5.0, size=16, patch=(2, 8, 8), crop="centre", flip=False)


def jpeg(height, width, left, right):
  pixels = np.zeros((height, width, 3), np.uint8)
  pixels[:, : width // 2], pixels[:, width // 2 :] = left, right
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "JPEG", quality=95)
  return file.getvalue()


def read_frames(jpegs, key, options, train, **kwargs):
  """All of the clip: uint8 (T, H, W, 3)."""
  options = dataclasses.replace(options, patch=(1, *options.pixels))  # A patch is a frame.
  rows, _ = video.read_patches(tf.constant(jpegs), FOUR, FOUR, key, options, train, **kwargs)
  return rows.numpy().reshape(4, *options.pixels, 3)


@pytest.mark.parametrize("start, expected", [(0.0, [0, 2, 4, 6]), (0.3, [3, 5, 7, 9]), (0.05, [0, 2, 4, 6])])
def test_frames_are_those_shown_at_the_wanted_times(start, expected):
  timestamps = tf.range(12, dtype=tf.float32) / 10
  assert video.pick_frames(timestamps, start, 1.2, ZERO, OPTIONS, True).numpy().tolist() == expected


def test_short_clips_are_looped():
  timestamps = tf.constant([0.0, 0.1, 0.2, 0.3])
  assert video.pick_frames(timestamps, 0.0, 0.4, ZERO, OPTIONS, True).numpy().tolist() == [0, 2, 0, 2]


def test_variable_frame_rate_goes_by_time():
  timestamps = tf.constant([0.0, 0.05, 0.5])
  assert video.pick_frames(timestamps, 0.0, 1.0, ZERO, OPTIONS, True).numpy().tolist() == [0, 1, 1, 2]


def test_centre_crop_is_the_middle_square():
  frames = read_frames([jpeg(32, 64, 0, 255)] * 4, ZERO, OPTIONS, train=False)
  assert frames.shape == (4, 16, 16, 3) and frames.dtype == np.uint8
  assert frames[:, :, :6].max() < 20 and frames[:, :, 10:].min() > 235


def test_one_crop_flip_and_colour_for_the_whole_clip():
  options = video.VideoOptions(4, 5.0, 16, (2, 8, 8), crop="inception", flip=True, colour_jitter=1.0)
  picture = jpeg(32, 64, (200, 30, 30), (30, 30, 200))
  for i in range(8):
    frames = read_frames([picture] * 4, tf.constant([0, i], tf.int64), options, train=True)
    assert np.all(frames == frames[0])
  again = [read_frames([picture] * 4, tf.constant([0, i], tf.int64), options, train=True) for i in (3, 3, 4)]
  assert np.all(again[0] == again[1]) and np.any(again[0] != again[2])


def test_three_crops_lie_along_the_longer_side():
  """Left, centre and right of a wide picture; top to bottom of a tall one."""
  read = lambda place: read_frames([jpeg(32, 96, 0, 255)] * 4, ZERO, OPTIONS, train=False, crop_place=place)
  assert read(0.0).max() < 20 and read(1.0).min() > 235
  assert np.all(read(0.5) == read_frames([jpeg(32, 96, 0, 255)] * 4, ZERO, OPTIONS, train=False))


def test_crops_need_not_be_square():
  options = video.VideoOptions(4, 5.0, 16, (2, 8, 8), crop="random", flip=False, width=32)
  assert options.grid == (2, 2, 4)
  for train in (False, True):
    frames = read_frames([jpeg(64, 64, 0, 255)] * 4, tf.constant([0, 1], tf.int64), options, train)
    assert frames.shape == (4, 16, 32, 3) and frames[0, :, 0].max() < 20 and frames[0, :, -1].min() > 235


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


def sampled(sampling, count, train=True, frames=4, key=0):
  options = video.VideoOptions(frames, 5.0, 16, (2, 8, 8), sampling=sampling)
  timestamps, key = tf.range(count, dtype=tf.float32) / 10, tf.constant([0, key], tf.int64)
  return video.pick_frames(timestamps, 0.0, count / 10, key, options, train).numpy().tolist()


def test_uniform_takes_every_so_manyth_frame():
  assert sampled("uniform", 23) == [0, 5, 10, 15]
  assert sampled("uniform", 3) == [0, 0, 0, 0]  # as the official code
  assert sampled("rand", 23, train=False) == [0, 5, 10, 15]


@pytest.mark.parametrize("count", [4, 5, 23, 100])
def test_rand_and_headtail_take_different_frames_in_order(count):
  drawn = {sampling: [sampled(sampling, count, key=key) for key in range(40)] for sampling in ("rand", "headtail")}
  for frames in drawn["rand"] + drawn["headtail"]:
    assert frames == sorted(set(frames)) and 0 <= frames[0] and frames[-1] < count
  for frames in drawn["headtail"]:
    assert frames[1] < count // 2 <= frames[2]
  for draws in drawn.values():
    seen = {number for frames in draws for number in frames}
    assert len(seen) > min(count, 60) * 0.8  # every frame may come
  assert sampled("headtail", 1) == sampled("rand", 1) == [0] * 4  # a picture is a static video
  assert sorted(set(sampled("headtail", 3))) == sampled("headtail", 3)[1:] or len(sampled("headtail", 3)) == 4


def boxes(crop, train, shape=(100, 160, 3), **changes):
  options = video.VideoOptions(4, 5.0, 16, (2, 8, 8), crop=crop, **changes)
  box = lambda i: video.crop_box(tf.constant(shape), tf.constant([0, i], tf.int64), tf.constant(0.5), options, train)
  return np.array([box(i).numpy() for i in range(60)])


def test_alpros_crops_squash_the_picture():
  assert np.all(boxes("whole", True) == [0, 0, 100, 160])
  found = boxes("squash", True)
  assert (
    np.all(found[:, 2:] == [87, 140]) and np.all(found[:, :2].min(0) <= 1) and np.all(found[:, :2].max(0) >= [11, 18])
  )
  assert found[:, 0].max() <= 13 and found[:, 1].max() <= 20
  assert np.all(boxes("squash", False) == [7, 10, 87, 140])


def test_the_aspect_of_inception_crops_has_a_limit():
  found = boxes("inception", True, max_aspect=1.2, min_area=0.2).astype(float)
  aspect = found[:, 3] / found[:, 2]
  assert aspect.max() < 1.25 and aspect.min() > 0.8


def test_scaling_in_the_decoder_shows_the_same():
  smooth = io.BytesIO()
  y, x = np.mgrid[:96, :128]
  Image.fromarray(np.stack([y * 2, x, y + x], -1).astype(np.uint8)).save(smooth, "JPEG", quality=95)
  read = lambda fast: read_frames(
    [smooth.getvalue()] * 4, ZERO, dataclasses.replace(OPTIONS, dct_scaling=fast), train=False
  )
  assert np.abs(read(True).astype(int) - read(False)).max() <= 6


@pytest.mark.parametrize("kind", ["video", "image"])
def test_rand_augment_is_the_same_for_all_frames_and_follows_the_key(kind):
  options = dataclasses.replace(OPTIONS, rand_augment=kind, frames=4)
  picture = jpeg(32, 64, (200, 30, 30), (30, 30, 200))
  read = lambda i: read_frames([picture] * 4, tf.constant([0, i], tf.int64), options, train=True)
  clips = [read(i) for i in range(12)]
  assert all(np.all(clip == clip[0]) for clip in clips) and np.all(read(5) == clips[5])
  assert len({clip.tobytes() for clip in clips}) > 3
  assert np.all(
    read_frames([picture] * 4, ZERO, options, train=False) == read_frames([picture] * 4, ZERO, OPTIONS, train=False)
  )


def test_colours_of_patches_are_those_of_whole_frames():
  """Jitter after DropToken equals VATT's on whole frames, within rounding."""
  options = video.VideoOptions(4, 5.0, 32, (2, 8, 8), colour_jitter=1.0)
  random = np.random.default_rng(0)
  frames = random.integers(0, 256, (4, 32, 32, 3), np.uint8)
  positions = tf.constant(np.sort(random.permutation(32)[:16]), tf.int32)
  rows = tf.constant(patches.video_patches(frames, options.patch, positions.numpy()))
  step = options.thumbnail_step
  for i in range(4):
    key = tf.constant([0, i], tf.int64)
    draws = tf.random.stateless_uniform([4], random_lib.stream(key, "colour"), -1.0, 1.0)
    whole = tf.image.adjust_brightness(tf.cast(frames, tf.float32) / 255.0, draws[0] * 32.0 / 255.0)
    whole = tf.image.adjust_contrast(tf.image.adjust_saturation(whole, 1 + 0.4 * draws[1]), 1 + 0.4 * draws[2])
    whole = tf.clip_by_value(tf.image.adjust_hue(whole, 0.2 * draws[3]), 0.0, 1.0) * 255.0
    got = video.jitter_colours(rows, positions, tf.constant(frames[:, ::step, ::step]), key, options)
    expected = patches.video_patches(whole.numpy(), options.patch, positions.numpy())
    assert np.abs(got.numpy() - expected).max() <= 1.0


def test_thumbnails_have_some_64_pixels_a_side():
  """Every third of 224, from the whole frame, whatever patches are asked for."""
  options = video.VideoOptions(4, 5.0, 224, (2, 16, 16), crop="centre", flip=False, colour_jitter=1.0)
  picture = [jpeg(224, 224, (200, 30, 30), (30, 30, 200))] * 4
  rows, thumbnails = video.read_patches(tf.constant(picture), FOUR, tf.constant([5]), ZERO, options, train=True)
  assert rows.shape == (1, options.patch_values) and thumbnails.shape == (4, 75, 75, 3)
  np.testing.assert_array_equal(thumbnails, read_frames(picture, ZERO, options, train=True)[:, ::3, ::3])


def test_unknown_ways_are_named():
  for field in ("crop", "sampling", "rand_augment", "interpolation", "stills"):
    with pytest.raises(ValueError, match=f"{field} 'nonsense' is not one of"):
      dataclasses.replace(OPTIONS, **{field: "nonsense"})
