"""Randomness without state: every draw is a function of (seed, epoch, record number) and the name of its use."""

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
