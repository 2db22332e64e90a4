"""Retrieval by matching scores: which pairs are looked at, and where the right one stands."""

import numpy as np
import pytest

from vatt_jax.evaluation import matching
from vatt_jax.evaluation.retrieval import NothingToCompare, cosine_similarity

rng = np.random.default_rng(0)
VIDEO, TEXT = rng.normal(size=(9, 4)), rng.normal(size=(9, 4))
TABLE = rng.uniform(size=(9, 9))


def run(count, decimals=None):
  near = matching.candidates(VIDEO, TEXT, count)
  scores = matching.score_pairs(lambda texts, videos: TABLE[texts, videos], near, 4)
  return near, matching.metrics(scores, cosine_similarity(TEXT, VIDEO), decimals)


def test_all_pairs():
  near, found = run(0)
  ranks = 1 + (TABLE > np.diagonal(TABLE)[:, None]).sum(1)
  assert near.all() and found["pairs"] == 81 and found["pairs_of_all"] == 1
  assert found["text_to_video/recall_at_5"] == np.mean(ranks <= 5)
  assert found["text_to_video/median_rank"] == np.median(ranks) and found["text_to_video/mean_rank"] == ranks.mean()
  ranks = 1 + (TABLE > np.diagonal(TABLE)[None]).sum(0)
  assert found["video_to_text/recall_at_1"] == np.mean(ranks == 1)
  assert found["video_to_text/chance_recall_at_1"] == pytest.approx(1 / 9)


def test_as_many_candidates_as_clips_are_all_pairs():
  assert run(9)[1] == run(0)[1]


def test_few_candidates_come_first_by_score_and_the_others_by_cosine():
  near, found = run(2)
  assert (near.sum(0) >= 2).all() and (near.sum(1) >= 2).all() and found["pairs"] == near.sum() < 81
  order = np.where(near, TABLE, cosine_similarity(TEXT, VIDEO) - 9)
  ranks = 1 + (order > np.diagonal(order)[:, None]).sum(1)
  assert found["text_to_video/mean_rank"] == ranks.mean()


def test_rounding_makes_ties_which_count_half():
  scores = np.array([[0.50001, 0.50004], [0.1, 0.9]])
  similarity = np.zeros([2, 2])
  assert matching.metrics(scores, similarity)["text_to_video/recall_at_1"] == 0.5
  assert matching.metrics(scores, similarity, 4)["text_to_video/recall_at_1"] == 0.75
  with pytest.raises(NothingToCompare):
    matching.metrics(np.zeros([0, 0]), np.zeros([0, 0]))


def test_what_is_no_number_never_wins():
  nothing = np.full([12, 12], np.nan)
  found = matching.metrics(nothing, nothing)
  assert found["text_to_video/recall_at_10"] == 0.0 and found["video_to_text/median_rank"] == 12.0
  similarity = np.eye(12)
  similarity[0, 0] = np.nan
  found = matching.metrics(nothing, similarity)
  assert found["text_to_video/recall_at_1"] == found["video_to_text/recall_at_1"] == 11 / 12
