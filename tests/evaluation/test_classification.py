"""Classification metrics against scikit-learn and closed forms."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics

from vatt_jax.evaluation import classification
from vatt_jax.evaluation.retrieval import NothingToCompare


@pytest.mark.parametrize("ties", [False, True])
def test_several_labels_equal_scikit_learn(ties):
  random = np.random.default_rng(0)
  scores = random.normal(size=(60, 4))
  scores = np.round(scores) if ties else scores
  labels = random.random((60, 4)) < [0.1, 0.5, 0.3, 0.0]  # the last class never occurs
  labels[0, :3] = True
  found = classification.several_labels(scores, labels)
  assert found["classes"] == 3 and found["clips"] == 60
  expected = metrics.average_precision_score(labels[:, :3], scores[:, :3], average="macro")
  assert found["mean_average_precision"] == pytest.approx(expected, abs=1e-12)
  areas = metrics.roc_auc_score(labels[:, :3], scores[:, :3], average=None)
  assert found["area_under_curve"] == pytest.approx(areas.mean(), abs=1e-12)
  assert found["d_prime"] == pytest.approx(np.mean(math.sqrt(2) * norm.ppf(areas)), abs=1e-9)


def test_one_label_equals_scikit_learn():
  random = np.random.default_rng(1)
  scores, labels = random.normal(size=(50, 9)), random.integers(0, 9, 50)
  found = classification.one_label(scores, labels)
  for k in (1, 5):
    assert found[f"top_{k}"] == pytest.approx(metrics.top_k_accuracy_score(labels, scores, k=k, labels=range(9)))


def test_unlabelled_clips_are_left_out_and_few_classes_have_no_top_5():
  found = classification.one_label(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), np.array([0, 0, -1]))
  assert found == {"top_1": 0.5, "chance_top_1": 0.5, "clips": 2.0}


@pytest.mark.parametrize("classes", [2, 7, 101])
def test_a_model_that_says_nothing_scores_chance(classes):
  found = classification.one_label(np.zeros([10, classes]), np.zeros(10, int))
  assert found["top_1"] == pytest.approx(1 / classes) and found["chance_top_1"] == 1 / classes
  assert ("top_5" in found) == (classes > 5)
  assert (
    found.get("top_5") == pytest.approx(found.get("chance_top_5")) and found.get("top_5", 5 / classes) == 5 / classes
  )


def test_ties_are_the_mean_over_their_orders():
  """By trying every order of the classes that tie."""
  random = np.random.default_rng(2)
  scores, labels = random.integers(0, 3, (20, 6)).astype(float), random.integers(0, 6, 20)
  orders = [np.array(order) for order in itertools.permutations(range(6))]
  found = classification.one_label(scores, labels)
  for k in (1, 5):
    first = lambda order, k=k: order[np.argsort(-scores[:, order], axis=1, kind="stable")[:, :k]]
    hits = np.mean([(first(order) == labels[:, None]).any(axis=1) for order in orders])
    assert found[f"top_{k}"] == pytest.approx(hits)


def test_scores_that_are_no_numbers_never_hit():
  scores = np.array([[np.nan, 0.0, -1.0], [np.nan, np.nan, np.nan], [np.inf, 0.0, 1.0]])
  assert classification.one_label(scores, np.array([1, 0, 2]))["top_1"] == pytest.approx(2 / 3)
  assert classification.one_label(scores, np.array([0, 1, 0]))["top_1"] == 0.0


def test_of_several_labels_too():
  """Neither for a clip that has the label nor for one that has not."""
  scores, labels = np.array([[2.0], [np.nan], [1.0], [np.inf]]), np.array([[1], [1], [0], [0]])
  last = classification.several_labels(np.array([[2.0], [0.0], [1.0], [0.0]]), labels)
  assert classification.several_labels(scores, labels) == last
  assert classification.average_precisions(scores, labels)[0] == last["mean_average_precision"]
  nothing = classification.several_labels(np.full([4, 1], np.nan), labels)
  assert nothing["area_under_curve"] == nothing["mean_average_precision"] == 0.5


def test_closed_forms_of_one_class():
  """AUC of two normal distributions a distance d apart is Phi(d / sqrt 2), so d' is d; perfect order has AP and AUC 1."""
  quantiles = norm.ppf((np.arange(400) + 0.5) / 400)
  scores = np.concatenate([quantiles + 1.5, quantiles])[:, None]
  labels = np.repeat([1, 0], 400)[:, None]
  found = classification.several_labels(scores, labels)
  assert found["d_prime"] == pytest.approx(1.5, abs=5e-3)
  assert found["area_under_curve"] == pytest.approx(norm.cdf(1.5 / math.sqrt(2)), abs=1e-3)
  perfect = classification.several_labels(labels.astype(float), labels)
  assert perfect["mean_average_precision"] == perfect["area_under_curve"] == 1.0
  assert math.isfinite(perfect["d_prime"])
  nothing = classification.several_labels(np.zeros([800, 1]), labels)
  assert nothing["mean_average_precision"] == nothing["area_under_curve"] == 0.5 and nothing["d_prime"] == 0.0
  rare = np.concatenate([labels, np.zeros([3200, 1])])
  nothing = classification.several_labels(np.zeros([4000, 1]), rare)
  assert nothing["mean_average_precision"] == nothing["chance_mean_average_precision"] == 0.1


def test_empty_sets_say_so():
  with pytest.raises(NothingToCompare, match="labels that the model knows"):
    classification.one_label(np.zeros([2, 3]), np.array([-1, -1]))
  with pytest.raises(NothingToCompare, match="no class"):
    classification.several_labels(np.zeros([2, 3]), np.zeros([2, 3]))
  with pytest.raises(NothingToCompare, match="no class"):
    classification.several_labels(np.zeros([2, 1]), np.ones([2, 1]))
  for measure in (classification.one_label, classification.several_labels):
    with pytest.raises(NothingToCompare):
      measure(np.zeros([0, 3]), np.zeros([0], int) if measure is classification.one_label else np.zeros([0, 3]))
  with pytest.raises(NothingToCompare, match="no question"):
    classification.answers(np.zeros([0, 3]), np.zeros([0], int), [])


def test_answers_that_nobody_knows_are_wrong():
  scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
  found = classification.answers(scores, np.array([0, 1, -1, 0]), [" What's it?", "who sings", "what for?", "is it?"])
  assert found == {"top_1": 0.5, "questions": 4.0, "answerable": 0.75, "top_1/what": 0.5, "top_1/who": 1.0}


def test_confusion_and_what_follows_from_it_equal_scikit_learn():
  random = np.random.default_rng(4)
  scores, labels = random.normal(size=(80, 5)), random.integers(-1, 4, 80)  # The last class never occurs.
  scores[:, 2] = -9.0  # And this one is never given.
  kept, said = labels >= 0, scores.argmax(axis=1)
  counts = classification.confusion(scores, labels)
  np.testing.assert_array_equal(counts, metrics.confusion_matrix(labels[kept], said[kept], labels=range(5)))
  found = classification.per_class(counts)
  expected = metrics.precision_recall_fscore_support(labels[kept], said[kept], labels=range(5), zero_division=np.nan)
  for mine, reference in zip((found.precision, found.recall, found.clips), (expected[0], expected[1], expected[3])):
    np.testing.assert_allclose(mine, reference)
  assert np.isnan(found.precision[2]) and np.isnan(found.recall[4]) and found.said.sum() == kept.sum()


def test_average_precision_of_each_class():
  random = np.random.default_rng(5)
  scores, labels = random.normal(size=(40, 3)), (random.random((40, 3)) < [0.3, 0.6, 0.0]).astype(np.float32)
  found = classification.average_precisions(scores, labels)
  np.testing.assert_allclose(found[:2], metrics.average_precision_score(labels[:, :2], scores[:, :2], average=None))
  assert np.isnan(found[2])
