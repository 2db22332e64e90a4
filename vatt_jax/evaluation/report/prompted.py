"""What ALPRO says of some clips: a rectangle and its entities, whether captions match, words that were hidden."""

from collections.abc import Mapping, Sequence
import dataclasses
import io
import math

import numpy as np
from PIL import Image

from vatt_jax.evaluation.report import media, page
from vatt_jax.evaluation.report.markup import Markup, join, tag

TOP = 5
_PICTURE_PIXELS, _PICTURE_BYTES = 192, 30_000


@dataclasses.dataclass(frozen=True)
class Example:
  """One clip as all parts of a model see it.

  Attributes:
    picture: JPEG of the first frame, dimmed outside of the rectangle.
    caption, other_caption: its own, and the one that it was compared with.
    teacher: the likeliest entities of the rectangle, with probabilities.
    own: what the model itself says of it; empty where it has no such part.
    match, other_match: how probable it is that the captions belong to it; None where there is no such part.
    words: of the caption: text, what was restored in its place or "" where nothing was hidden.
  """

  picture: bytes
  caption: str
  other_caption: str
  teacher: Sequence[tuple[str, float]]
  own: Sequence[tuple[str, float]] = ()
  match: float | None = None
  other_match: float | None = None
  words: Sequence[tuple[str, str]] = ()


def example(i: int, rows: np.ndarray, batch: Mapping, out: Mapping, setting, captions: Sequence[str]) -> Example:
  """Row i of a batch and of what `objectives.alpro.AlproObjective.look` said of it.

  Args:
    rows: record numbers of the batch; rows behind them are padding, which repeats the first records.
    setting: `evaluation.views.Setting`, for grid, vocabulary and names.
    captions: of all records.
  """
  likeliest = lambda values: [(setting.entities[j], float(values[j])) for j in np.argsort(-values, kind="stable")[:TOP]]
  words = []
  if "words/selected" in out and setting.tokenizer:
    ids, mask = batch["text/ids"][i, 0], batch["text/mask"][i, 0]
    said = setting.tokenizer.pieces(out["words/restored"][i][mask].tolist())
    hidden = out["words/selected"][i][mask]
    words = [(own, new if h else "") for own, new, h in zip(setting.tokenizer.pieces(ids[mask].tolist()), said, hidden)]
  size = len(batch["video/patches"])
  return Example(
    picture=picture(
      batch["video/patches"][i], out["inside"][i], setting.options.video.grid, setting.options.video.patch
    ),
    caption=captions[rows[i]],
    other_caption=captions[(rows[0] + (i + 1) % size) % len(captions)],
    teacher=likeliest(out["entities/rectangle"][i]),
    own=likeliest(out["entities/own"][i]) if "entities/own" in out else (),
    match=float(out["match"][i]) if "match" in out else None,
    other_match=float(out["match/other"][i]) if "match" in out else None,
    words=words,
  )


def picture(patches: np.ndarray, inside: np.ndarray, grid: tuple, patch: tuple) -> bytes:
  """JPEG of the first frame of patches uint8 (T*N, P), dimmed where bool (N,) is false."""
  (_, H, W), (_, h, w) = grid, patch
  cut = patches[: H * W].reshape(H, W, h, w, 3).astype(np.float32)
  cut = np.where(inside.reshape(H, W, 1, 1, 1), cut, 70 + 0.2 * cut)
  pixels = cut.transpose(0, 2, 1, 3, 4).reshape(H * h, W * w, 3).astype(np.uint8)
  image, file = Image.fromarray(pixels), io.BytesIO()
  factor = max(1, _PICTURE_PIXELS // max(image.size))
  image.resize((image.width * factor, image.height * factor)).save(file, "JPEG", quality=85)
  return file.getvalue()


def body(examples: Sequence[Example], metrics: Mapping[str, float]) -> Markup:
  """A table of how often the teacher is right, and the cards of some clips."""
  parts = [
    page.lead(
      "ALPRO's teacher sees the bright rectangle and says what is in it; the model learns to say the same from the whole "
      "picture and the caption. A label counts as right when the caption names it. A rectangle beside the thing can't be "
      "right, so the rows go by how much of what stands out from the background it covers."
    ),
    _table(metrics),
    tag(
      "p",
      f"Labels that are dropped: by the paper's filter {page.percent(metrics['dropped/paper'])}, by the published code's "
      f"{page.percent(metrics['dropped/official'])}. Mean of the largest probability: {metrics['confidence']:.2f}.",
    ),
    tag("h3", "Some clips, at even steps through the set"),
  ]
  return join([*parts, *map(_card, examples)])


def _table(metrics: Mapping[str, float]) -> Markup:
  names = {
    "": "all rectangles",
    "picture/": "whole pictures",
    "frequent/": "always the most frequent entities",
    "chance/": "chance",
    "balanced/": "all rectangles, entities counting the same",
    "picture/balanced/": "whole pictures, entities counting the same",
    "chance/balanced/": "chance, entities counting the same",
  }
  for name in metrics:
    if name.startswith("covers_") and name.endswith("/top_1"):
      low, high = name.removeprefix("covers_").removesuffix("/top_1").split("_")
      names[name.removesuffix("top_1")] = f"rectangles that cover {low} to {high} %"
  row = lambda prefix: [page.percent(metrics.get(f"{prefix}{key}", math.nan)) for key in ("top_1", "top_5", "share")]
  return page.table(["", "top 1", "top 5", "of all"], [[title, *row(prefix)] for prefix, title in names.items()])


def _card(each: Example) -> Markup:
  seen = [media.picture(each.picture, _PICTURE_BYTES, each.caption), tag("p", page.shorten(each.caption))]
  columns = [_entities("Teacher, of the rectangle", each.teacher)]
  if each.own:
    columns.append(_entities("Model, of the rectangle", each.own))
  said = [tag("div", columns, style="display:grid;grid-template-columns:repeat(auto-fit,minmax(180px,1fr));gap:24px")]
  if each.match is not None:
    said.append(
      tag(
        "p",
        tag("b", "Match: "),
        f"own caption {each.match:.2f}; “{page.shorten(each.other_caption, 60)}” {each.other_match:.2f}",
      )
    )
  if each.words:
    said.append(tag("p", tag("b", "Hidden words: "), map(_word, each.words)))
  return tag("div", tag("div", seen, class_="asked"), tag("div", said, class_="said"), class_="query")


def _entities(title: str, found: Sequence[tuple[str, float]]) -> Markup:
  bars = [
    tag(
      "li",
      f"{name} ",
      tag("small", page.percent(share)),
      tag("div", tag("i", style=f"width:{100 * share:.1f}%"), class_="bar"),
    )
    for name, share in found
  ]
  return tag("div", tag("b", title), tag("ul", bars, style="list-style:none;margin:4px 0 12px;padding:0"))


def _word(word: tuple[str, str]) -> Markup:
  text, restored = word
  if not restored:
    return join([text])
  right = restored == text
  return join(
    [" ", tag("mark", text.strip() or "␣"), tag("small", f" → {restored.strip() or '␣'} {'✓' if right else ''}")]
  )
