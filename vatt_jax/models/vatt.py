"""VATT: three towers and the heads into their common spaces, modality-specific or modality-agnostic."""

from flax import linen as nn
import jax

from vatt_jax.models import towers
from vatt_jax.models.heads import FacHead, JoinedHead, JointHead
from vatt_jax.models.kernels import Kernel
from vatt_jax.models.sizes import size
from vatt_jax.models.text import BertEncoder, T5Encoder
from vatt_jax.models.transformer import Encoder, glorot_uniform

# How patch projections start, by name: (channels, sample rate) -> initialiser of a (values, D) kernel.
PROJECTION_INITS = {
  "conv_glorot": lambda channels, rate: towers.conv_glorot_init(channels),
  "dense_glorot": lambda channels, rate: glorot_uniform,
  "gabor": lambda channels, rate: towers.gabor_init(rate),
}
TEXT_FORMS = ("vatt", "t5", "bert", "linear")


class Vatt(nn.Module):
  """Video, sound and text into common spaces (VATT, NeurIPS 2021).

  Where paper and official code differ, the default is the code's, as published weights need it; both are named.

  Attributes:
    video_size, audio_size, text_size: as in `models.sizes`; a modality-agnostic model uses `video_size` for all.
    agnostic: one shared encoder for all modalities instead of one each.
    video_grid, audio_grid: patches per axis of a whole clip, before DropToken.
    text_length: L, of the position tables where text has any.
    vocabulary_size: V.
    word_width, trainable_words: of the word vectors (code: 300, frozen; paper: learned).
    word_projection: the GELU projection of modality-specific word vectors to D; without it they have the width D.
    text_form: "vatt" (T5 with GELU, mixed norms, largest distance 64), "t5" (as published, for its weights), "bert",
      "linear" (one layer, maximum over words).
    text_aggregation: "token" or "mean" over words, see `towers.SpecificTextTower`.
    text_scaled: see `text.T5Encoder` (VATT: false).
    post_width: width of the modality-agnostic GELU projection behind the shared encoder (code: 1024; the paper
      mentions none: 0, which leaves out the one before it too).
    head: "fac", "joint", or "none": encoders on their own, such as T5's.
    va_width, vt_width, audio_text, head_norms, va_to_vt: see `heads.FacHead`; `va_width` is the joint space's too.
    joined: two modalities that meet the third together, names in `heads.JOINED`.
    normalised_positions, aggregation_position: see `towers.PatchTower`.
    dropout: one rate for all.
    dtype: of the encoders for video and sound, and the shared one; see `transformer.Encoder`.
    remat, scan: of those and of T5.
    attention_dropout, kernel: of those, see `transformer.Encoder`.
    video_projection_init, audio_projection_init: names in `PROJECTION_INITS`; VATT: "conv_glorot" for both.
    audio_scale: what samples in [-1, 1] are multiplied with (VATT: 1).
    sample_rate_hz: for "gabor".
  """

  video_size: str
  audio_size: str
  text_size: str
  video_grid: tuple[int, int, int]
  audio_grid: tuple[int, ...]
  text_length: int
  vocabulary_size: int
  agnostic: bool = False
  word_width: int = 300
  trainable_words: bool = False
  word_projection: bool = True
  text_form: str = "vatt"
  text_aggregation: str = "token"
  text_scaled: bool = False
  post_width: int = 1024
  head: str = "fac"
  va_width: int = 512
  vt_width: int = 256
  audio_text: bool = False
  joined: tuple[str, ...] = ()
  head_norms: str = "video"
  va_to_vt: str = "mlp"
  normalised_positions: bool = True
  aggregation_position: bool = False
  dropout: float = 0.1
  dtype: str = "float32"
  remat: str = "none"
  scan: bool = False
  attention_dropout: float | None = None
  kernel: Kernel | None = None
  audio_scale: float = 1.0
  video_projection_init: str = "conv_glorot"
  audio_projection_init: str = "conv_glorot"
  sample_rate_hz: int = 48_000

  def setup(self):
    shared = None
    encoder = lambda name: Encoder(
        **encoder_fields(name, self.dropout), dtype=self.dtype, remat=self.remat, scan=self.scan,
        attention_dropout=self.attention_dropout, kernel=self.kernel,
    )  # fmt: skip
    if self.agnostic:
      self.encoder = shared = encoder(self.video_size)
    widest = lambda name: size(self.video_size if self.agnostic else name).width
    tower = lambda name, grid, channels, init, scale: towers.PatchTower(
      shared or encoder(name),
      grid,
      widest(name),
      self.dropout,
      self._post_width,
      scale,
      PROJECTION_INITS[init](channels, self.sample_rate_hz),
      len(grid) != 2,  # Two axes: a spectrogram, whose projection has no bias.
      self.normalised_positions,
      self.aggregation_position,
    )
    self.video = tower(self.video_size, self.video_grid, 3, self.video_projection_init, 1.0)
    self.audio = tower(self.audio_size, self.audio_grid, 1, self.audio_projection_init, self.audio_scale)
    self.text = self._agnostic_text(shared) if self.agnostic else self._specific_text()
    if self.head == "joint":
      self.heads = JointHead(self.va_width)
    elif self.head == "fac":
      self.heads = FacHead(self.va_width, self.vt_width, self.audio_text, self.head_norms, self.va_to_vt)
    self.joined_heads = [JoinedHead(name, self.vt_width, name=f"{name}_head") for name in self.joined]

  @property
  def _post_width(self) -> int | None:
    return (self.post_width or None) if self.agnostic else None

  def _agnostic_text(self, encoder: Encoder) -> nn.Module:
    return towers.AgnosticTextTower(
      encoder,
      self.vocabulary_size,
      size(self.video_size).width,
      self._post_width,
      self.text_length,
      self.word_width,
      self.trainable_words,
      self.dropout,
      self.normalised_positions,
      self.aggregation_position,
    )

  def _specific_text(self) -> nn.Module:
    if self.text_form == "linear":
      return towers.LinearTextTower(
        self.vocabulary_size, word_width=self.word_width, trainable_words=self.trainable_words
      )
    fields = encoder_fields(self.text_size, self.dropout)
    if self.text_form == "bert":
      encoder, max_length = BertEncoder(**fields), self.text_length
    else:
      exact = self.text_form == "t5"
      encoder = T5Encoder(**fields, exact=exact, scaled=self.text_scaled, remat=self.remat, scan=self.scan)
      max_length = 0
    return towers.SpecificTextTower(
      encoder,
      self.vocabulary_size,
      size(self.text_size).width,
      self.word_width,
      self.trainable_words,
      self.word_projection,
      max_length,
      self.text_aggregation,
    )

  def __call__(self, batch: dict[str, jax.Array], *, train: bool) -> dict[str, jax.Array]:
    """A batch as in WORKSPACE.md -> name -> float32 (B, E), text (B, K, E): `*/pooled` and the heads' outputs.

    Several windows of video, (B, K, N, P), make that (B, K, E) too.
    A modality that is not in the batch is left out.
    """
    return self.project(self.pool(batch, train=train), train=train)

  def pool(self, batch: dict[str, jax.Array], *, train: bool) -> dict[str, jax.Array]:
    """The towers: `*/pooled`. Every clip by itself."""
    out = {}
    for name, tower in (("video", self.video), ("audio", self.audio)):
      if f"{name}/patches" in batch:
        patches, positions = batch[f"{name}/patches"], batch[f"{name}/positions"]
        flat = lambda x, axes: x.reshape(-1, *x.shape[-axes:])
        pooled = tower(flat(patches, 2), flat(positions, 1), train=train)
        out[f"{name}/pooled"] = pooled.reshape(*patches.shape[:-2], -1)
    if "text/ids" in batch:
      flat = lambda x: x.reshape(-1, x.shape[-1])
      pooled = self.text(flat(batch["text/ids"]), flat(batch["text/mask"]), train=train)
      out["text/pooled"] = pooled.reshape(*batch["text/ids"].shape[:2], -1)
    return out

  def project(self, pooled: dict[str, jax.Array], *, train: bool) -> dict[str, jax.Array]:
    """The heads, added to what `pool` returned. Batch norm sees all clips."""
    if self.head == "none":
      return pooled
    text = pooled.get("text/pooled")
    flat = None if text is None else text.reshape(-1, text.shape[-1])
    out = self.heads(pooled.get("video/pooled"), pooled.get("audio/pooled"), flat, train)
    captions = lambda x: x.reshape(*text.shape[:2], -1)
    out = {name: captions(x) if name.startswith("text/") else x for name, x in out.items()}
    for head in self.joined_heads:
      out |= head(pooled)
    return pooled | out


def encoder_fields(name: str, dropout: float) -> dict:
  """The fields of an encoder of the size called `name`."""
  s = size(name)
  return dict(layers=s.layers, feed_forward=s.feed_forward, heads=s.heads, head_width=s.head_width, dropout=dropout)
