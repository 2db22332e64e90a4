"""Text encoders: T5 as VATT has it and as it was published, BERT, and one linear layer.

Source: google-research/vatt, modeling/backbones/text/{t5,bert,linear}.py. The T5 of VATT differs from its encoder for
video and sound: no biases, scores not scaled, one relative position bias shared by all layers, RMS norm before attention
and at the end but a full LayerNorm before the MLP; and from T5 itself: exact GELU, largest distance 64 (T5: ReLU, RMS norm
everywhere, 128).
"""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vatt_jax import placement
from vatt_jax.models import transformer
from vatt_jax.models.dropout import Dropout


class T5Layer(nn.Module):
  """One pre-norm layer without biases."""

  heads: int
  feed_forward: int
  head_width: int
  dropout: float
  scaled: bool
  exact: bool

  @nn.compact
  def __call__(self, x, bias, train: bool):
    drop = Dropout(self.dropout, deterministic=not train)
    x = placement.rows(x)
    y = rms_norm("attention_norm")(x)
    attention = transformer.Attention(
      self.heads, self.head_width, self.dropout, use_bias=False, scaled=self.scaled, name="attention"
    )
    x = x + drop(attention(y, bias, train))
    y = (rms_norm if self.exact else transformer.layer_norm)("feed_forward_norm")(x)
    y = transformer.dense(self.feed_forward, "feed_forward_in", use_bias=False)(y)
    y = drop(nn.relu(y) if self.exact else transformer.gelu(y))
    return x + drop(transformer.dense(x.shape[-1], "feed_forward_out", use_bias=False)(y))


class T5Encoder(nn.Module):
  """Text encoder with relative positions.

  Attributes:
    layers, feed_forward, heads, head_width, dropout: as in `transformer.Encoder`.
    buckets: of the relative position bias.
    exact: T5 as published, for its weights: ReLU, RMS norm everywhere, largest distance 128 instead of 64.
    scaled: whether scores are divided by sqrt(head_width); not so in T5 and VATT. From scratch on little data the
      unscaled softmax starts out peaked, and learning is slower.
    remat, scan: as in `transformer.Encoder`.
  """

  layers: int
  feed_forward: int
  heads: int
  head_width: int = 64
  dropout: float = 0.1
  buckets: int = 32
  exact: bool = False
  scaled: bool = False
  remat: str = "none"
  scan: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, mask: jax.Array, *, train: bool) -> jax.Array:
    """x float (B, L, D), mask bool (B, L) -> (B, L, D)."""
    drop = Dropout(self.dropout, deterministic=not train)
    table = self.param("relative_bias", _uniform, (self.buckets, self.heads))
    bias_LMA = table[relative_buckets(x.shape[1], self.buckets, 128 if self.exact else 64)]
    bias = bias_LMA.transpose(2, 0, 1)[None] + transformer.padding_bias(mask)
    x = drop(x)
    fields = self.heads, self.feed_forward, self.head_width, self.dropout, self.scaled, self.exact
    if self.scan:
      x = transformer.scan_layers(self, T5Layer(*fields, parent=None), self.layers, x, bias, train, self.remat)
    else:
      kind = transformer.rematerialised(T5Layer, self.remat)
      for i in range(self.layers):
        x = kind(*fields, name=f"layer_{i}")(x, bias, train)
    return drop(rms_norm("final_norm")(x))


class BertLayer(nn.Module):
  """One post-norm layer: attention and MLP, each normalised after it was added."""

  heads: int
  feed_forward: int
  head_width: int
  dropout: float
  epsilon: float

  @nn.compact
  def __call__(self, x, bias, train: bool):
    drop = Dropout(self.dropout, deterministic=not train)
    norm = lambda name: nn.LayerNorm(epsilon=self.epsilon, name=name)
    x = placement.rows(x)
    attention = transformer.Attention(self.heads, self.head_width, self.dropout, name="attention")
    x = norm("attention_norm")(x + drop(attention(x, bias, train)))
    y = transformer.gelu(transformer.dense(self.feed_forward, "feed_forward_in")(x))
    return norm("feed_forward_norm")(x + drop(transformer.dense(x.shape[-1], "feed_forward_out")(y)))


class BertEncoder(nn.Module):
  """The layers of BERT (Devlin et al., 2019): post-norm, exact GELU, biases, LayerNorm eps 1e-12, no norm at the end."""

  layers: int
  feed_forward: int
  heads: int
  head_width: int = 64
  dropout: float = 0.1
  epsilon: float = 1e-12

  @nn.compact
  def __call__(self, x: jax.Array, mask: jax.Array, *, train: bool) -> jax.Array:
    """x float (B, L, D), mask bool (B, L) -> (B, L, D)."""
    bias = transformer.padding_bias(mask)
    x = nn.LayerNorm(epsilon=self.epsilon, name="input_norm")(x)
    x = Dropout(self.dropout, deterministic=not train)(x)
    for i in range(self.layers):
      layer = BertLayer(self.heads, self.feed_forward, self.head_width, self.dropout, self.epsilon, name=f"layer_{i}")
      x = layer(x, bias, train)
    return x


def rms_norm(name: str) -> nn.RMSNorm:
  return nn.RMSNorm(epsilon=transformer.LAYER_NORM_EPSILON, name=name)


def _uniform(key, shape, dtype=jnp.float32):
  """The initialisation of Keras embeddings: uniform in [-0.05, 0.05]."""
  return jax.random.uniform(key, shape, dtype, -0.05, 0.05)


def relative_buckets(length: int, buckets: int = 32, max_distance: int = 64) -> np.ndarray:
  """T5's bidirectional buckets: int (length, length), entry [i, j] is the bucket of the distance j - i.

  Half of the buckets are for keys to the right; half of each half is for single distances, the rest grow
  logarithmically up to `max_distance`.
  """
  distance = np.arange(length)[None, :] - np.arange(length)[:, None]
  half, exact = buckets // 2, buckets // 4
  far = np.maximum(np.abs(distance), 1)
  logarithmic = exact + (np.log(far / exact) / np.log(max_distance / exact) * (half - exact)).astype(int)
  bucket = np.where(np.abs(distance) < exact, np.abs(distance), np.minimum(logarithmic, half - 1))
  return np.where(distance > 0, half, 0) + bucket


class WordEmbedding(nn.Module):
  """A table of word vectors, trained or frozen.

  A frozen table lives in the collection `frozen`, outside `params`: no gradient, no optimizer state.
  """

  vocabulary_size: int
  width: int
  trainable: bool

  @nn.compact
  def __call__(self, ids: jax.Array) -> jax.Array:
    """ids int32 (...,) -> float32 (..., width)."""
    shape = (self.vocabulary_size, self.width)
    if self.trainable:
      table = placement.weight("embedding", self.param("embedding", _uniform, shape))
    else:
      table = self.variable("frozen", "embedding", lambda: _uniform(self.make_rng("params"), shape)).value
    return table[ids]
