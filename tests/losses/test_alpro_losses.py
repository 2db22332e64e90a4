"""ALPRO's losses against a few lines of NumPy, and what their random parts do on average."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vatt_jax.losses import alpro

rng = np.random.default_rng(0)


def cross_entropy(logits, target):
  logits = np.asarray(logits, np.float64)
  return np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(logits)), target]


def test_contrast_is_the_mean_of_both_directions():
  s = rng.normal(size=(5, 5)).astype(np.float32)
  everyone = np.ones(5, bool)
  expected = (cross_entropy(s, range(5)).mean() + cross_entropy(s.T, range(5)).mean()) / 2
  np.testing.assert_allclose(alpro.video_text_contrast(s, everyone), expected, rtol=1e-6)
  present = np.array([1, 1, 0, 1, 0], bool)
  few = s[np.ix_(present, present)]
  np.testing.assert_allclose(
    alpro.video_text_contrast(s, present), alpro.video_text_contrast(few, np.ones(3, bool)), rtol=1e-6
  )
  assert alpro.video_text_contrast(s, ~everyone) == 0


def test_negatives_are_drawn_by_similarity_and_never_the_own():
  s = np.array([[9.0, 1.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0], [0.0, 0.0, 9.0, 0.0], [0.0, 0.0, 0.0, 9.0]], np.float32)
  present = np.array([1, 1, 1, 0], bool)
  draws, found = jax.vmap(lambda key: alpro.hard_negatives(key, s, present))(jax.random.split(jax.random.key(0), 4000))
  assert found.all() and not (draws == np.arange(4)[None]).any() and not (draws == 3).any()
  assert np.mean(draws[:, 0] == 1) == pytest.approx(np.e / (np.e + 1), abs=0.03)
  near, found = jax.vmap(lambda key: alpro.hard_negatives(key, s, present, 2))(jax.random.split(jax.random.key(0), 50))
  assert (near[:, :2] == np.array([[1, 0]])).all()  # Blocks of two leave one candidate, or none.
  assert found[0].tolist() == [True, True, False, True]


def test_nothing_selected_is_no_loss_and_has_a_gradient():
  nothing = np.zeros([2], bool)
  words = lambda x: alpro.masked_language(x, np.zeros([2, 3], int), np.zeros([2, 3], bool))
  assert words(np.ones([2, 3, 7], np.float32)) == 0
  assert np.isfinite(jax.grad(words)(np.ones([2, 3, 7], np.float32))).all()
  entities = lambda x: alpro.prompting_entities(x, np.full([2, 4], 0.25, np.float32), nothing)
  assert entities(np.ones([2, 4], np.float32)) == 0
  assert alpro.video_text_matching(np.ones([2, 2], np.float32), nothing, nothing) == 0


def test_words_and_entities_against_numpy():
  logits, ids = rng.normal(size=(2, 3, 7)).astype(np.float32), rng.integers(0, 7, (2, 3))
  selected = np.array([[1, 0, 1], [0, 1, 0]], bool)
  expected = cross_entropy(logits[selected], ids[selected]).mean()
  np.testing.assert_allclose(alpro.masked_language(logits, ids, selected), expected, rtol=1e-6)
  labels = rng.dirichlet(np.ones(7), 2).astype(np.float32)
  rows = logits[:, 0]
  probabilities = np.exp(rows) / np.exp(rows).sum(-1, keepdims=True)
  expected = -(labels * np.log(probabilities)).sum(-1)[1]
  np.testing.assert_allclose(alpro.prompting_entities(rows, labels, np.array([False, True])), expected, rtol=1e-5)


def test_the_filters():
  labels = np.array([[0.9, 0.05, 0.05], [0.1, 0.15, 0.11], [0.05, 0.8, 0.15]], np.float32)
  assert alpro.keep_labels(labels, "paper").tolist() == [True, False, True]
  assert alpro.keep_labels(labels, "official").tolist() == [False, True, True]
  assert alpro.keep_labels(labels, "none").all()


def test_words_are_hidden_as_in_bert():
  ids = np.full([200, 50], 7, np.int32)
  maskable = np.ones(ids.shape, bool)
  maskable[:, 0] = False
  hidden, selected = alpro.mask_words(jax.random.key(0), ids, maskable, 1000, mask_id=3)
  assert not selected[:, 0].any() and (hidden == ids)[~selected].all()
  assert np.mean(selected[:, 1:]) == pytest.approx(0.15, abs=0.01)
  chosen = np.asarray(hidden)[np.asarray(selected)]
  assert np.mean(chosen == 3) == pytest.approx(0.8, abs=0.03)
  assert np.mean(chosen == 7) == pytest.approx(0.1, abs=0.03)


def test_rectangles_are_as_the_published_ones():
  """Figures of the official rule, measured over many draws."""
  inside = jax.jit(lambda: alpro.random_rectangles(jax.random.key(0), 4000, (14, 14), (16, 16)))().reshape(-1, 14, 14)
  counts = np.asarray(jnp.sum(inside, axis=(1, 2)))
  heights, widths = (np.asarray(jnp.sum(jnp.any(inside, axis=axis), axis=1)) for axis in (2, 1))
  assert (heights * widths == counts).all() and counts.min() >= 44 and counts.max() <= 96
  assert counts.mean() == pytest.approx(65.6, abs=0.7)
  assert np.mean(counts / 196 < 0.3) == pytest.approx(0.30, abs=0.03)
  assert np.mean(heights > widths) == pytest.approx(0.67, abs=0.03)
  assert np.mean(inside[:, 7, 7]) == pytest.approx(0.73, abs=0.03)
  assert np.mean(inside[:, 0, 0]) == pytest.approx(0.03, abs=0.02)
