"""Retrieval metrics against brute force, closed forms, and encoders that know nothing."""

import dataclasses
import itertools

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest
from scipy.stats import gaussian_kde, norm
from sklearn.metrics import roc_auc_score

from vatt_jax.errors import UserError
from vatt_jax.evaluation import retrieval


def brute_force(similarity, k):
  """Mean rank and share of hits over all orders of the gallery, each sorted stably: the definition, by enumeration."""
  count = similarity.shape[1]
  places = np.array(
    [
      [1 + sorted(order, key=lambda item: -row[item]).index(query) for order in itertools.permutations(range(count))]
      for query, row in enumerate(similarity)
    ]
  )
  return places.mean(axis=1), (places <= k).mean(axis=1)


def test_ranks_by_hand():
  gallery = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
  queries = np.array([[9.0, 1.0], [9.0, 1.0], [0.1, 0.1]])  # The scale of a row does not matter.
  np.testing.assert_array_equal(retrieval.ranks(queries, gallery), [1, 3, 1])
  np.testing.assert_array_equal(retrieval.ranks(queries[:1], gallery, targets=[2]), [2])


@given(st.integers(0, 10_000), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_ties_take_the_mean_over_all_orders(seed, k):
  # Small integers on the axes and diagonals collide often, so most galleries have ties.
  rng = np.random.default_rng(seed)
  queries, gallery = rng.integers(-1, 2, (5, 2)), rng.integers(-1, 2, (5, 2))
  rank, hits = brute_force(np.round(retrieval.cosine_similarity(queries, gallery), 9), k)
  placement = retrieval.place(queries, gallery)
  np.testing.assert_allclose(placement.rank, rank)
  np.testing.assert_allclose(placement.recall_at(k), hits)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_the_order_of_clips_does_not_matter(seed):
  rng = np.random.default_rng(seed)
  queries, gallery = rng.normal(size=(2, 20, 4))
  gallery[5:9] = gallery[4]
  groups, order = rng.choice(["fr", "ru", "ca"], 20), rng.permutation(20)
  plain = retrieval.retrieval_metrics(queries, gallery, groups)
  shuffled = retrieval.retrieval_metrics(queries[order], gallery[order], groups[order])
  assert plain == pytest.approx(shuffled)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.3])
def test_a_constant_encoder_scores_exactly_chance(value):
  constant = np.full((87, 16), value, np.float32)
  for queries, gallery in [(constant, constant), (np.random.default_rng(0).normal(size=(87, 16)), constant)]:
    metrics = retrieval.retrieval_metrics(queries, gallery)
    for k in (1, 5, 10):
      assert metrics[f"recall_at_{k}"] == pytest.approx(k / 87) == metrics[f"chance_recall_at_{k}"]
    assert metrics["median_rank"] == metrics["mean_rank"] == 44


def test_an_untrained_encoder_scores_about_chance():
  queries, gallery = np.random.default_rng(0).normal(size=(2, 1000, 64))
  metrics = retrieval.retrieval_metrics(queries, gallery)
  assert metrics["recall_at_10"] == pytest.approx(0.01, abs=4 * np.sqrt(0.01 * 0.99 / 1000))
  assert metrics["median_rank"] == pytest.approx(500.5, abs=4 * 0.5 * 1000 / np.sqrt(1000))


def test_a_perfect_encoder_and_its_worst_enemy():
  rows = np.random.default_rng(0).normal(size=(30, 64))
  assert retrieval.retrieval_metrics(rows, 7 * rows)["recall_at_1"] == 1
  np.testing.assert_array_equal(retrieval.ranks(rows, -rows), 30)
  assert retrieval.retrieval_metrics(rows, -rows)["mean_rank"] == 30


def test_rounding_does_not_break_ties():
  rows = np.random.default_rng(0).normal(size=(1, 64)).astype(np.float32)
  nearly = np.repeat(rows, 50, axis=0)
  nearly[::2] = np.nextafter(nearly[::2], np.float32(np.inf))
  np.testing.assert_array_equal(retrieval.ranks(nearly, nearly), 25.5)


def test_embeddings_that_are_not_finite_never_win():
  rows = np.eye(6)
  rows[1, 0], rows[4, 2] = np.nan, np.inf
  np.testing.assert_array_equal(retrieval.ranks(rows, rows), [1, 6, 1, 1, 6, 1])
  np.testing.assert_array_equal(retrieval.ranks(np.full((6, 6), np.nan), np.eye(6)), 6)
  # A wrong item that is NaN stands behind the finite ones, even behind an opposite right one.
  np.testing.assert_array_equal(retrieval.ranks([[1.0, 0.0]], [[-1.0, 0.0], [np.nan, 0.0]], targets=[0]), [1])


def test_languages_are_averaged_by_their_queries():
  # fr: four clips, the first found and the others last; ru: two clips, both found; el: a single clip can't be missed.
  queries = np.array([[1, 0], [-1, 0], [-1, 0.1], [-1, 0.2], [1, 0], [0, 1], [1, 0]], float)
  gallery = np.array([[1, 0], [1, 0.1], [1, 0.2], [1, 0.3], [1, 0], [0, 1], [-1, 0]], float)
  groups = ["fr"] * 4 + ["ru"] * 2 + ["el"]
  by_group = retrieval.metrics_by_group(queries, gallery, groups)
  np.testing.assert_array_equal(retrieval.place_within_groups(queries, gallery, groups).rank, [1, 3, 2, 1, 1, 1, 1])
  assert by_group["fr"]["recall_at_1"] == 0.5 and by_group["fr"]["median_rank"] == 1.5
  metrics = retrieval.retrieval_metrics(queries, gallery, groups)
  assert metrics["recall_at_1"] == pytest.approx((4 * 0.5 + 2 * 1 + 1 * 1) / 7)
  assert metrics["median_rank"] == pytest.approx((4 * 1.5 + 2 * 1 + 1 * 1) / 7)
  assert metrics["chance_recall_at_1"] == pytest.approx((4 * 0.25 + 2 * 0.5 + 1 * 1) / 7)
  assert metrics["chance_recall_at_5"] == 1
  assert metrics["queries"] == 7 and metrics["gallery"] == pytest.approx((16 + 4 + 1) / 7)


def test_large_galleries_are_ranked_in_blocks(monkeypatch):
  queries, gallery = np.random.default_rng(0).normal(size=(2, 50, 8))
  whole = retrieval.ranks(queries, gallery)
  monkeypatch.setattr(retrieval, "_QUERIES_AT_ONCE", 7)
  np.testing.assert_array_equal(retrieval.ranks(queries, gallery), whole)


def test_shapes_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match=r"queries \(n, E\)"):
    retrieval.ranks(np.zeros((3, 4)), np.zeros((3, 5)))
  with pytest.raises(ValueError, match="pass targets"):
    retrieval.ranks(np.zeros((3, 4)), np.zeros((2, 4)))
  with pytest.raises(ValueError, match=r"in \[0, 2\)"):
    retrieval.ranks(np.zeros((3, 4)), np.zeros((2, 4)), targets=[0, 1, 2])
  with pytest.raises(ValueError, match="at least one"):
    retrieval.retrieval_metrics(np.zeros((0, 4)), np.zeros((0, 4)))


def test_a_set_is_evaluated_in_all_directions_over_the_clips_that_have_both(make_set):
  embedded = make_set(clips=20)
  embedded.present["audio"][12:] = False
  embedded.embeddings["audio/at"][12:] = np.nan  # What stands in absent rows does not matter.
  metrics = retrieval.evaluate_set(embedded)
  assert len({name.split("/")[0] for name in metrics}) == 6
  assert metrics["video_to_text/queries"] == 20 and metrics["video_to_text/gallery"] == 10
  assert metrics["audio_to_text/queries"] == 12 and metrics["audio_to_text/chance_recall_at_1"] == pytest.approx(1 / 6)
  text, audio = embedded.embeddings["text/at"][:12], embedded.embeddings["audio/at"][:12]
  expected = retrieval.retrieval_metrics(text, audio, embedded.languages[:12])
  assert {f"text_to_audio/{name}": value for name, value in expected.items()}.items() <= metrics.items()


def test_a_set_says_how_well_right_pairs_stand_out_and_how_sharp_the_softmax_is(make_set):
  embedded = dataclasses.replace(make_set(clips=20), temperatures={("video", "text"): 0.2})
  metrics = retrieval.evaluate_set(embedded)
  pairs = retrieval.positives_and_negatives(
    embedded.embeddings["video/vt"], embedded.embeddings["text/vt"], embedded.languages
  )
  for direction in ("video_to_text", "text_to_video"):
    assert metrics[f"{direction}/auc"] == pytest.approx(retrieval.area_under_curve(*pairs))
    assert metrics[f"{direction}/overlap"] == pytest.approx(retrieval.overlap(*pairs))
    assert 0 < metrics[f"{direction}/softmax_entropy"] < metrics[f"{direction}/chance_softmax_entropy"]
  assert "audio_to_text/auc" in metrics and "audio_to_text/softmax_entropy" not in metrics


def test_entropy_of_a_softmax():
  rows, groups = np.eye(4), ["a"] * 4
  odds = np.exp([1 / 0.5, 0, 0, 0])
  shares = odds / odds.sum()
  found = retrieval.softmax_entropy(rows, rows, groups, 0.5)
  assert found["softmax_entropy"] == pytest.approx(-np.sum(shares * np.log(shares)))
  assert found["chance_softmax_entropy"] == pytest.approx(np.log(4))
  same = retrieval.softmax_entropy(np.ones((4, 3)), np.ones((4, 3)), ["a", "a", "a", "b"], 0.01)
  assert same["softmax_entropy"] == pytest.approx(0.75 * np.log(3)) == same["chance_softmax_entropy"]
  assert retrieval.softmax_entropy(rows, rows, groups, 1e-4)["softmax_entropy"] == pytest.approx(0)
  assert np.isnan(retrieval.softmax_entropy(rows * np.nan, rows, groups, 0.5)["softmax_entropy"])


def test_a_set_without_anything_to_compare_says_what_is_missing(make_set):
  embedded = make_set(clips=4)
  silent = dataclasses.replace(embedded, present={"video": np.ones(4, bool), "audio": np.zeros(4, bool)})
  with pytest.raises(UserError, match="'test'.*video in 4, audio in 0"):
    retrieval.evaluate_set(silent)
  with pytest.raises(UserError, match="'test' has no two modalities"):
    retrieval.evaluate_set(dataclasses.replace(embedded, spaces={}))
  with pytest.raises(UserError, match="'dev' is empty"):
    retrieval.evaluate_set(make_set("dev", clips=0))


def test_a_set_whose_parts_disagree_is_refused(make_set):
  embedded = make_set(clips=4)
  with pytest.raises(ValueError, match="'labels' has 1 rows"):
    dataclasses.replace(embedded, labels=["animals"])
  with pytest.raises(ValueError, match="must join two"):
    dataclasses.replace(embedded, spaces={("video", "text"): ("video/vt", "text/nowhere")})


def test_similarities_of_pairs_and_their_separation():
  rng = np.random.default_rng(0)
  queries, gallery = rng.integers(-2, 3, (2, 9, 3))
  groups = np.array(["fr"] * 5 + ["ru"] * 4)
  positives, negatives = retrieval.positives_and_negatives(queries, gallery, groups)
  assert len(positives) == 9 and len(negatives) == 5 * 4 + 4 * 3
  similarity = retrieval.cosine_similarity(queries, gallery)
  np.testing.assert_allclose(np.sort(positives), np.sort(np.diag(similarity)))
  truth, scores = np.repeat([1, 0], [9, 32]), np.concatenate([positives, negatives])
  assert retrieval.area_under_curve(positives, negatives) == pytest.approx(roc_auc_score(truth, scores))
  assert np.isnan(retrieval.area_under_curve(positives, np.zeros(0)))


def test_densities_are_scipys_and_overlap_has_a_closed_form():
  random = np.random.default_rng(0)
  low, high = random.normal(-0.1, 0.05, 4000), random.normal(0.0, 0.05, 4000)
  edges = retrieval.similarity_edges(low, high)
  found = retrieval.density(low, edges)
  assert found.sum() * (edges[1] - edges[0]) == pytest.approx(1.0)
  middles = (edges[1:] + edges[:-1]) / 2
  reference = gaussian_kde(low, lambda kde: 0.9 * 4000**-0.2)(middles)
  np.testing.assert_allclose(found, reference, atol=0.05 * reference.max())
  assert retrieval.overlap(low, high) == pytest.approx(2 * norm.cdf(-1.0), abs=0.03)
  assert retrieval.overlap(low, low) == pytest.approx(1.0)
  assert retrieval.overlap(low, low + 5) == pytest.approx(0.0, abs=1e-6)
  assert np.isfinite(retrieval.overlap(np.ones(3), np.ones(2)))  # An encoder that says one thing.
  assert np.isnan(retrieval.overlap(low, np.zeros(0)))
