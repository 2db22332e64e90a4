"""Frames as arrays: resizing as TensorFlow does it, and ALPRO's RandAugment."""

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from vatt_jax.data import images

RANDOM = np.random.default_rng(0)
FRAMES = RANDOM.integers(0, 256, (3, 30, 40, 3), np.uint8)
FRAME = RANDOM.integers(0, 256, (64, 64, 3), np.uint8)
ONCE = np.arange(3)
VIDEO, IMAGE = images.rand_augment("video"), images.rand_augment("image")


@pytest.mark.parametrize("size", [(16, 16), (30, 40), (50, 64), (24, 100)])
def test_resizing_is_bilinear_within_rounding(size):
  got = images.fit(FRAMES, ONCE, size, False, [])
  assert got.dtype == np.uint8
  assert np.abs(got - tf.image.resize(FRAMES, size).numpy()).max() <= 1.0


def test_bicubic_is_pillows():
  got = images.fit(FRAMES, ONCE, (16, 50), False, [], "bicubic")
  for frame, small in zip(FRAMES, got):
    np.testing.assert_array_equal(small, np.asarray(Image.fromarray(frame).resize((50, 16), Image.Resampling.BICUBIC)))
  assert np.abs(got - images.fit(FRAMES, ONCE, (16, 50), False, []).astype(int)).max() > 20


def test_mirroring_and_repeating():
  plain = images.fit(FRAMES, np.array([0, 0, 2, 1]), (16, 16), False, [])
  np.testing.assert_array_equal(plain[0], plain[1])
  np.testing.assert_array_equal(images.fit(FRAMES, ONCE, (16, 16), True, []), plain[[0, 3, 2], :, ::-1])


def test_pixels_as_words_and_back():
  words = images.to_words(FRAME)
  assert words.dtype == np.uint32 and words.shape == (64 * 64,)
  np.testing.assert_array_equal(words & 0xFFFFFF, FRAME.reshape(-1, 3) @ [1, 1 << 8, 1 << 16])
  np.testing.assert_array_equal(images.from_words(words & 0xFFFFFF), FRAME.reshape(-1, 3))


def test_the_lists_are_alpros():
  assert (len(VIDEO), len(IMAGE)) == (10, 8)
  for operation in (*VIDEO[:4], IMAGE[0]):
    np.testing.assert_array_equal(operation(FRAME), FRAME)
  np.testing.assert_array_equal(VIDEO[9](FRAME), FRAME[:, ::-1])


@pytest.mark.parametrize("operations, shift, shear", [(VIDEO[4:], 5, 0.15), (IMAGE[3:], 7, 0.21)])
def test_shear_and_translation(operations, shift, shear):
  shear_x, shear_y, translate_x, translate_y = operations[:4]
  moved = translate_x(FRAME)
  np.testing.assert_array_equal(moved[:, :-shift], FRAME[:, shift:])
  assert np.all(moved[:, -shift:] == 128)
  np.testing.assert_array_equal(translate_y(FRAME)[:-shift], FRAME[shift:])
  bars = np.zeros([64, 64, 3], np.uint8)
  bars[:, 20:22] = 255
  slope = [np.flatnonzero(shear_x(bars)[y, :, 0] > 150).mean() for y in (0, 40)]
  assert slope[1] - slope[0] == pytest.approx(40 * shear, abs=1.0)
  turned = shear_x(FRAME.swapaxes(0, 1)).swapaxes(0, 1)
  assert np.abs(shear_y(FRAME).astype(int) - turned).max() <= 1


@pytest.mark.parametrize("rotate, degrees", [(VIDEO[8], 15), (IMAGE[7], 21)])
def test_rotation_turns_about_the_middle(rotate, degrees):
  bar = np.zeros([65, 65, 3], np.uint8)
  bar[32, 32:] = 255
  y, x = (np.nonzero(rotate(bar)[:, :, 0] > 150)[axis] - 32 for axis in (0, 1))
  assert np.degrees(np.arctan2(-y[-1] if x[-1] > x[0] else -y[0], x.max())) == pytest.approx(degrees, abs=3)


def test_brightness_and_sharpness_of_pictures():
  np.testing.assert_array_equal(IMAGE[1](FRAME), np.clip(np.floor(FRAME * 1.36), 0, 255))
  flat = np.full([16, 16, 3], 90, np.uint8)
  np.testing.assert_array_equal(IMAGE[2](flat), flat)
  edge = np.repeat(np.r_[np.full(8, 60), np.full(8, 180)].astype(np.uint8)[None, :, None], 16, 0).repeat(3, 2)
  sharp = IMAGE[2](edge)[8, :, 0].astype(int)
  assert sharp[7] < 60 and sharp[8] > 180 and np.all(sharp[:6] == 60)
