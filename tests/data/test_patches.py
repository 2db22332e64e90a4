"""Patches and DropToken."""

import numpy as np
import pytest
import tensorflow as tf

from vatt_jax.data import patches


def test_video_patches_are_in_t_y_x_order_inside_and_out():
  frames = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3)).astype(np.uint8)
  got = patches.video_patches(frames, (2, 3, 4))
  expected = [frames[t : t + 2, y : y + 3, x : x + 4].reshape(-1) for t in (0, 2) for y in (0, 3) for x in (0, 4)]
  np.testing.assert_array_equal(got, expected)
  assert got.dtype == np.uint8


@pytest.mark.parametrize("patch", [(2, 3, 4), (1, 6, 2), (4, 1, 1)])
def test_some_video_patches_are_rows_of_all(patch):
  frames = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3)).astype(np.uint8)
  rows = patches.video_patches(frames, patch)
  positions = np.random.default_rng(1).permutation(len(rows))[: len(rows) // 2]
  np.testing.assert_array_equal(patches.video_patches(frames, patch, positions), rows[positions])
  floats = patches.video_patches(frames / 255, patch)
  assert floats.dtype == np.float64
  np.testing.assert_array_equal(floats, rows / 255)


def test_audio_patches_are_consecutive_samples():
  assert patches.audio_patches(tf.range(6), 3).numpy().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_spectrogram_patches_are_time_major():
  spectrogram = np.arange(4 * 6).reshape(4, 6)
  got = patches.spectrogram_patches(tf.constant(spectrogram), (2, 3)).numpy()
  np.testing.assert_array_equal(got, [spectrogram[t : t + 2, m : m + 3].reshape(-1) for t in (0, 2) for m in (0, 3)])


@pytest.mark.parametrize(
  "tokens, rate, kept", [(1568, 0.5, 784), (1200, 0.5, 600), (1568, 0.75, 392), (7, 0.5, 3), (10, 0.9, 1), (4, 0.99, 1)]
)
def test_keep_count_is_the_floor_of_the_kept_fraction(tokens, rate, kept):
  assert patches.keep_count(tokens, rate) == kept


def test_drop_tokens_keeps_a_subset_with_its_positions():
  all_patches = tf.reshape(tf.range(40), [20, 2])
  kept, positions = patches.drop_tokens(all_patches, 0.5, tf.constant([1, 2], tf.int64))
  assert positions.dtype == tf.int32 and len(positions) == 10
  assert np.all(np.diff(positions.numpy()) > 0)
  np.testing.assert_array_equal(kept, all_patches.numpy()[positions.numpy()])
  _, other = patches.drop_tokens(all_patches, 0.5, tf.constant([1, 3], tf.int64))
  assert other.numpy().tolist() != positions.numpy().tolist()


def test_nothing_dropped_is_everything_in_order():
  kept, positions = patches.drop_tokens(tf.reshape(tf.range(6), [3, 2]), 0.0, tf.constant([0, 0], tf.int64))
  assert positions.numpy().tolist() == [0, 1, 2] and kept.shape == (3, 2)


def test_every_position_is_kept_equally_often():
  counts = np.zeros(8)
  for i in range(400):
    counts[patches.drop_tokens(tf.zeros([8, 1]), 0.5, tf.constant([0, i], tf.int64))[1].numpy()] += 1
  assert np.all(np.abs(counts - 200) < 60)
