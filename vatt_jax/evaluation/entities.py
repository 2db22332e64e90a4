"""Is ALPRO's teacher right? Its entities of random rectangles against the nouns of the caption.

The teacher sees a rectangle of the picture and says what is in it. There is no truth for rectangles, so the caption's nouns
stand in for it: a rectangle that misses the thing cannot be right, which is why figures come by how much of it is covered.
"""

from collections.abc import Sequence
import math
import re

import jax
import numpy as np

from vatt_jax.data import records as records_lib
from vatt_jax.errors import UserError
from vatt_jax.evaluation.report import prompted
from vatt_jax.evaluation.report.page import Section
from vatt_jax.evaluation.retrieval import NothingToCompare
from vatt_jax.evaluation.views import middle_caption

CUTOFFS = (1, 5)
QUARTERS = ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))
_WORDS = re.compile(r"[^\W_]+")
APART = 40  # levels of 255 between a thing and the ground it stands on


def evaluate(name, config, setting, variables, records, views) -> tuple[dict, Section]:
  """The evaluator `entities`: `config.draws` rectangles of each clip; `config.examples` clips are shown."""
  if setting.look is None or "prompter" not in variables:
    raise NothingToCompare("there is no teacher: the model was not trained with prompted entities (the term pem).")
  known = variables["prompter"]["video_prompts"].shape[0]
  if len(setting.entities) != known:
    raise NothingToCompare(f"the {known} entities of its teacher have no names (entities.txt); `prompt` writes them.")
  if views.count != 1:
    raise UserError(f"config.evaluators.{name} looks at one view of each clip: windows is 1.")
  captions = [middle_caption(records_lib.decode(records[number])) for number in range(len(records))]
  parts, shown = [], []
  wanted = set(np.linspace(0, len(records) - 1, config.examples).astype(int).tolist())
  for rows, batch in views:
    batch = setting.gather(batch)  # Pictures are looked at here, too.
    placed, thing = setting.place(batch), things(batch["video/patches"], setting.options.video.grid)
    for draw in range(config.draws):
      out = jax.device_get(setting.look(variables, placed, np.int32(draw * len(records) + rows[0])))
      here = (batch["video/present"] & batch["text/present"])[: len(rows)]
      kept = [out["entities/rectangle"], out["entities/picture"], covered(thing, out["inside"])]
      parts.append((rows[here], *(value[: len(rows)][here] for value in kept)))
      if draw == 0:
        places = [i for i, row in enumerate(rows) if row in wanted and here[i]]
        shown += [prompted.example(i, rows, batch, out, setting, captions) for i in places]
  rows, rectangle, picture, share = (np.concatenate(values) for values in zip(*parts))
  right = mentioned(captions, setting.entities)[rows]
  metrics = measure(rectangle, picture, share, right, config.threshold)
  return metrics, Section(f"entities-{name}", f"What is seen: {name}", prompted.body(shown, metrics))


def measure(
  rectangle: np.ndarray, picture: np.ndarray, share: np.ndarray, right: np.ndarray, threshold: float
) -> dict[str, float]:
  """How often one of the caption's entities is among the likeliest k, and how many labels each filter drops.

  Args:
    rectangle, picture: probabilities float (n, entities) of rectangles, and of the pictures they are of.
    share: float (n,), of the thing that the rectangle covers.
    right: bool (n, entities), those that the caption names; rows without any count for the filters alone.
    threshold: of the filter "paper".

  Returns:
    `top_k` of rectangles, `picture/top_k` of whole pictures, `chance/top_k` of k entities drawn at random,
    `frequent/top_k` of the first k of the list; `balanced/top_k` and `picture/balanced/top_k`, the mean over entities, so that
    a frequent one does not decide (chance: k / entities, `chance/balanced/top_k`); `covers_A_B/top_k` of rectangles that cover A to B percent, with
    `covers_A_B/share`; `dropped/paper`, `dropped/official` and `confidence`, the mean of the largest probability.

  Raises:
    NothingToCompare: where no caption names an entity.
  """
  asked = right.any(axis=1)
  if not asked.any():
    raise NothingToCompare("no caption names an entity of the list.")
  best = rectangle.max(axis=1)
  found = {
    "rectangles": float(asked.sum()), "confidence": float(best.mean()),
    "dropped/paper": float(np.mean(best < threshold)),
    "dropped/official": float(np.mean(np.argmax(rectangle, axis=1) == 0)),
  }  # fmt: skip
  total, named = right.shape[1], right[asked].sum(axis=1)
  for k in CUTOFFS:
    hits = among(rectangle, right, k)[asked]
    found[f"top_{k}"] = float(hits.mean())
    found[f"picture/top_{k}"] = float(among(picture, right, k)[asked].mean())
    drawn = min(k, total)
    misses = [math.comb(total - int(n), drawn) / math.comb(total, drawn) for n in named]
    found[f"chance/top_{k}"] = 1 - float(np.mean(misses))
    found[f"balanced/top_{k}"] = balanced(rectangle[asked], right[asked], k)
    found[f"picture/balanced/top_{k}"] = balanced(picture[asked], right[asked], k)
    found[f"chance/balanced/top_{k}"] = drawn / total
    found[f"frequent/top_{k}"] = float(right[asked, :k].any(axis=1).mean())
    for low, high in QUARTERS:
      here = (share[asked] >= low) & ((share[asked] < high) | (high == 1.0))
      if here.any():
        group = f"covers_{100 * low:.0f}_{100 * high:.0f}"
        found |= {f"{group}/top_{k}": float(hits[here].mean()), f"{group}/share": float(here.mean())}
  return found


def among(probabilities: np.ndarray, right: np.ndarray, k: int) -> np.ndarray:
  """Whether one of the right ones (n, entities) is among the k likeliest: bool (n,)."""
  likeliest = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
  return np.take_along_axis(right, likeliest, axis=1).any(axis=1)


def balanced(probabilities: np.ndarray, right: np.ndarray, k: int) -> float:
  """The mean over entities of how often they are among the k likeliest where they are right (n, entities)."""
  likeliest = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
  found = np.zeros_like(right)
  np.put_along_axis(found, likeliest, True, axis=1)
  named = right.any(axis=0)
  return float(np.mean((found & right)[:, named].sum(axis=0) / right[:, named].sum(axis=0)))


def mentioned(captions: Sequence[str], entities: Sequence[str]) -> np.ndarray:
  """Which entities stand in which captions as whole words: bool (captions, entities)."""
  words = lambda text: f" {' '.join(_WORDS.findall(text.lower()))} "
  named, texts = [words(entity) for entity in entities], [words(caption) for caption in captions]
  return np.array([[each in text for each in named] for text in texts], bool).reshape(len(texts), len(named))


def things(patches: np.ndarray, grid: tuple[int, int, int]) -> np.ndarray:
  """How much of each patch stands out from the ground, the median colour along the picture's edge: float (B, H*W).

  On the demo set that is the drawing, whose background has one colour; of other videos it is a guess.

  Args:
    patches: uint8 (B, T*H*W, P), of single frames.
    grid: (T, H, W) patches.
  """
  frames, height, width = grid
  pixels = patches.reshape(len(patches), frames, height * width, -1, 3).astype(np.int16)
  edge = np.ones([height, width], bool)
  edge[1:-1, 1:-1] = False
  ground = np.median(pixels[:, :, edge.reshape(-1)], axis=(1, 2, 3))
  apart = np.abs(pixels - ground[:, None, None, None]).max(axis=-1) > APART
  return apart.mean(axis=(1, 3))


def covered(thing: np.ndarray, inside: np.ndarray) -> np.ndarray:
  """The share (B,) of what stands out, float (B, N), that lies inside, bool (B, N); of the area where nothing does."""
  nothing = thing.sum(axis=1, keepdims=True) == 0
  weights = np.where(nothing, 1.0, thing)
  return (weights * inside).sum(axis=1) / weights.sum(axis=1)
