"""Retrieval by matching scores: video and text are encoded once, then every pair, or the likeliest, is looked at together.

The published evaluation runs both encoders again for every pair; fused tokens depend on the encoders' outputs alone, so
keeping those changes nothing. With as many candidates as there are clips the result is that of all pairs.
"""

from collections.abc import Callable

import numpy as np

from vatt_jax.evaluation.retrieval import CUTOFFS, NothingToCompare, Placement, cosine_similarity


def candidates(video: np.ndarray, text: np.ndarray, count: int) -> np.ndarray:
  """Which pairs are worth looking at: bool (texts, videos), the `count` nearest of each row and of each column.

  Args:
    video, text: embeddings (n, E).
    count: 0 for all.
  """
  similarity = cosine_similarity(text, video)
  if not count or count >= len(similarity):
    return np.ones(similarity.shape, bool)
  near = np.zeros(similarity.shape, bool)
  np.put_along_axis(near, np.argsort(-similarity, axis=1, kind="stable")[:, :count], True, axis=1)
  np.put_along_axis(near, np.argsort(-similarity, axis=0, kind="stable")[:count], True, axis=0)
  return near


def score_pairs(
  match: Callable[[np.ndarray, np.ndarray], np.ndarray], pairs: np.ndarray, batch_size: int
) -> np.ndarray:
  """match(texts, videos) for the pairs that are true in bool (n, n), in batches of one size: float (n, n), NaN elsewhere.

  Args:
    match: int (batch_size,) each, numbers of texts and videos -> float (batch_size,).
  """
  scores = np.full(pairs.shape, np.nan)
  texts, videos = np.nonzero(pairs)
  for start in range(0, len(texts), batch_size):
    rows = slice(start, start + batch_size)
    filled = [np.resize(numbers[rows], batch_size) for numbers in (texts, videos)]
    scores[texts[rows], videos[rows]] = match(*filled)[: len(texts[rows])]
  return scores


def metrics(scores: np.ndarray, similarity: np.ndarray, decimals: int | None = None) -> dict[str, float]:
  """Recall, ranks and chance in both directions; the right item has the number of its query.

  Args:
    scores: float (texts, videos), NaN where a pair was not looked at: such items come after all others, nearest first.
      A right item of which neither score nor cosine is a number comes last of all.
    similarity: cosines (texts, videos).
    decimals: to which scores are rounded first (4 in the published evaluation, which makes ties).
  """
  if not len(scores):
    raise NothingToCompare("no clip has both video and text.")
  seen = np.isfinite(scores)
  known = np.where(seen, scores if decimals is None else np.round(scores, decimals), 0.0)
  order = np.where(seen, known, similarity - 3.0)
  found = {"pairs": float(seen.sum()), "pairs_of_all": float(seen.mean())}
  for name, table in (("text_to_video", order), ("video_to_text", order.T)):
    right = np.diagonal(table)[:, None]
    better, tied, lost = np.sum(table > right, axis=1), np.sum(table == right, axis=1), np.isnan(right[:, 0])
    placement = Placement(np.where(lost, len(table) - 1, better), np.where(lost, 1, tied))
    found |= {f"{name}/recall_at_{k}": float(placement.recall_at(k).mean()) for k in CUTOFFS}
    found |= {f"{name}/chance_recall_at_{k}": min(1.0, k / len(table)) for k in CUTOFFS}
    found |= {
      f"{name}/median_rank": float(np.median(placement.rank)),
      f"{name}/mean_rank": float(placement.rank.mean()),
    }
  return found
