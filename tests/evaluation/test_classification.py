"""Classification metrics against scikit-learn and closed forms."""

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
  assert found == {"top_1": 0.5, "clips": 2.0}


def test_equal_scores_are_no_hit():
  """A model that says nothing must not look right."""
  assert classification.one_label(np.zeros([10, 7]), np.zeros(10, int))["top_1"] == 0.0


def test_empty_sets_say_so():
  with pytest.raises(NothingToCompare, match="labels that the model knows"):
    classification.one_label(np.zeros([2, 3]), np.array([-1, -1]))
  with pytest.raises(NothingToCompare, match="no class"):
    classification.several_labels(np.zeros([2, 3]), np.zeros([2, 3]))


def test_answers_that_nobody_knows_are_wrong():
  scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
  found = classification.answers(scores, np.array([0, 1, -1, 0]), ["What is it?", "who sings", "what for?", "is it?"])
  assert found == {"top_1": 0.5, "questions": 4.0, "answerable": 0.75, "top_1/what": 0.5, "top_1/who": 1.0}
