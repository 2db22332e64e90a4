"""Captions that a model writes, against the true ones."""

import collections
from collections.abc import Sequence

import jax
import numpy as np

from vatt_jax.data import records as records_lib, text
from vatt_jax.errors import UserError
from vatt_jax.evaluation.report import media, page
from vatt_jax.evaluation.report.markup import join
from vatt_jax.evaluation.retrieval import NothingToCompare

_PICTURE_BYTES = 8_000


def evaluate(name, config, setting, variables, records, views) -> tuple[dict, page.Section]:
  """The evaluator `captions`: the caption nearest to the middle of each clip; `config.examples` clips are shown."""
  if views.count != 1:
    raise UserError(f"config.evaluators.{name} looks at one view of each clip: windows is 1.")
  parts = []
  for rows, batch in views:
    out = jax.device_get(setting.encode(variables, setting.place(batch)))
    if "captions" not in out:
      raise NothingToCompare("the model writes no captions (objective captioning).")
    here = (batch["video/present"] & batch["text/present"])[: len(rows)]
    parts.append([x[: len(rows)][here] for x in (rows, out["captions"], batch["text/ids"][:, 0])])
  numbers, written, true = (np.concatenate(values) for values in zip(*parts))
  kept = np.isin(numbers, views.readable())
  numbers, written, true = numbers[kept], written[kept], true[kept]
  if not len(numbers):
    raise NothingToCompare("no clip has both video and a caption.")
  own, wanted = int(written[0, 0]), int(true[0, 0])
  if own != wanted:  # Of another vocabulary; whatever follows would be noise.
    raise UserError(f"config.objective.begin_id is token {own}, but captions of this vocabulary begin with {wanted}.")
  metrics = measure(written, true)
  chosen = np.unique(np.linspace(0, len(numbers) - 1, config.examples).astype(int))
  shown = [_example(records, numbers[i], setting.tokenizer, written[i], true[i]) for i in chosen]
  return metrics, page.Section(f"captions-{name}", f"Captions: {name}", _body(metrics, shown))


def measure(written: np.ndarray, true: np.ndarray) -> dict[str, float]:
  """How often a caption is right as a whole, and how many of its tokens are right at their places.

  Args:
    written, true: int (n, L), from [CLS] to [SEP], 0 behind it. Tokens count from behind [CLS], [SEP] among them.

  Returns:
    `exact` and `token_accuracy`; `frequent/exact` and `frequent/token_accuracy` of whoever always writes the most frequent of
    the true captions, which needs no look at a clip; `captions`, n.
  """
  frequent = np.array(collections.Counter(map(tuple, true.tolist())).most_common(1)[0][0])
  counts = true[:, 1:] != 0
  metrics = {"captions": float(len(true))}
  for prefix, said in (("", written), ("frequent/", np.broadcast_to(frequent, true.shape))):
    metrics[f"{prefix}exact"] = float(np.mean(np.all(said == true, axis=1)))
    metrics[f"{prefix}token_accuracy"] = float(np.mean((said == true)[:, 1:][counts]))
  return metrics


def _example(records, number, tokenizer, *captions) -> list:
  frames = records_lib.decode(records[int(number)])["video/frames"]
  words = [text.sentence(ids, tokenizer) for ids in captions]
  return [media.picture(frames[len(frames) // 2], _PICTURE_BYTES, words[-1]), *map(page.shorten, words)]


def _body(metrics: dict[str, float], shown: Sequence[list]):
  figures = lambda prefix: [page.percent(metrics[f"{prefix}{key}"]) for key in ("exact", "token_accuracy")]
  return join([
    page.lead("Captions that the model wrote of clips, the likeliest token at each place, against the true ones."),
    page.table(
      ["", "whole captions", "tokens"],
      [["model", *figures("")], ["always the most frequent caption", *figures("frequent/")]],
    ),
    page.table(["", "written", "true"], shown),
  ])  # fmt: skip
