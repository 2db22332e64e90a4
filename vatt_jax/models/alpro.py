"""ALPRO: video and text encoders, a fusion encoder, and the heads of its tasks (Li et al., CVPR 2022).

Source: the paper's section 3 and salesforce/ALPRO, modeling/alpro_models.py. The prompter, which makes the labels of
prompting entity modelling, is the same model with the part "vtc" alone.
"""

import math

from flax import linen as nn
import jax
import jax.numpy as jnp

from vatt_jax.models.bert import Bert, MaskedLanguageHead
from vatt_jax.models.linear import Dense
from vatt_jax.models.sizes import size
from vatt_jax.models.timesformer import TimeSformer

PARTS = ("vtc", "vtm", "mlm", "pem", "qa")
# Weights that the published models carry although none of their outputs depends on them, by kind: parts of this model,
# and the 400-way head of the TimeSformer, which is in none of the parts.
DEAD_PARTS = {
  "prompter": ("vtm", "mlm"), "pretraining": (), "retrieval": ("mlm",), "qa": ("vtc", "vtm"),
}  # fmt: skip
VIDEO_CLASSES = 400


class Alpro(nn.Module):
  """Video and text, each alone and fused.

  Attributes:
    video_size, text_size: as in `models.sizes`; the text's layers include those that fuse.
    video_grid: (T, H/h, W/w); ALPRO sees all its patches.
    vocabulary_size: V.
    parts: which heads there are: "vtc" (contrast), "vtm" (matching), "mlm" (masked words), "pem" (entities of a
      rectangle), "qa" (answers). With "vtc" alone there are no layers that fuse.
    fusion_layers: how many of the text's layers, the last ones, fuse.
    embedding_width: E, of the contrast.
    entities, answers: outputs of "pem" and "qa".
    max_length: of the text's position table.
    dropout: of the text's layers; the video's have none.
    drop_path: of the video's layers.
    remat: a name in `transformer.REMAT`: less memory, more computation.
    causal: whether words see only words before them, and the video no words at all.
  """

  video_size: str
  text_size: str
  video_grid: tuple[int, int, int]
  vocabulary_size: int
  parts: tuple[str, ...] = ("vtc", "vtm", "mlm", "pem")
  fusion_layers: int = 6
  embedding_width: int = 256
  entities: int = 1000
  answers: int = 0
  max_length: int = 512
  dropout: float = 0.1
  drop_path: float = 0.1
  remat: str = "none"
  causal: bool = False

  @property
  def fuses(self) -> bool:
    return set(self.parts) != {"vtc"}

  def setup(self):
    video, text = size(self.video_size), size(self.text_size)
    self.video = TimeSformer(**vars(video), grid=self.video_grid, drop_path=self.drop_path, remat=self.remat)
    self.text = Bert(
      **vars(text), vocabulary_size=self.vocabulary_size, fusion_layers=self.fusion_layers, fuses=self.fuses,
      max_length=self.max_length, dropout=self.dropout, remat=self.remat, causal=self.causal,
    )  # fmt: skip
    if "vtc" in self.parts:
      self.video_projection = linear(self.embedding_width, video.width)
      self.text_projection = linear(self.embedding_width, text.width)
      self.temperature = self.param("temperature", nn.initializers.constant(0.07), ())
    if "vtm" in self.parts:
      self.vtm = linear(2, text.width)
    if "mlm" in self.parts:
      self.mlm = MaskedLanguageHead()
    if "pem" in self.parts:
      self.pem = TwoLayers(self.entities)
    if "qa" in self.parts:
      self.qa = TwoLayers(self.answers)

  def encode_video(self, patches: jax.Array, *, train: bool) -> jax.Array:
    """patches (B, T*N, P), uint8 or float in [-1, 1] -> (B, 1 + N, D), the class token first."""
    return self.video(patches, train=train)

  def encode_text(self, ids: jax.Array, mask: jax.Array, *, train: bool) -> jax.Array:
    """ids int32 (B, L) with special tokens, mask bool (B, L) -> (B, L, D), the class token first."""
    return self.text(ids, mask, train=train)

  def fuse(self, text: jax.Array, mask: jax.Array, video: jax.Array, *, train: bool) -> jax.Array:
    """Tokens of both, (B, L, D) and (B, 1 + N, D) -> (B, L + 1 + N, D)."""
    return self.text.fuse(text, mask, video, train=train)

  def contrast(self, video: jax.Array, text: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Tokens of both -> their embeddings (B, E) of unit length."""
    return unit(self.video_projection(video[:, 0])), unit(self.text_projection(text[:, 0]))

  def matching(self, fused: jax.Array) -> jax.Array:
    """(B, 2) logits; 1 means that they match."""
    return self.vtm(fused[:, 0])

  def words(self, fused: jax.Array) -> jax.Array:
    """Fused tokens at the text's places, (B, L, D) -> logits (B, L, V)."""
    return self.mlm(fused, self.text.word_table())

  def entities_of(self, places: jax.Array, inside: jax.Array) -> jax.Array:
    """Fused tokens of the N places of the picture (B, N, D), bool (B, N): which of them -> logits (B, entities)."""
    weights = inside / jnp.maximum(jnp.sum(inside, axis=1, keepdims=True), 1)
    return self.pem(jnp.einsum("bn,bnd->bd", weights, places))

  def answer(self, fused: jax.Array) -> jax.Array:
    """Logits (B, answers)."""
    return self.qa(fused[:, 0])

  def __call__(self, batch: dict[str, jax.Array], *, train: bool) -> dict[str, jax.Array]:
    """Everything that a batch as in WORKSPACE.md says when its clips and first captions are taken as pairs.

    Returns:
      `video/tokens` (B, 1 + N, D), `text/tokens` (B, L, D), `video/vtc`, `text/vtc` (B, E) of unit length, and of the
      parts there are `vtm` (B, 2), `mlm` (B, L, V), `pem` (B, entities) for the whole picture, `qa` (B, answers).
    """
    out = {}
    video = text = None
    if "video/patches" in batch:
      out["video/tokens"] = video = self.encode_video(batch["video/patches"], train=train)
    if "text/ids" in batch:
      ids, mask = batch["text/ids"][:, 0], batch["text/mask"][:, 0]
      out["text/tokens"] = text = self.encode_text(ids, mask, train=train)
    if "vtc" in self.parts:
      if video is not None:
        out["video/vtc"] = unit(self.video_projection(video[:, 0]))
      if text is not None:
        out["text/vtc"] = unit(self.text_projection(text[:, 0]))
    if video is None or text is None or not self.fuses:
      return out
    fused, length = self.fuse(text, mask, video, train=train), text.shape[1]
    if "vtm" in self.parts:
      out["vtm"] = self.matching(fused)
    if "mlm" in self.parts:
      out["mlm"] = self.words(fused[:, :length])
    if "pem" in self.parts:
      places = fused[:, length + 1 :]
      out["pem"] = self.entities_of(places, jnp.ones(places.shape[:2], bool))
    if "qa" in self.parts:
      out["qa"] = self.answer(fused)
    return out


class TwoLayers(nn.Module):
  """Linear to twice the width, ReLU, linear."""

  outputs: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    width = x.shape[-1]
    return linear(self.outputs, 2 * width, "out")(nn.relu(linear(2 * width, width, "in")(x)))


def linear(outputs: int, inputs: int, name: str | None = None) -> Dense:
  """A linear layer that starts as torch's: uniform up to 1 / sqrt(inputs), the bias too."""
  limit = 1.0 / math.sqrt(inputs)
  uniform = lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -limit, limit)
  return Dense(outputs, kernel_init=uniform, bias_init=uniform, name=name)


def unit(x: jax.Array) -> jax.Array:
  """Unit length along the last axis."""
  return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-24))
