"""Patches and DropToken on the host.

Source: VATT sections 3.1 and 3.2. The official code draws one permutation per replica batch; here each clip draws its
own, and what is dropped is never copied, batched or sent to the device.
"""

import math

import numpy as np
import tensorflow as tf

from vatt_jax.data import memory


def video_patches(frames: np.ndarray, patch: tuple[int, int, int], positions: np.ndarray | None = None) -> np.ndarray:
  """frames (T, H, W, 3) -> (N, t*h*w*3): N in (t, y, x) order, values in (t, y, x, channel) order.

  Args:
    positions: int (K,), the only rows that are made; no other is copied.
  """
  (t, h, w), (T, H, W) = patch, frames.shape[:3]
  grid = (T // t, H // h, W // w)
  positions = np.arange(math.prod(grid)) if positions is None else positions
  # A patch is t * h lines of pixels, each of which lies in one piece.
  line = np.dtype((np.void, w * 3 * frames.itemsize))
  lines = np.ascontiguousarray(frames).reshape(-1, w * 3).view(line).reshape(T * H * grid[2])
  z, y, x = np.unravel_index(positions, grid)
  first = (z * t * H + y * h) * grid[2] + x
  others = (np.arange(t)[:, None] * H + np.arange(h)) * grid[2]
  rows = memory.aligned((len(positions), t * h), line)
  np.take(lines, first[:, None] + others.reshape(-1), out=rows, mode="clip")
  return rows.view(frames.dtype).reshape(len(positions), t * h * w * 3)


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
