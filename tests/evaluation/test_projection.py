"""Maps of embeddings against scikit-learn and closed forms."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from vatt_jax.evaluation import projection


def divergence(points, layout):
  """What t-SNE minimises: how much the neighbours on the plane differ from the neighbours of the points."""
  wanted = projection.neighbour_probabilities(points, 20)
  found = 1 / (1 + np.sum((layout[:, None] - layout[None]) ** 2, axis=-1))
  np.fill_diagonal(found, 0)
  return np.sum(wanted * np.log(np.maximum(wanted, 1e-12) / np.maximum(found / found.sum(), 1e-12)))


def blobs(groups, rows, width=16):
  rng = np.random.default_rng(0)
  labels = np.arange(rows) % groups
  return (4 * rng.normal(size=(groups, width)))[labels] + rng.normal(size=(rows, width)), labels


def test_principal_components_are_those_of_scikit_learn():
  points = np.random.default_rng(0).normal(size=(40, 6)) * [1, 5, 2, 1, 3, 1] + 7
  ours, reference = projection.principal_components(points, 3), PCA(3).fit_transform(points)
  np.testing.assert_allclose(ours, reference * np.sign(np.sum(ours * reference, axis=0)), atol=1e-9)


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (3, 1)])
def test_few_points_or_dimensions_leave_zeros(shape):
  points = np.arange(np.prod(shape), dtype=float).reshape(shape)
  assert projection.principal_components(points).shape == projection.tsne(points).shape == (shape[0], 2)


def test_neighbourhoods_have_the_wanted_perplexity():
  points, _ = blobs(3, 60)
  # Far apart copies do not see each other, and in a regular simplex all others are equally near.
  probabilities = projection.neighbour_probabilities(np.eye(12), 11)
  np.testing.assert_allclose(probabilities, (1 - np.eye(12)) / (12 * 11), atol=1e-9)
  probabilities = projection.neighbour_probabilities(points, 10)
  np.testing.assert_allclose(probabilities.sum(), 1)
  np.testing.assert_allclose(probabilities, probabilities.T)
  assert np.all(np.diag(probabilities) == 0)


def test_the_layout_is_as_good_as_that_of_scikit_learn():
  points, labels = blobs(5, 150)
  ours = projection.tsne(points, perplexity=20)
  reference = TSNE(perplexity=20, init="pca", method="exact", max_iter=400, random_state=0).fit_transform(points)
  assert divergence(points, ours) < 1.05 * divergence(points, reference)
  distances = np.sum((ours[:, None] - ours[None]) ** 2, axis=-1) + np.diag(np.full(150, np.inf))
  assert np.mean(labels[distances.argmin(axis=1)] == labels) == 1  # The groups of the points are kept.
  np.testing.assert_array_equal(ours, projection.tsne(points, perplexity=20))


def test_equal_points_do_not_break_it():
  assert np.isfinite(projection.tsne(np.ones((20, 4)))).all()
  assert np.isfinite(projection.tsne(np.repeat(np.eye(4), 5, axis=0))).all()
