"""Probes on frozen features, against scikit-learn and what can be worked out by hand."""

import jax
import numpy as np
import pytest
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
import threadpoolctl

from vatt_jax.evaluation import classification, probes


def clouds(n=90, classes=4, width=6, distance=1.0, seed=0):
  """Features around a centre for each class, of unequal scale, and labels."""
  random = np.random.default_rng(seed)
  labels = random.permutation(np.arange(n) % classes)
  centres = distance * random.normal(size=(classes, width))
  return (centres[labels] + random.normal(size=(n, width))) * np.arange(1, width + 1) + 3.0, labels


@pytest.mark.parametrize("cost", [1e-3, 0.1, 10.0])
def test_logistic_regression_is_scikit_learns(cost):
  features, labels = clouds()
  scaler = StandardScaler().fit(features)
  reference = LogisticRegression(C=cost, tol=1e-10, max_iter=10_000).fit(scaler.transform(features), labels)
  new, _ = clouds(seed=1)
  found = probes.logistic(features, labels, 4, cost=cost)(new)
  np.testing.assert_allclose(found, reference.predict_proba(scaler.transform(new)), atol=2e-5)


@pytest.mark.parametrize("cost", [6e-5, 0.1, 10.0])
def test_support_vectors_are_scikit_learns(cost):
  features, labels = clouds()
  scaler = StandardScaler().fit(features)
  reference = LinearSVC(C=cost, dual=False, tol=1e-10, max_iter=100_000).fit(scaler.transform(features), labels)
  new, _ = clouds(seed=1)
  found = probes.support_vectors(features, labels, 4, cost=cost)(new)
  np.testing.assert_allclose(found, reference.decision_function(scaler.transform(new)), atol=1e-4)


@pytest.mark.parametrize("neighbours", [1, 7, 1000])
def test_nearest_neighbours_are_scikit_learns(neighbours):
  features, labels = clouds()
  reference = KNeighborsClassifier(
    min(neighbours, len(features)), metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
  ).fit(features, labels)
  new, _ = clouds(n=20, seed=1)
  found = probes.nearest(features, labels, 4, neighbours=neighbours)(new)
  np.testing.assert_allclose(found, reference.predict_proba(new), atol=1e-9)


def test_features_that_never_vary_do_no_harm():
  features, labels = clouds()
  with_constant = np.concatenate([features, np.full([len(features), 1], 5.0)], axis=1)
  for probe in (probes.logistic, probes.support_vectors):
    plain, other = probe(features, labels, 4)(features), probe(with_constant, labels, 4)(with_constant)
    np.testing.assert_allclose(plain, other, atol=1e-4)


def test_views_are_scored_one_by_one():
  features, labels = clouds()
  views = np.stack([features[:10], features[10:20]], axis=1)  # (n, V, D)
  for probe in (probes.logistic, probes.support_vectors, probes.nearest):
    score = probe(features, labels, 4)
    np.testing.assert_allclose(score(views)[:, 1], score(features[10:20]), atol=1e-12)


def test_short_vectors_are_not_split_among_threads(monkeypatch):
  threads = lambda: [each["num_threads"] for each in threadpoolctl.threadpool_info() if "/scipy" in each["filepath"]]
  features, labels = clouds()
  during, minimize = [], optimize.minimize
  monkeypatch.setattr(
    optimize, "minimize", lambda *args, **options: during.extend(threads()) or minimize(*args, **options)
  )
  with threadpoolctl.threadpool_limits(2):
    probes.logistic(features, labels, 4)
    assert during and set(during) == {1} and set(threads()) == {2}


def test_the_low_rank_classifier_learns_and_repeats_itself():
  features, labels = clouds(distance=3.0)
  features = (features - features.mean(0)) / features.std(0)
  options = dict(components=16, kept=0.5, learning_rate=1e-2, batch_size=32, steps=200)
  score = probes.low_rank(features, labels, 4, **options)(features)
  np.testing.assert_allclose(score.sum(-1), 1.0)
  assert np.mean(score.argmax(-1) == labels) > 0.95
  np.testing.assert_array_equal(score, probes.low_rank(features, labels, 4, **options)(features))
  assert np.abs(score - probes.low_rank(features, labels, 4, **options, seed=1)(features)).max() > 1e-3


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_the_low_rank_classifier_is_adam_on_a_product_of_matrices(l2):
  """Without dropout, all clips in one batch: five steps in NumPy."""
  features, labels = clouds(n=12, classes=3, width=4)
  down, up, _ = jax.random.split(jax.random.key(0), 3)
  glorot = jax.nn.initializers.glorot_normal()
  p = [np.asarray(glorot(down, (4, 2)), float), np.zeros(2), np.asarray(glorot(up, (2, 3)), float), np.zeros(3)]
  first, second, hot = [0.0] * 4, [0.0] * 4, np.eye(3)[labels]
  predict = lambda: special.softmax((features @ p[0] + p[1]) @ p[2] + p[3], axis=1)
  for t in range(1, 6):
    wrong, hidden = (predict() - hot) / 12, features @ p[0] + p[1]
    back = wrong @ p[2].T
    grads = [features.T @ back, back.sum(0), hidden.T @ wrong + 2 * l2 * p[2], wrong.sum(0)]
    first = [0.9 * m + 0.1 * g for m, g in zip(first, grads)]
    second = [0.999 * v + 0.001 * g**2 for v, g in zip(second, grads)]
    moves = [m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7) for m, v in zip(first, second)]
    p = [x - 0.01 * move for x, move in zip(p, moves)]
  options = dict(components=2, kept=1.0, learning_rate=0.01, l2=l2)
  np.testing.assert_allclose(probes.low_rank(features, labels, 3, **options, steps=5)(features), predict(), atol=1e-5)
  np.testing.assert_allclose(probes.low_rank(features, labels, 3, **options, epochs=5)(features), predict(), atol=1e-5)


def test_a_few_clips_of_each_class():
  labels = np.array([2] * 5 + [0] * 2 + [1] * 9)
  rows = probes.few(labels, 3, seed=0)
  assert np.bincount(labels[rows]).tolist() == [2, 3, 3] and (np.diff(rows) > 0).all()
  assert rows.tolist() != probes.few(labels, 3, seed=1).tolist()


def several(n=120, classes=5, seed=0):
  """Features that are sums over a clip's labels, with noise; labels 0 or 1 (n, C). Some clips have none."""
  random = np.random.default_rng(seed)
  labels = (random.random((n, classes)) < 0.3).astype(np.float32)
  centres = np.random.default_rng(9).normal(size=(classes, 8))
  return labels @ centres + 0.5 * random.normal(size=(n, 8)), labels


@pytest.mark.parametrize("cost", [1e-2, 1.0])
@pytest.mark.parametrize("name", ["logistic", "support_vectors"])
def test_several_labels_are_one_question_each(name, cost):
  features, labels = several()
  scaler = StandardScaler().fit(features)
  kinds = {
    "logistic": LogisticRegression(C=cost, tol=1e-10, max_iter=10_000),
    "support_vectors": LinearSVC(C=cost, dual=False, tol=1e-10, max_iter=100_000),
  }
  reference = OneVsRestClassifier(kinds[name]).fit(scaler.transform(features), labels)
  say = reference.predict_proba if name == "logistic" else reference.decision_function
  new, _ = several(seed=1)
  found = probes.PROBES[name](features, labels, 5, cost=cost)(new)
  np.testing.assert_allclose(found, say(scaler.transform(new)), atol=1e-4)


def test_neighbours_vote_for_all_their_labels():
  features, labels = several()
  reference = KNeighborsClassifier(7, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07))
  shares = reference.fit(features, labels).predict_proba(features[:20])
  found = probes.nearest(features, labels, 5, neighbours=7)(features[:20])
  np.testing.assert_allclose(found, np.stack([share[:, 1] for share in shares], axis=1), atol=1e-9)


def test_the_low_rank_classifier_learns_several_labels():
  features, labels = several(n=300)
  new, truth = several(seed=1)
  options = dict(components=16, kept=0.5, learning_rate=1e-2, batch_size=32, steps=300)
  metrics = classification.several_labels(probes.low_rank(features, labels, 5, **options)(new), truth)
  assert metrics["mean_average_precision"] > 0.9 and metrics["d_prime"] > 2


@pytest.mark.parametrize("name", ["low_rank", "logistic", "support_vectors"])
def test_classes_that_training_never_or_always_has_are_chance(name):
  features, labels = several()
  labels[:, 1], labels[:, 3] = 0.0, 1.0
  options = {"steps": 20, "components": 4} if name == "low_rank" else {}
  scores = probes.PROBES[name](features, labels, 5, **options)(features)
  assert (scores[:, 1] == 0.0).all() and (scores[:, 3] == 1.0).all() and len(np.unique(scores[:, 0])) > 100
  truth = several()[1]
  assert classification.average_precision(scores[:, 1], truth[:, 1] > 0) == pytest.approx(truth[:, 1].mean())


def test_a_few_clips_of_each_of_several_labels():
  labels = np.array([[1, 1, 0]] * 3 + [[0, 1, 0]] * 4 + [[0, 0, 0]] * 5)
  rows = probes.few(labels, 2, seed=0)
  assert (np.diff(rows) > 0).all() and rows.max() < 7 and 2 <= len(rows) <= 4
  assert labels[rows, 0].sum() >= 2 and labels[rows, 1].sum() >= 2
