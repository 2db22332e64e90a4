"""Patches and DropToken on the host.

Source: VATT sections 3.1 and 3.2. The official code draws one permutation per replica batch; here each clip draws its
own, and what is dropped is never copied, batched or sent to the device.
"""

import math

import tensorflow as tf


def video_patches(frames: tf.Tensor, patch: tuple[int, int, int]) -> tf.Tensor:
  """frames (T, H, W, 3) -> (N, t*h*w*3): N in (t, y, x) order, values in (t, y, x, channel) order."""
  (t, h, w), (T, H, W) = patch, frames.shape[:3]
  x = tf.reshape(frames, [T // t, t, H // h, h, W // w, w, 3])
  x = tf.transpose(x, [0, 2, 4, 1, 3, 5, 6])
  return tf.reshape(x, [-1, t * h * w * 3])


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
  tokens = patches.shape[0]
  if drop_rate == 0.0:
    return patches, tf.range(tokens, dtype=tf.int32)
  order = tf.argsort(tf.random.stateless_uniform([tokens], key))
  positions = tf.sort(order[: keep_count(tokens, drop_rate)])
  return tf.gather(patches, positions), positions
