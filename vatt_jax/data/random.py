"""Randomness without state: every draw is a function of (seed, epoch, record number) and the name of its use."""

import functools
import statistics

import numpy as np
import tensorflow as tf

# One stream for each use, so that adding a transform does not change the others' draws.
_NAMES = (
    "offset", "crop", "flip", "colour", "noise", "speed", "gain", "video_drop", "audio_drop", "colour_gate", "frames",
    "augment", "windows",
)  # fmt: skip
STREAMS = {name: i for i, name in enumerate(_NAMES)}


def example_key(seed: tf.Tensor, epoch: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
  """int64 (2,): the key of one visit of one record."""
  key = tf.stack([tf.cast(seed, tf.int64), tf.constant(0x5EED, tf.int64)])
  for value in (epoch, number):
    key = tf.random.experimental.stateless_fold_in(key, tf.cast(value, tf.int64))
  return key


def stream(key: tf.Tensor, name: str) -> tf.Tensor:
  """The key of one use within an example."""
  return tf.random.experimental.stateless_fold_in(key, STREAMS[name])


def window_key(key: tf.Tensor, number: int) -> tf.Tensor:
  """The key of window `number` of an example; the first has the example's own."""
  return tf.random.experimental.stateless_fold_in(stream(key, "windows"), number) if number else key


def uniform(key: tf.Tensor, name: str, shape=(), low: float = 0.0, high: float = 1.0) -> tf.Tensor:
  """float32 in [low, high)."""
  return tf.random.stateless_uniform(shape, stream(key, name), low, high)


def normal(key: tf.Tensor, name: str, shape: tf.Tensor) -> tf.Tensor:
  """float32, Gaussian with mean 0 and deviation 1: of 65,536 equally likely values, up to 4.3, each by 16 random bits.

  A ninth of the time that `tf.random.stateless_normal` takes.
  """

  def draw(key, shape):
    bits = np.random.SFC64(key.view(np.uint64))
    return _normal_values().take(np.random.Generator(bits).integers(0, 2**16, shape, np.uint16))

  return tf.numpy_function(draw, [stream(key, name), shape], tf.float32, stateful=False)


@functools.cache
def _normal_values() -> np.ndarray:
  """float32 (65,536,): the middle of each of so many equal parts of the distribution, ascending."""
  normal = statistics.NormalDist()
  return np.array([normal.inv_cdf((i + 0.5) / 2**16) for i in range(2**16)], np.float32)
