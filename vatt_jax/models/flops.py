"""FLOPs of VATT's matrix products in closed form, and what the paper reports.

A multiply-add counts as two. The paper's figures (tables 5 and 6) are met by leaving out the product of queries and
keys, counting that of weights and values, and projecting all patches, dropped or not: the official code drops tokens
after the projection, and its profiler does not see an einsum. Here patches are dropped before anything else.
"""

from collections.abc import Iterator
import dataclasses
import math

from vatt_jax.models.sizes import SIZES, Size


@dataclasses.dataclass(frozen=True)
class Convention:
  """What is counted.

  Attributes:
    scores: whether the product of queries and keys is.
    dropped_patches: whether the projection of patches that are dropped afterwards is.
  """

  scores: bool = True
  dropped_patches: bool = False


OURS = Convention()
PAPER = Convention(scores=False, dropped_patches=True)


def encoder(size: Size, tokens: int, convention: Convention = OURS) -> int:
  """One sequence of `tokens` through all layers: four projections, two of the MLP, and attention."""
  heads = size.heads * size.head_width
  projections = tokens * size.width * (4 * heads + 2 * size.feed_forward)
  attention = (1 + convention.scores) * tokens**2 * heads
  return 2 * size.layers * (projections + attention)


def patch_tower(
  size: Size,
  patches: int,
  patch_values: int,
  drop_rate: float = 0.0,
  post_width: int | None = None,
  convention: Convention = OURS,
) -> int:
  """One clip through the tower of video or sound.

  Args:
    patches: of the whole clip.
    patch_values: P.
    post_width: of modality-agnostic towers, see `towers.PatchTower`.
  """
  kept = math.floor(patches * (1 - drop_rate))
  projected = patches if convention.dropped_patches else kept
  flops = 2 * projected * patch_values * size.width + encoder(size, kept + 1, convention)
  if post_width:  # After the encoder only the aggregation token goes on.
    flops += 2 * kept * size.width**2 + 2 * size.width * post_width
  return flops


def text_tower(
  size: Size, length: int, word_width: int = 300, post_width: int | None = None, convention: Convention = OURS
) -> int:
  """One caption of `length` words through the tower; modality-specific if there is no `post_width`."""
  projected = length if post_width else length + 1  # The aggregation token of the specific tower is projected, too.
  flops = 2 * projected * word_width * size.width + encoder(size, length + 1, convention)
  return flops + 2 * size.width * post_width if post_width else flops


def heads(video: int, audio: int, text: int, captions: int, va_width: int = 512, vt_width: int = 256) -> int:
  """One clip and its captions through the heads in training; `video`, `audio` and `text` are the widths that come in."""
  return 2 * (video * va_width + va_width * (va_width + vt_width) + audio * va_width + captions * text * vt_width)


VIDEO = dict(patches=8 * 14 * 14, patch_values=3 * 4 * 16 * 16)  # 32 x 224 x 224
AUDIO = dict(patches=1200, patch_values=128)  # 3.2 s at 48 kHz
WORDS, CAPTIONS = 16, 5
DROP_RATES = (0.0, 0.25, 0.5, 0.75)


def pretraining(
  video: str, audio: str, text: str, drop_rate: float, captions: int = CAPTIONS, convention: Convention = OURS
) -> int:
  """One clip of pretraining through modality-specific towers of these sizes, and the heads."""
  v, a, t = SIZES[video], SIZES[audio], SIZES[text]
  flops = patch_tower(v, **VIDEO, drop_rate=drop_rate, convention=convention)
  flops += patch_tower(a, **AUDIO, drop_rate=drop_rate, convention=convention)
  flops += captions * text_tower(t, WORDS, convention=convention)
  return flops + heads(v.width, a.width, t.width, captions)


@dataclasses.dataclass(frozen=True)
class Row:
  """A figure of the paper beside the same, computed: FLOPs of one forward pass of one clip or view.

  Attributes:
    name, drop_rate: what is run.
    reported: by the paper.
    paper, ours: computed in the two conventions.
  """

  name: str
  drop_rate: float
  reported: float
  paper: int
  ours: int

  @property
  def deviation(self) -> float:
    return self.paper / self.reported - 1


def paper_table() -> Iterator[Row]:
  """Tables 5 (pretraining, three modalities, five captions) and 6 (fine-tuning, video) of the paper."""
  for drop_rate, reported in zip(DROP_RATES, (784.8e9, 574.2e9, 375.4e9, 188.1e9)):
    run = lambda convention, rate=drop_rate: pretraining("medium", "base", "small", rate, convention=convention)
    yield Row("MBS", drop_rate, reported, run(PAPER), run(OURS))
  views = [((32, 224), 0.0, 548.1e9), ((64, 224), 0.0, 1222.1e9)]
  views += [((32, 320), rate, flops) for rate, flops in zip(DROP_RATES, (1252.3e9, 898.9e9, 572.5e9, 279.8e9))]
  for (frames, side), drop_rate, reported in views:
    patches = frames // 4 * (side // 16) ** 2
    run = lambda convention, patches=patches, rate=drop_rate: patch_tower(
      SIZES["medium"], patches, VIDEO["patch_values"], rate, convention=convention
    )
    yield Row(f"medium, {frames} x {side} x {side}", drop_rate, reported, run(PAPER), run(OURS))


def tower_table() -> Iterator[tuple[str, str, list[tuple[int, int]]]]:
  """(modality, size, [(with, without the product of queries and keys) for each of `DROP_RATES`]) of one clip.

  Text is never dropped: one entry, for one caption.
  """
  without = Convention(scores=False)
  for modality, shape, names in (("video", VIDEO, ("base", "medium", "large")), ("audio", AUDIO, ("base", "medium"))):
    for name in names:
      run = lambda rate, convention, shape=shape, size=SIZES[name]: patch_tower(
        size, **shape, drop_rate=rate, convention=convention
      )
      yield modality, name, [(run(rate, OURS), run(rate, without)) for rate in DROP_RATES]
  small = SIZES["small"]
  yield "text", "small", [(text_tower(small, WORDS), text_tower(small, WORDS, convention=without))]
