"""The losses against NumPy written from the equations, in float64."""

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np
import pytest

from vatt_jax.losses.nce import (
  masked_mean,
  mil_nce,
  mil_nce_once,
  overlapping,
  sigmoid_nce,
  symmetric_nce,
  untrained_level,
)

FORMS = [mil_nce, mil_nce_once, symmetric_nce]


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def meets(i, j, spans):
  """Whether clips i and j may be compared: they are one, or do not show the same seconds of one file."""
  if spans is None or i == j:
    return True
  source, span = spans
  apart = max(span[i, 0], span[j, 0]) >= min(span[i, 1], span[j, 1])
  return source[i] != source[j] or source[i] < 0 or apart


def reference(video, text, video_present, text_present, temperature, form, groups=1, spans=None):
  """Loops, one clip at a time: P positives, R my video against all texts, C all videos against my texts."""
  video, text = unit(video.astype(np.float64)), unit(text.astype(np.float64))
  there = lambda i, present: [j for j in np.flatnonzero(present) if meets(i, j, spans)]
  losses = [[] for _ in range(groups)]
  for i in np.flatnonzero(video_present & text_present):
    P = sum(np.exp(video[i] @ t / temperature) for t in text[i])
    R = sum(np.exp(video[i] @ t / temperature) for j in there(i, text_present) for t in text[j])
    C = sum(np.exp(video[j] @ t / temperature) for j in there(i, video_present) for t in text[i])
    both = {mil_nce: np.log(R + C), mil_nce_once: np.log(R + C - P), symmetric_nce: np.log(R) + np.log(C) - np.log(P)}
    losses[i * groups // len(video)].append(both[form] - np.log(P))
  return np.mean([np.mean(group) if group else 0.0 for group in losses])


@pytest.mark.parametrize("loss", FORMS)
@pytest.mark.parametrize("candidates", [1, 5])
@pytest.mark.parametrize("missing", ["nothing", "text", "both"])
def test_equals_the_equations(loss, candidates, missing):
  random = np.random.default_rng(0)
  video, text = random.normal(size=(8, 6)), random.normal(size=(8, candidates, 6))
  text_present = np.ones(8, bool) if missing == "nothing" else np.arange(8) % 3 > 0
  video_present = np.arange(8) % 4 > 0 if missing == "both" else np.ones(8, bool)
  with jax.enable_x64(True):
    value = loss(video, text, text_present, temperature=0.07, video_present=video_present)
  expected = reference(video, text, video_present, text_present, 0.07, loss)
  np.testing.assert_allclose(value, expected, rtol=1e-12)


# Two films and two unknown files: clips 0 and 1 meet, 2 touches 1, 3 shows what 0 shows of another film.
SPANS = np.array([0, 0, 0, 1, -1, -1]), np.array([[0, 3], [2, 5], [5, 8], [0, 3], [0, 3], [0, 3]], np.float32)


def test_clips_overlap_that_show_the_same_seconds_of_one_file():
  found = overlapping(SPANS, SPANS)
  assert np.argwhere(found).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 2], [3, 3]]
  one, other = (SPANS[0][:2], SPANS[1][:2]), (SPANS[0][1:], SPANS[1][1:])
  np.testing.assert_array_equal(overlapping(one, other), found[:2, 1:])


@pytest.mark.parametrize("loss", FORMS)
@pytest.mark.parametrize("candidates", [1, 5])
def test_overlapping_clips_are_no_negatives(loss, candidates):
  random = np.random.default_rng(4)
  video, text = random.normal(size=(6, 5)), random.normal(size=(6, candidates, 5))
  here, there = np.array([1, 1, 1, 1, 0, 1], bool), np.array([1, 1, 0, 1, 1, 1], bool)
  with jax.enable_x64(True):
    value = loss(video, text, there, temperature=0.3, video_present=here, spans=SPANS)
  expected = reference(video, text, here, there, 0.3, loss, spans=SPANS)
  np.testing.assert_allclose(value, expected, rtol=1e-12)
  assert expected < reference(video, text, here, there, 0.3, loss) - 1e-3


@pytest.mark.parametrize("loss", FORMS)
@pytest.mark.parametrize("spans", [None, tuple(part[:4] for part in SPANS)], ids=["all", "no_overlaps"])
def test_gradients_equal_those_of_the_equations(loss, spans):
  """Central differences of the loops, in float64."""
  random = np.random.default_rng(3)
  video, text = random.normal(size=(4, 3)), random.normal(size=(4, 2, 3))
  here, there = np.array([1, 1, 0, 1], bool), np.array([1, 0, 1, 1], bool)
  with jax.enable_x64(True):
    found = jax.grad(lambda v, t: loss(v, t, there, temperature=0.5, video_present=here, spans=spans), (0, 1))(
      video, text
    )
  for which, array in enumerate((video, text)):
    for place in np.ndindex(array.shape):
      moved = [[video.copy(), text.copy()] for _ in range(2)]
      for sign, arrays in zip((1, -1), moved):
        arrays[which][place] += sign * 1e-6
      up, down = (reference(*arrays, here, there, 0.5, loss, spans=spans) for arrays in moved)
      np.testing.assert_allclose(found[which][place], (up - down) / 2e-6, atol=1e-8)


@pytest.mark.parametrize("loss", FORMS)
def test_mean_of_the_means_of_replicas(loss):
  """The official reduction: replicas count alike, however many present clips they have."""
  random = np.random.default_rng(0)
  video, text = random.normal(size=(8, 6)), random.normal(size=(8, 2, 6))
  present = np.array([1, 0, 0, 0, 1, 1, 1, 1], bool)
  with jax.enable_x64(True):
    value = loss(video, text, present, temperature=0.3, groups=4)
  np.testing.assert_allclose(value, reference(video, text, np.ones(8, bool), present, 0.3, loss, groups=4), rtol=1e-12)


@pytest.mark.parametrize("loss, floor", [(mil_nce, np.log(2)), (mil_nce_once, 0.0), (symmetric_nce, 0.0)])
def test_floor(loss, floor):
  """Perfectly separated pairs: positives stand twice in the asymmetric denominator, so its floor is ln 2."""
  same = np.eye(4, dtype=np.float32)
  value = loss(same, same[:, None], np.ones(4, bool), temperature=0.01)
  np.testing.assert_allclose(value, floor, atol=1e-5)


@pytest.mark.parametrize("loss", FORMS)
def test_absent_items_have_no_influence(loss):
  random = np.random.default_rng(1)
  video, text = random.normal(size=(6, 4)), random.normal(size=(6, 2, 4))
  present = np.array([1, 1, 0, 1, 0, 1], bool)
  with jax.enable_x64(True):
    value = loss(video, text, present, temperature=0.1, video_present=present)
    fewer = loss(video[present], text[present], np.ones(4, bool), temperature=0.1)
    grads = jax.grad(lambda v, t: loss(v, t, present, temperature=0.1, video_present=present), (0, 1))(video, text)
  np.testing.assert_allclose(value, fewer, rtol=1e-12)
  for grad in grads:
    np.testing.assert_allclose(np.asarray(grad)[~present], 0.0, atol=1e-15)


@pytest.mark.parametrize("loss", FORMS)
def test_nothing_present_gives_zero_and_finite_gradients(loss):
  nobody = np.zeros(3, bool)
  video, text = np.zeros((3, 4), np.float32), np.zeros((3, 1, 4), np.float32)
  value, grad = jax.value_and_grad(lambda v: loss(v, text, nobody, temperature=0.1, video_present=nobody))(video)
  assert value == 0.0
  assert np.all(np.isfinite(grad))


@pytest.mark.parametrize("loss", FORMS)
def test_sharded_batch_sees_all_negatives(loss):
  """Eight devices with two clips each compute what one device computes, gradients included."""
  random = np.random.default_rng(2)
  video, text = (random.normal(size=s).astype(np.float32) for s in ((16, 8), (16, 3, 8)))
  present = np.arange(16) % 5 > 0
  function = jax.jit(jax.value_and_grad(lambda v, t, p: loss(v, t, p, temperature=0.07), (0, 1)))
  rows = NamedSharding(Mesh(np.asarray(jax.devices()), "data"), PartitionSpec("data"))
  sharded = function(*jax.device_put((video, text, present), rows))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), function(video, text, present), sharded
  )


def test_masked_mean_ignores_what_is_masked():
  assert masked_mean(np.array([1.0, np.nan, 3.0], np.float32), np.array([True, False, True])) == 2.0


@pytest.mark.parametrize("name, loss", [("asymmetric", mil_nce), ("symmetric", symmetric_nce)])
def test_untrained_level(name, loss):
  equal = np.ones((8, 4), np.float32)
  value = loss(equal, equal[:, None], np.ones(8, bool), temperature=0.07)
  np.testing.assert_allclose(value, untrained_level(name, 8), rtol=1e-5)


@pytest.mark.parametrize("spans", [None, SPANS], ids=["all", "no_overlaps"])
def test_sigmoid_judges_every_pair_by_itself(spans):
  random = np.random.default_rng(5)
  video, text = random.normal(size=(6, 5)), random.normal(size=(6, 2, 5))
  here, there = np.array([1, 1, 1, 1, 0, 1], bool), np.array([1, 1, 0, 1, 1, 1], bool)
  with jax.enable_x64(True):
    value = sigmoid_nce(video, text, there, temperature=0.2, bias=-3.0, video_present=here, spans=spans)
  score = lambda i, j, k: unit(video)[i] @ unit(text)[j, k] / 0.2 - 3.0
  loss = lambda i, j, k: np.log1p(np.exp(-(1 if i == j else -1) * score(i, j, k)))
  rows = [
    np.sum([np.mean([loss(i, j, k) for k in range(2)]) for j in np.flatnonzero(there) if meets(i, j, spans)])
    for i in np.flatnonzero(here & there)
  ]
  np.testing.assert_allclose(value, np.mean(rows), rtol=1e-12)


def test_sigmoid_without_similarity_is_at_its_untrained_level():
  video, text = np.eye(4)[:2], np.eye(4)[2:, None]
  value = sigmoid_nce(video, text, np.ones(2, bool), temperature=0.1, bias=-10.0)
  np.testing.assert_allclose(value, untrained_level("sigmoid", 2), rtol=1e-6)
