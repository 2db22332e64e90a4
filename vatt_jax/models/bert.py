"""BERT whose lower layers read text and whose upper layers fuse text with video (ALPRO, section 3.1).

Source: salesforce/ALPRO, modeling/xbert.py. The upper layers are self-attention over the text's tokens followed by the
video's: no cross-attention, no new embeddings, no norm or projection in between.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from vatt_jax.models import transformer
from vatt_jax.models.dropout import Dropout
from vatt_jax.models.linear import Dense, Embed
from vatt_jax.models.text import BertLayer

EPSILON = 1e-12
normal = nn.initializers.normal(0.02)


class Bert(nn.Module):
  """A BERT in two modes, and its masked-language head.

  Attributes:
    layers, width, feed_forward, heads, head_width: as in `models.sizes`; `layers` counts both modes.
    vocabulary_size: V.
    fusion_layers: how many of the layers, the last ones, fuse.
    fuses: whether those are there at all.
    max_length: of the position table.
    dropout: one rate for embeddings, attention weights and branches.
    remat: a name in `transformer.REMAT`: less memory, more computation.
    causal: whether text sees only what stands before it, as in writing; see `causal_bias`.
  """

  layers: int
  width: int
  feed_forward: int
  heads: int
  head_width: int
  vocabulary_size: int
  fusion_layers: int
  fuses: bool = True
  max_length: int = 512
  dropout: float = 0.1
  remat: str = "none"
  causal: bool = False

  def setup(self):
    embed = lambda size: Embed(size, self.width, embedding_init=normal)
    self.words, self.positions, self.token_types = embed(self.vocabulary_size), embed(self.max_length), embed(2)
    self.input_norm = nn.LayerNorm(epsilon=EPSILON)
    self.input_dropout = Dropout(self.dropout)
    count = self.layers if self.fuses else self.layers - self.fusion_layers
    kind = transformer.rematerialised(BertLayer, self.remat)
    self.layer = [kind(self.heads, self.feed_forward, self.head_width, self.dropout, EPSILON) for _ in range(count)]

  def __call__(self, ids: jax.Array, mask: jax.Array, *, train: bool) -> jax.Array:
    """Text mode: ids int32 (B, L), mask bool (B, L) -> (B, L, D)."""
    # There are two token types; a single text is all of the first.
    x = self.words(ids) + self.positions(jnp.arange(ids.shape[1]))[None] + self.token_types(jnp.zeros_like(ids))
    x = self.input_norm(x)
    x = self.input_dropout(x) if train else x
    return self._run(self.layer[: self.layers - self.fusion_layers], x, mask, ids.shape[1], train)

  def fuse(self, text: jax.Array, mask: jax.Array, video: jax.Array, *, train: bool) -> jax.Array:
    """Fusion mode: text (B, L, D) with its mask, video (B, M, D) -> (B, L + M, D), text first."""
    everywhere = jnp.ones(video.shape[:2], bool)
    x, mask = jnp.concatenate([text, video], axis=1), jnp.concatenate([mask, everywhere], axis=1)
    return self._run(self.layer[self.layers - self.fusion_layers :], x, mask, text.shape[1], train)

  def _run(self, layers, x, mask, text, train):
    bias = transformer.padding_bias(mask)
    if self.causal:
      bias = bias + causal_bias(text, x.shape[1])
    for layer in layers:
      x = layer(x, bias, train)
    return x

  def word_table(self) -> jax.Array:
    """float32 (V, D), for a head that is tied to it."""
    return self.words.embedding


def causal_bias(text: int, tokens: int) -> jax.Array:
  """float32 (1, 1, N, N), added to the scores of N `tokens`, the first `text` of which are text.

  A word sees itself, the words before it and all of the video; the video sees itself alone, as through it a word would see
  those that come after.
  """
  query, key = jnp.arange(tokens)[:, None], jnp.arange(tokens)[None, :]
  seen_NM = (key >= text) | ((key <= query) & (query < text))
  return jnp.where(seen_NM, 0.0, transformer.MASKED).astype(jnp.float32)[None, None]


class MaskedLanguageHead(nn.Module):
  """Tokens -> logits of words; the last layer is the table of word vectors and a bias of its own."""

  @nn.compact
  def __call__(self, x: jax.Array, table: jax.Array) -> jax.Array:
    """x (B, L, D), table (V, D) -> (B, L, V)."""
    x = transformer.gelu(Dense(x.shape[-1], kernel_init=normal, name="transform")(x))
    x = nn.LayerNorm(epsilon=EPSILON, name="norm")(x)
    return x @ table.T + self.param("bias", nn.initializers.zeros, (len(table),))[None, None]
