"""Draws that depend on keys alone."""

import numpy as np
import tensorflow as tf

from vatt_jax.data import random

KEY = random.example_key(tf.constant(0), tf.constant(1), tf.constant(2))


def test_normal_draws_are_gaussian():
  """Moments to the fourth, and the share beyond two deviations."""
  draws = random.normal(KEY, "noise", tf.constant([1000, 300])).numpy()
  assert draws.shape == (1000, 300) and draws.dtype == np.float32
  moments = [(draws.astype(float) ** power).mean() for power in (1, 2, 3, 4)]
  np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.04)
  np.testing.assert_allclose((np.abs(draws) > 2).mean(), 0.0455, atol=0.002)


def test_normal_draws_follow_key_and_name():
  draw = lambda *of: random.normal(*of, tf.constant([64])).numpy()
  np.testing.assert_array_equal(draw(KEY, "noise"), draw(KEY, "noise"))
  others = [draw(KEY, "gain"), draw(random.window_key(KEY, 1), "noise"), draw(KEY + 1, "noise")]
  assert len({values.tobytes() for values in (draw(KEY, "noise"), *others)}) == 4
