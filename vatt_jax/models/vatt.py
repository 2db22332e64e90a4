"""VATT: three towers and the heads into their common spaces, modality-specific or modality-agnostic."""

from flax import linen as nn
import jax

from vatt_jax.models import towers
from vatt_jax.models.heads import FacHead
from vatt_jax.models.sizes import size
from vatt_jax.models.text import T5Encoder
from vatt_jax.models.transformer import Encoder, glorot_uniform

# How patch projections start, by name: (channels, sample rate) -> initialiser of a (values, D) kernel.
PROJECTION_INITS = {
  "conv_glorot": lambda channels, rate: towers.conv_glorot_init(channels),
  "dense_glorot": lambda channels, rate: glorot_uniform,
  "gabor": lambda channels, rate: towers.gabor_init(rate),
}


class Vatt(nn.Module):
  """Video, sound and text into common spaces (VATT, NeurIPS 2021).

  Attributes:
    video_size, audio_size, text_size: names in `models.sizes`; a modality-agnostic model uses `video_size` for all.
    agnostic: one shared encoder for all modalities instead of one each.
    video_grid, audio_grid: patches per axis of a whole clip, before DropToken.
    text_length: L.
    vocabulary_size: V.
    word_width, trainable_words: of the word vectors (VATT: 300, frozen).
    text_scaled: see `text.T5Encoder` (VATT: false).
    post_width: width of the modality-agnostic projection behind the shared encoder (VATT: 1024).
    va_width, vt_width, audio_text: see `heads.FacHead`.
    dropout: one rate for all.
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
  text_scaled: bool = False
  post_width: int = 1024
  va_width: int = 512
  vt_width: int = 256
  audio_text: bool = False
  dropout: float = 0.1
  audio_scale: float = 1.0
  video_projection_init: str = "conv_glorot"
  audio_projection_init: str = "conv_glorot"
  sample_rate_hz: int = 48_000

  def setup(self):
    def fields(name):
      s = size(name)
      return dict(
        layers=s.layers, feed_forward=s.feed_forward, heads=s.heads, head_width=s.head_width, dropout=self.dropout
      )

    if self.agnostic:
      self.encoder = Encoder(**fields(self.video_size))
      encoders = {"video": self.encoder, "audio": self.encoder, "text": self.encoder}
      widths = dict.fromkeys(("video", "audio", "text"), size(self.video_size).width)
    else:
      encoders = {"video": Encoder(**fields(self.video_size)), "audio": Encoder(**fields(self.audio_size))}
      encoders["text"] = T5Encoder(**fields(self.text_size), scaled=self.text_scaled)
      names = {"video": self.video_size, "audio": self.audio_size, "text": self.text_size}
      widths = {modality: size(name).width for modality, name in names.items()}
    post_width = self.post_width if self.agnostic else None
    start = lambda name, channels: PROJECTION_INITS[name](channels, self.sample_rate_hz)
    self.video = towers.PatchTower(
      encoders["video"], self.video_grid, widths["video"], self.dropout, post_width, 1.0,
      start(self.video_projection_init, 3),
    )  # fmt: skip
    self.audio = towers.PatchTower(
      encoders["audio"], self.audio_grid, widths["audio"], self.dropout, post_width, self.audio_scale,
      start(self.audio_projection_init, 1),
    )  # fmt: skip
    words = (self.vocabulary_size, widths["text"])
    if self.agnostic:
      self.text = towers.AgnosticTextTower(
        encoders["text"], *words, self.post_width, self.text_length, self.word_width, self.trainable_words, self.dropout
      )
    else:
      self.text = towers.SpecificTextTower(encoders["text"], *words, self.word_width, self.trainable_words)
    self.heads = FacHead(self.va_width, self.vt_width, self.audio_text)

  def __call__(self, batch: dict[str, jax.Array], *, train: bool) -> dict[str, jax.Array]:
    """A batch as in WORKSPACE.md -> name -> float32 (B, E), text (B, K, E): `*/pooled` and the heads' outputs."""
    ids, mask = batch["text/ids"], batch["text/mask"]
    flat = lambda x: x.reshape(-1, x.shape[-1])
    video = self.video(batch["video/patches"], batch["video/positions"], train=train)
    audio = self.audio(batch["audio/patches"], batch["audio/positions"], train=train)
    text = self.text(flat(ids), flat(mask), train=train)
    out = {"video/pooled": video, "audio/pooled": audio, "text/pooled": text, **self.heads(video, audio, text, train)}
    return {
      name: value.reshape(*ids.shape[:2], -1) if name.startswith("text/") else value for name, value in out.items()
    }
