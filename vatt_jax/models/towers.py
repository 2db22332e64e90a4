"""Towers: patches or words in, one pooled vector out. One class for video, sound and spectrograms, one for text.

Source: VATT sections 3.1 to 3.3; google-research/vatt, modeling/backbones. The encoder is a field: modality-specific
models give each tower its own, modality-agnostic ones give all towers the same instance.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vatt_jax.models import transformer
from vatt_jax.models.dropout import Dropout
from vatt_jax.models.linear import Dense
from vatt_jax.models.text import WordEmbedding


def to_unit_range(patches: jax.Array) -> jax.Array:
  """uint8 pixels or int16 samples as float32 in [-1, 1]; float32 passes."""
  if patches.dtype == jnp.uint8:
    return patches.astype(jnp.float32) / 127.5 - 1.0
  if patches.dtype == jnp.int16:
    return patches.astype(jnp.float32) / 32768.0
  return patches.astype(jnp.float32)


class PositionEmbedding(nn.Module):
  """The sum of one table per axis, normalised (added to tokens by the caller).

  Attributes:
    grid: how many patches there are on each axis, (T/t, H/h, W/w) for video, (S/P,) for a waveform.
    width: D.
    normalised: LayerNorm of the sum (official code; the paper adds the bare sum).
  """

  grid: tuple[int, ...]
  width: int
  normalised: bool = True

  @nn.compact
  def __call__(self, positions: jax.Array) -> jax.Array:
    """positions int32 (B, N), flat indices in the grid -> float32 (B, N, D)."""
    total = 0.0
    for axis, length in enumerate(self.grid):
      stride = int(np.prod(self.grid[axis + 1 :], dtype=int))
      table = self.param(f"axis_{axis}", _truncated_normal, (length, self.width))
      total = total + table[positions // stride % length]
    return transformer.layer_norm("norm")(total) if self.normalised else total


class PatchTower(nn.Module):
  """A set of patches -> tokens -> encoder -> the pooled aggregation token.

  Attributes:
    encoder: called as encoder(tokens, mask, train=..., first=True), as its first token is all that is used.
    grid, width: of the position tables.
    dropout: on tokens after positions were added.
    post_width: None (modality-specific) or the width of the GELU projection after the encoder; with it goes a GELU
      projection before the positions (both in modality-agnostic models).
    input_scale: what [-1, 1] values are multiplied with; 1 in VATT.
    projection_init: initialiser of the patch projection.
    projection_bias: false for spectrograms.
    normalised_positions: see `PositionEmbedding`.
    aggregation_position: whether the aggregation token has a position of its own (paper, equation 2; the code: no).
  """

  encoder: nn.Module
  grid: tuple[int, ...]
  width: int
  dropout: float = 0.1
  post_width: int | None = None
  input_scale: float = 1.0
  projection_init: nn.initializers.Initializer = transformer.glorot_uniform
  projection_bias: bool = True
  normalised_positions: bool = True
  aggregation_position: bool = False

  @nn.compact
  def __call__(self, patches: jax.Array, positions: jax.Array, *, train: bool) -> jax.Array:
    """patches (B, N, P) uint8, int16 or float32; positions int32 (B, N) -> pooled float32 (B, D or post_width)."""
    x = to_unit_range(patches) * self.input_scale
    x = Dense(self.width, use_bias=self.projection_bias, kernel_init=self.projection_init, name="patch_projection")(x)
    if self.post_width:
      x = transformer.gelu(transformer.dense(self.width, "pre_projection")(x))
    x = x + PositionEmbedding(self.grid, self.width, self.normalised_positions, name="positions")(positions)
    x = Dropout(self.dropout, deterministic=not train)(x)
    x = prepend_aggregation(self, x, self.aggregation_position)
    x = self.encoder(x, None, train=train, first=True)[:, 0]
    if self.post_width:
      x = transformer.gelu(transformer.dense(self.post_width, "post_projection")(x))
    return x


class SpecificTextTower(nn.Module):
  """Words -> vectors -> encoder -> pooled.

  Attributes:
    encoder: called as encoder(tokens, mask, train=...).
    vocabulary_size, width: V, D.
    word_width, trainable_words: of the word vectors.
    projection: GELU projection of the word vectors to D, without bias; the aggregation token joins before it. Without
      it (for T5's own weights) word vectors have the width D.
    max_length: 0, or the length of a table of absolute positions (BERT).
    aggregation: "token": the output at the aggregation token; "mean": no such token, the mean over words.
  """

  encoder: nn.Module
  vocabulary_size: int
  width: int
  word_width: int = 300
  trainable_words: bool = False
  projection: bool = True
  max_length: int = 0
  aggregation: str = "token"

  def __call__(self, ids: jax.Array, mask: jax.Array, *, train: bool) -> jax.Array:
    """ids int32 (B, L), mask bool (B, L) -> pooled float32 (B, D)."""
    return self.pooled(self.tokens(ids, mask, train=train), mask)

  @nn.compact
  def tokens(self, ids: jax.Array, mask: jax.Array, *, train: bool) -> jax.Array:
    """Like the whole, before pooling: float32 (B, L or 1 + L, D)."""
    word_width = self.word_width if self.projection else self.width
    x = WordEmbedding(self.vocabulary_size, word_width, self.trainable_words, name="words")(ids)
    if self.max_length:
      x = x + PositionEmbedding((self.max_length,), word_width, normalised=False, name="positions")(_places(ids))
    if self.aggregation == "token":
      x, mask = prepend_aggregation(self, x), _with_aggregation(mask)
    if self.projection:
      x = transformer.gelu(transformer.dense(self.width, "pre_projection", use_bias=False)(x))
    return self.encoder(x, mask, train=train)

  def pooled(self, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """float32 (B, D) from what `tokens` returned."""
    if self.aggregation == "token":
      return tokens[:, 0]
    weights = mask.astype(tokens.dtype)[:, :, None]
    return jnp.sum(tokens * weights, axis=1) / jnp.maximum(jnp.sum(weights, axis=1), 1.0)


class LinearTextTower(nn.Module):
  """Word vectors -> one linear layer -> ReLU -> maximum over the words (MMV, Alayrac et al., 2020)."""

  vocabulary_size: int
  width: int = 2048
  word_width: int = 300
  trainable_words: bool = False

  @nn.compact
  def __call__(self, ids: jax.Array, mask: jax.Array, *, train: bool) -> jax.Array:
    """ids int32 (B, L), mask bool (B, L) -> pooled float32 (B, D); 0 where there is no word."""
    x = WordEmbedding(self.vocabulary_size, self.word_width, self.trainable_words, name="words")(ids)
    x = nn.relu(transformer.dense(self.width, "projection")(x))
    return jnp.max(jnp.where(mask[:, :, None], x, 0.0), axis=1)


class AgnosticTextTower(nn.Module):
  """Words -> vectors -> projection -> absolute positions -> the encoder that all modalities share -> pooled.

  Without `post_width` (the paper mentions no such layers) the projection before the encoder is linear.
  """

  encoder: nn.Module
  vocabulary_size: int
  width: int
  post_width: int | None
  max_length: int
  word_width: int = 300
  trainable_words: bool = False
  dropout: float = 0.1
  normalised_positions: bool = True
  aggregation_position: bool = False

  @nn.compact
  def __call__(self, ids: jax.Array, mask: jax.Array, *, train: bool) -> jax.Array:
    """ids int32 (B, L), mask bool (B, L) -> pooled float32 (B, post_width or D)."""
    x = WordEmbedding(self.vocabulary_size, self.word_width, self.trainable_words, name="words")(ids)
    x = transformer.dense(self.width, "pre_projection")(x)
    x = transformer.gelu(x) if self.post_width else x
    x = x + PositionEmbedding((self.max_length,), self.width, self.normalised_positions, name="positions")(_places(ids))
    x = Dropout(self.dropout, deterministic=not train)(x)
    x = prepend_aggregation(self, x, self.aggregation_position)
    x = self.encoder(x, _with_aggregation(mask), train=train, first=True)[:, 0]
    if self.post_width:
      x = transformer.gelu(transformer.dense(self.post_width, "post_projection")(x))
    return x


def prepend_aggregation(module: nn.Module, x: jax.Array, position: bool = False) -> jax.Array:
  """x (B, N, D) -> (B, N + 1, D): the learned token comes first, without dropout; with a position only if asked."""
  token = module.param("aggregation", _truncated_normal, (x.shape[-1],))
  if position:
    token = token + module.param("aggregation_position", _truncated_normal, (x.shape[-1],))
  return jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, x.shape[-1])), x], axis=1)


def _places(ids: jax.Array) -> jax.Array:
  return jnp.broadcast_to(jnp.arange(ids.shape[1], dtype=jnp.int32), ids.shape)


def _with_aggregation(mask: jax.Array) -> jax.Array:
  return jnp.concatenate([jnp.ones_like(mask[:, :1]), mask], axis=1)


def _truncated_normal(key, shape, dtype=jnp.float32):
  """Truncated normal with the standard deviation D^-0.5 of position tables and aggregation tokens."""
  return nn.initializers.truncated_normal(shape[-1] ** -0.5)(key, shape, dtype)


def conv_glorot_init(channels: int) -> nn.initializers.Initializer:
  """Glorot uniform with the fans of the official convolution, whose fan-out counts the patch's volume too."""

  def init(key, shape, dtype=jnp.float32):
    values, width = shape
    return transformer.glorot_uniform(key, (values // channels, channels, width), dtype).reshape(shape)

  return init


def gabor_init(sample_rate_hz: int) -> nn.initializers.Initializer:
  """An initialiser for waveform projections: windowed cosines on a mel scale, in two phases, then trained.

  A named option of our own (`model.audio_projection_init = "gabor"`); VATT starts from glorot uniform.
  """

  def init(key, shape, dtype=jnp.float32):
    patch, width = shape
    mel = lambda hz: 2595 * np.log10(1 + hz / 700)
    top = 0.45 * sample_rate_hz
    hz = 700 * (10 ** (np.linspace(mel(sample_rate_hz / patch), mel(top), (width + 1) // 2) / 2595) - 1)
    time = (np.arange(patch) - (patch - 1) / 2) / sample_rate_hz
    phase = np.stack([np.cos, np.sin], axis=0)
    waves = np.concatenate([wave(2 * np.pi * hz[:, None] * time) for wave in phase])[:width]
    waves = waves * np.hanning(patch + 2)[1:-1]
    kernel = (waves / np.linalg.norm(waves, axis=1, keepdims=True)).T
    sign = jax.random.rademacher(key, (1, width), dtype)
    return jnp.asarray(kernel, dtype) * sign

  return init
