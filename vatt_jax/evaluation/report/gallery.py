"""What retrieval looks and sounds like: some queries of each direction, their top five, and the right answer."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from vatt_jax.evaluation import retrieval
from vatt_jax.evaluation.embeddings import EmbeddedSet
from vatt_jax.evaluation.report import media
from vatt_jax.evaluation.report.markup import Markup, tag
from vatt_jax.evaluation.report.page import number, shorten

DIRECTIONS = (("audio", "text"), ("video", "text"), ("text", "video"), ("audio", "video"))
QUERIES = 6  # of each direction
TOP = 5


@dataclasses.dataclass(frozen=True)
class Answer:
  """One item of a query's gallery: the clip's row, its place in the sorted gallery (from 1), the cosine."""

  row: int
  place: int
  similarity: float


@dataclasses.dataclass(frozen=True)
class Query:
  """A query, what it found, and where the right item stands.

  Attributes:
    row: of the clip in the set.
    share: of all queries of this direction that did better, 0 for the best and 1 for the worst.
    rank: of the right item, ties at their mean rank.
    tied: how many items are as similar as the right one, itself included.
    gallery: how many items were searched.
    answers: the most similar items, and the right one if it is not among them.
  """

  row: int
  share: float
  rank: float
  tied: int
  gallery: int
  answers: Sequence[Answer]


def choose_queries(embedded: EmbeddedSet, source: str, target: str, count: int = QUERIES) -> list[Query]:
  """Queries at even steps from the best to the worst, so that nobody picks them by eye.

  All queries of the direction are sorted by the part of their gallery (the clips of their language) that stands
  before the right item; equal ones in a fixed random order.
  """
  rows, queries, gallery = embedded.pair(source, target)
  languages = embedded.languages_of(rows)
  placement = retrieval.place_within_groups(queries, gallery, languages)
  _, group, sizes = np.unique(languages.astype(str), return_inverse=True, return_counts=True)
  sizes = sizes[group]
  order = np.lexsort((np.random.default_rng(0).permutation(len(rows)), (placement.rank - 0.5) / sizes))
  count = min(count, len(rows))
  chosen = []
  for step in range(count):
    share = step / max(count - 1, 1)
    query = order[round(share * (len(rows) - 1))]
    searched = np.flatnonzero(languages == languages[query])
    similarity = retrieval.cosine_similarity(queries[query : query + 1], gallery[searched])[0]
    ranking = np.argsort(-similarity, kind="stable")  # NaN comes last.
    right = int(np.flatnonzero(searched[ranking] == query)[0])
    places = [*range(min(TOP, len(ranking))), *([right] if right >= TOP else [])]
    answers = [Answer(int(rows[searched[ranking[i]]]), i + 1, float(similarity[ranking[i]])) for i in places]
    chosen.append(
      Query(
        int(rows[query]), share, float(placement.rank[query]), int(placement.tied[query]), int(sizes[query]), answers
      )
    )
  return chosen


def gallery(embedded: EmbeddedSet, directions: Sequence[tuple[str, str]], limit_bytes: int) -> Markup:
  """The cards of all queries of some directions that the set has; pictures and sounds take about `limit_bytes`."""
  sounds = sum(source == "audio" for source, _ in directions) * QUERIES
  pictures = sum((source == "video") + (TOP + 1) * (target == "video") for source, target in directions) * QUERIES
  # Sounds get three quarters: a second of sound takes as much as five pictures.
  per_sound = limit_bytes * 3 // 4 // max(sounds, 1)
  per_picture = limit_bytes // 4 // max(pictures, 1)
  parts = []
  for source, target in directions:
    parts.append(tag("h4", f"{source} → {target}", class_="direction"))
    for query in choose_queries(embedded, source, target):
      asked = _asked(embedded, query, source, per_sound, per_picture)
      parts.append(tag("article", asked, _answers(embedded, query, target, per_picture), class_="query"))
  return tag("div", parts)


def _asked(embedded: EmbeddedSet, query: Query, source: str, per_sound: int, per_picture: int) -> Markup:
  """The query's side of a card: how it fared, the query itself, and what it is."""
  how = "first" if query.rank == 1 else "found" if query.rank <= TOP else None
  rank = tag("b", f"rank {number(query.rank)} of {query.gallery}", class_=how)
  share = {0: "the best", 1: "the worst"}.get(query.share, f"{100 * query.share:.0f} % do better")
  tied = tag("p", tag("small", f"tied with {query.tied - 1} others: the mean rank")) if query.tied > 1 else None
  caption, language = _caption(embedded, query.row), tag("small", " ", embedded.languages[query.row])
  if source == "text":
    shown = [tag("p", caption, language, class_="words")]
  else:
    medium = (
      media.player(embedded.waveforms[query.row], embedded.sample_rate_hz, per_sound)
      if source == "audio"
      else media.picture(embedded.thumbnails[query.row], per_picture, embedded.captions[query.row])
    )
    shown = [medium, tag("p", caption, language)]
  return tag("div", tag("div", rank, tag("span", share), class_="place"), shown, tied, class_="asked")


def _answers(embedded: EmbeddedSet, query: Query, target: str, per_picture: int) -> Markup:
  """The found items, the right one marked."""
  items = []
  for answer in query.answers:
    right, later = answer.row == query.row, answer.place > TOP
    style = " ".join(name for name, on in (("right", right), ("later", later)) if on) or None
    cosine = f"{answer.similarity:.2f}".replace("-", "−")
    mark = tag("span", "✓ ", class_="tick") if right else None
    if target == "video":
      medium = media.picture(embedded.thumbnails[answer.row], per_picture, embedded.captions[answer.row])
      place = tag("small", f"{answer.place} · {cosine}")
      words = [medium, tag("span", mark, _caption(embedded, answer.row, 60)), place]
    else:
      words = [tag("small", answer.place), tag("span", mark, _caption(embedded, answer.row)), tag("small", cosine)]
    items.append(tag("li", words, class_=style))
  return tag("ol", items, class_="answers pictures" if target == "video" else "answers texts")


def _caption(embedded: EmbeddedSet, row: int, length: int = 140) -> Markup:
  return tag("bdi", shorten(embedded.captions[row] or "(no caption)", length), lang=embedded.languages[row] or None)
