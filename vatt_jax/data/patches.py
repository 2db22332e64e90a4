"""Patches and DropToken on the host.

Source: VATT sections 3.1 and 3.2. The official code draws one permutation per replica batch; here each clip draws its
own, and what is dropped is never copied, batched or sent to the device.
"""

import math

import numpy as np
import tensorflow as tf


def video_patches(frames: tf.Tensor, patch: tuple[int, int, int]) -> tf.Tensor:
  """frames (T, H, W, 3) -> (N, t*h*w*3): N in (t, y, x) order, values in (t, y, x, channel) order."""
  (t, h, w), (T, H, W) = patch, frames.shape[:3]
  x = tf.reshape(frames, [T // t, t, H // h, h, W // w, w, 3])
  x = tf.transpose(x, [0, 2, 4, 1, 3, 5, 6])
  return tf.reshape(x, [-1, t * h * w * 3])


def video_patches_at(frames: tf.Tensor, patch: tuple[int, int, int], positions: tf.Tensor) -> tf.Tensor:
  """uint8 frames (T, H, W, 3), int32 positions (K,) -> their rows (K, P) of `video_patches`; no other is copied."""
  (t, h, w), (T, H, W) = patch, frames.shape[:3]
  grid = (T // t, H // h, W // w)

  def cut(frames, positions):
    line = np.dtype((np.void, w * 3))  # A patch is t * h lines of pixels, each of which lies in one piece.
    lines = frames.reshape(T, H, grid[2], w * 3).view(line).reshape(grid[0], t, grid[1], h, grid[2])
    kept = lines.transpose(0, 2, 4, 1, 3)[np.unravel_index(positions, grid)]
    return kept.view(np.uint8).reshape(len(positions), t * h * w * 3)

  rows = tf.numpy_function(cut, [frames, positions], tf.uint8, stateful=False)
  return tf.ensure_shape(rows, [positions.shape[0], t * h * w * 3])


def audio_patches(samples: tf.Tensor, patch: int) -> tf.Tensor:
  """samples (S,) -> (S / patch, patch)."""
  return tf.reshape(samples, [-1, patch])


def spectrogram_patches(spectrogram: tf.Tensor, patch: tuple[int, int]) -> tf.Tensor:
  """(frames, mels) -> (N, t*m): N in (time, mel) order."""
  (t, m), (T, M) = patch, spectrogram.shape
  return tf.reshape(tf.transpose(tf.reshape(spectrogram, [T // t, t, M // m, m]), [0, 2, 1, 3]), [-1, t * m])


def keep_count(tokens: int, drop_rate: float) -> int:
  """K = floor((1 - drop_rate) * N), at least one."""
  return max(1, math.floor((1.0 - drop_rate) * tokens + 1e-9))


def drop_tokens(patches: tf.Tensor, drop_rate: float, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Keeps a random subset. (N, P) -> patches (K, P) and their int32 positions (K,), ascending.

  Args:
    key: int64 (2,), of this clip, modality and visit.
  """
  positions = kept_positions(patches.shape[0], drop_rate, key)
  return patches if drop_rate == 0.0 else tf.gather(patches, positions), positions


def kept_positions(tokens: int, drop_rate: float, key: tf.Tensor) -> tf.Tensor:
  """int32 (K,), ascending: which of so many tokens DropToken leaves to the clip of this key."""
  if drop_rate == 0.0:
    return tf.range(tokens, dtype=tf.int32)
  order = tf.argsort(tf.random.stateless_uniform([tokens], key))
  return tf.sort(order[: keep_count(tokens, drop_rate)])
