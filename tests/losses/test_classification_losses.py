"""Losses of classifiers against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from vatt_jax.losses import classification

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(4, 3)).astype(np.float32)
PRESENT = np.array([True, True, False, True])


def test_softmax_with_smoothed_labels():
  labels = np.eye(3)[[0, 2, 1, 1]]
  smoothed = 0.9 * labels + 0.1 / 3
  rows = -(smoothed * (LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True)))).sum(1)
  found = classification.softmax_loss(LOGITS, labels, PRESENT, 0.1)
  np.testing.assert_allclose(found, rows[PRESENT].mean(), rtol=1e-5)


def test_balanced_sigmoid_weighs_rare_labels_more():
  labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]], float)
  p = 1 / (1 + np.exp(-LOGITS))
  rows = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).sum(1)
  np.testing.assert_allclose(classification.sigmoid_loss(LOGITS, labels, PRESENT), rows[PRESENT].mean(), rtol=1e-5)
  weights = np.array([1 / 2, (1 / 2 + 1 / 1) / 2, 0, 0])  # absent clips are not counted, unlabelled ones weigh nothing
  expected = (rows * weights)[PRESENT].mean()
  np.testing.assert_allclose(classification.sigmoid_loss(LOGITS, labels, PRESENT, balanced=True), expected, rtol=1e-5)


def test_mix_up_mixes_inputs_and_labels_alike():
  inputs, labels = jnp.eye(6)[:, :, None] * jnp.ones((1, 1, 2)), jnp.eye(6)
  mixed, targets = classification.mix_up(jax.random.key(0), inputs, labels, jnp.ones(6, bool), 5.0)
  np.testing.assert_allclose(mixed[:, :, 1], targets, atol=1e-6)
  np.testing.assert_allclose(targets.sum(1), 1.0, atol=1e-6)
  assert float(jnp.min(jnp.max(targets, axis=1))) < 1.0
  some, own = classification.mix_up(jax.random.key(0), inputs, labels, jnp.arange(6) != 2, 5.0)
  met = np.flatnonzero((np.arange(6) != 2) & (targets[:, 2] > 0))  # Whoever meets the absent one stays as it is.
  assert len(met) == 1 and not own[met, 2].any() and own[met[0], met[0]] == 1.0
  np.testing.assert_array_equal(np.delete(own, met, axis=0), np.delete(targets, met, axis=0))
