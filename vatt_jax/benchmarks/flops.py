"""What a model costs: VATT's in closed form beside the paper's figures, and ALPRO's retrieval by matching."""

import jax
import jax.numpy as jnp

from vatt_jax.models import flops as closed_form
from vatt_jax.models.alpro import Alpro
from vatt_jax.objectives.alpro import AlproObjective
from vatt_jax.training import flops as counting

GALLERY, CANDIDATES = 1000, (16, 64, 128)  # MSR-VTT's test set
TEXTS_AT_ONCE = 64  # of the published evaluation


def run() -> dict:
  """Prints Markdown tables, the paper's figures, those of our towers and of matching; returns the same as a report."""
  giga = lambda value: f"{value / 1e9:,.1f}"
  print("GFLOP of matrix products in one forward pass, a multiply-add counted as two.\n")
  print("| VATT paper, tables 5 and 6 | DropToken | paper | its convention | deviation | here, true count |")
  print("| --- | ---: | ---: | ---: | ---: | ---: |")
  rows = list(closed_form.paper_table())
  for row in rows:
    figures = f"{giga(row.reported)} | {giga(row.paper)} | {100 * row.deviation:+.1f} %"
    print(f"| {row.name} | {100 * row.drop_rate:.0f} % | {figures} | {giga(row.ours)} |")
  print(
    "\nThe paper's convention leaves out queries times keys, and projects patches before it drops them; here they are "
    "dropped first.\n\nOne clip (32 x 224 x 224, 3.2 s at 48 kHz, 16 words) through one tower; in brackets without "
    "queries times keys.\n"
  )
  print("| tower | size |" + "".join(f" DropToken {100 * rate:.0f} % |" for rate in closed_form.DROP_RATES))
  print("| --- | --- |" + " ---: |" * len(closed_form.DROP_RATES))
  towers = list(closed_form.tower_table())
  for modality, size, cells in towers:
    texts = [f" {giga(full)} ({giga(less)}) |" for full, less in cells]
    print(f"| {modality} | {size} |" + "".join(texts + [" |"] * (len(closed_form.DROP_RATES) - len(cells))))
  video, text, pair = matching_flops()
  print(
    f"\nALPRO, retrieval by matching of {GALLERY:,} clips and captions; a clip of 8 frames {giga(video)}, a caption of 40 tokens "
    f"{giga(text)}, a fused pair {giga(pair)} GFLOP. Candidates: the nearest of each row and column, at most 2k pairs a row.\n"
  )
  print("| pairs that are looked at | PFLOP | of the published |\n| --- | ---: | ---: |")
  matching = matching_table(video, text, pair)
  for name, total in matching.items():
    print(f"| {name} | {total / 1e15:.2f} | {100 * total / matching['all, as published']:.1f} % |")
  return {
    "paper": [
      {"name": r.name, "drop_rate": r.drop_rate, "reported": r.reported, "paper_convention": r.paper, "true": r.ours}
      for r in rows
    ],
    "towers": [
      {"tower": modality, "size": size, "drop_rate": rate, "true": full, "without_scores": less}
      for modality, size, cells in towers
      for rate, (full, less) in zip(closed_form.DROP_RATES, cells)
    ],
    "matching": matching,
  }


def matching_flops() -> tuple[int, int, int]:
  """FLOPs of ALPRO's retrieval model for one clip, one caption, and one pair of both; nothing is run."""
  model = Alpro("base", "base", (8, 14, 14), vocabulary_size=30_522, parts=("vtc", "vtm"))
  objective = AlproObjective(model, {"vtc": 1.0, "vtm": 1.0})
  array = jax.ShapeDtypeStruct
  clip = {"video/patches": array([1, 8 * 14 * 14, 16 * 16 * 3], jnp.uint8)}
  caption = {"text/ids": array([1, 1, 40], jnp.int32), "text/mask": array([1, 1, 40], jnp.bool_)}
  present = {name: array([1], jnp.bool_) for name in ("video/present", "text/present")}
  variables = jax.eval_shape(objective.init, jax.random.key(0), {**clip, **caption, **present})
  pair = dict(jax.eval_shape(objective.tokens, variables, {**clip, **caption}))
  pair = {name: array((1, *value.shape[-2:]), value.dtype) for name, value in pair.items() if name.endswith("tokens")}
  pair["text/mask"] = array([1, 40], jnp.bool_)
  count = lambda function, batch: counting.count_matmul_flops(function, variables, batch)
  return count(objective.tokens, clip), count(objective.tokens, caption), count(objective.match_tokens, pair)


def matching_table(video: int, text: int, pair: int) -> dict[str, int]:
  """What is looked at -> FLOPs for the whole gallery, of the FLOPs of one clip, one caption and one pair.

  The published evaluation encodes a clip again for each chunk of captions, and all captions again for each clip.
  """
  n, chunks = GALLERY, -(-GALLERY // TEXTS_AT_ONCE)
  once = n * (video + text)
  table = {"all, as published": n * chunks * video + n * n * (text + pair), "all, encoded once": once + n * n * pair}
  return table | {f"{k} candidates": once + 2 * n * k * pair for k in CANDIDATES}
