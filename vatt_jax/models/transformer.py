"""The pre-norm Transformer encoder of VATT, for video, sound and, modality-agnostic, for text too.

Source: VATT section 3.1.4 and google-research/vatt, modeling/common/transformers.py. Exact GELU, biases everywhere,
LayerNorm eps 1e-6, dropout on the attention weights, on both residual branches, inside the MLP and at the end.
"""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vatt_jax import placement
from vatt_jax.models.dropout import Dropout, hashes, kept
from vatt_jax.models.kernels import Kernel, by_head
from vatt_jax.models.linear import Dense

LAYER_NORM_EPSILON = 1e-6
MASKED = -1e9  # added to the scores of padded keys; large, finite, so that a row without keys stays finite

glorot_uniform = nn.initializers.xavier_uniform()


# What the backward pass finds stored of a layer; the rest is computed again.
REMAT = {
  "none": None,
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
  "full": jax.checkpoint_policies.nothing_saveable,
}


def dense(features: int, name: str | None = None, use_bias: bool = True, dtype=None) -> Dense:
  """A linear layer with the initialisation of the official code: glorot uniform, zero bias."""
  return Dense(features, use_bias=use_bias, kernel_init=glorot_uniform, name=name, dtype=dtype)


def layer_norm(name: str | None = None, dtype=None) -> nn.LayerNorm:
  """Mean and variance are float32 whatever the dtype."""
  return nn.LayerNorm(epsilon=LAYER_NORM_EPSILON, name=name, dtype=dtype)


def gelu(x: jax.Array) -> jax.Array:
  """GELU in its exact (erf) form; Flax's default is the tanh approximation."""
  return x * (0.5 * jax.lax.erf(x * np.asarray(0.5**0.5, x.dtype)) + np.asarray(0.5, x.dtype))


class Attention(nn.Module):
  """Multi-head self-attention.

  Attributes:
    heads: A.
    head_width: width of one head; 64 in every published size.
    dropout: rate on the attention weights, drawn for every head and pair.
    use_bias: whether the four projections have biases (T5: no).
    scaled: whether scores are divided by sqrt(head_width) (T5: no).
    long: on a CPU sequences of so many tokens go through one head after another, all others through all heads at once.
      The results are the same. A score matrix that is used while it is in the cache, and computed again in the backward
      pass instead of being kept, is faster on a CPU, and what is kept grows with N, not with N^2.
    kernel_init: of the four projections.
    kernel: of `models.kernels`; used for such long sequences where there is no bias and no dropout on the weights.
  """

  heads: int
  head_width: int = 64
  dropout: float = 0.1
  use_bias: bool = True
  scaled: bool = True
  long: int = 256
  kernel_init: nn.initializers.Initializer = glorot_uniform
  kernel: Kernel | None = None

  @nn.compact
  def __call__(self, x_BND: jax.Array, bias: jax.Array | None, train: bool, first: bool = False) -> jax.Array:
    """x (B, N, D) -> (B, N, D); `bias` is added to the scores and broadcasts to (B, A, N, N).

    Of the `first` token alone (B, 1, D); the bias then is one that all queries share, (B, A or 1, 1, N).
    """
    batch, tokens, width = x_BND.shape
    asking_BQD = x_BND[:, :1] if first else x_BND
    rate = self.dropout if train else 0.0
    linear = lambda features, name: Dense(
      features, self.use_bias, dtype=x_BND.dtype, kernel_init=self.kernel_init, name=name
    )

    project = lambda name, x: linear(self.heads * self.head_width, name)(x)
    q, k, v = project("query", asking_BQD), project("key", x_BND), project("value", x_BND)
    q = q * self.head_width**-0.5 if self.scaled else q
    places = None  # Of all pairs, hashed, where weights are dropped.
    if rate:
      keys = jax.random.split(self.make_rng("dropout"), self.heads)
      places = jax.vmap(lambda key: hashes(key, (batch, q.shape[1], tokens)))(keys)
    if bias is not None:
      bias = jnp.broadcast_to(bias.swapaxes(0, 1), (self.heads, *bias.swapaxes(0, 1).shape[1:]))
    one_by_one = functools.partial(by_head, rate=rate, heads=self.heads)
    all_at_once = functools.partial(_attend, rate=rate, heads=self.heads)
    if first or tokens < self.long:
      mixed = all_at_once(q, k, v, bias, places)
    elif self.kernel and bias is None and not rate:
      mixed_BANK = self.kernel(*(_apart(x, self.heads).transpose(0, 2, 1, 3) for x in (q, k, v)))
      mixed = mixed_BANK.transpose(0, 2, 1, 3).reshape(q.shape)
    else:
      mixed = jax.lax.platform_dependent(q, k, v, bias, places, cpu=one_by_one, default=all_at_once)
    return linear(width, "out")(mixed)


def _attend(q, k, v, bias, places, rate: float, heads: int) -> jax.Array:
  """q, k, v (B, N, A * K), bias that broadcasts to (A, B, N, N), hashes of the pairs -> (B, N, A * K)."""
  q_ABNK, k_ABMK, v_ABMK = (_apart(x, heads).transpose(2, 0, 1, 3) for x in (q, k, v))
  scores_ABNM = jnp.einsum("abnk,abmk->abnm", q_ABNK, k_ABMK, preferred_element_type=jnp.float32)
  weights_ABNM = nn.softmax(scores_ABNM if bias is None else scores_ABNM + bias)
  if rate:
    weights_ABNM = jnp.where(kept(*places, rate), weights_ABNM * (1 / (1 - rate)), 0.0)
  mixed_ABNK = jnp.einsum("abnm,abmk->abnk", weights_ABNM.astype(v.dtype), v_ABMK)
  return mixed_ABNK.transpose(1, 2, 0, 3).reshape(q.shape)


def _apart(x, heads: int):
  """(B, N, A * K) -> (B, N, A, K)."""
  return x.reshape(*x.shape[:2], heads, -1)


class Layer(nn.Module):
  """One pre-norm layer: attention and MLP, each on its own residual branch; fields as `Encoder`'s.

  Attributes:
    first: whether the output of the first token is enough: (B, N, D) -> (B, 1, D).
  """

  heads: int
  feed_forward: int
  head_width: int = 64
  dropout: float = 0.1
  attention_dropout: float | None = None
  kernel: Kernel | None = None
  first: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, bias: jax.Array | None, train: bool) -> jax.Array:
    drop = Dropout(self.dropout, deterministic=not train)
    x = placement.rows(x)
    y = layer_norm("attention_norm", x.dtype)(x)
    rate = self.dropout if self.attention_dropout is None else self.attention_dropout
    attention = Attention(self.heads, self.head_width, rate, kernel=self.kernel, name="attention")
    x = (x[:, :1] if self.first else x) + drop(attention(y, bias, train, self.first))
    y = layer_norm("feed_forward_norm", x.dtype)(x)
    y = drop(gelu(dense(self.feed_forward, "feed_forward_in", dtype=x.dtype)(y)))
    return x + drop(dense(x.shape[-1], "feed_forward_out", dtype=x.dtype)(y))


class Encoder(nn.Module):
  """A stack of layers, a final LayerNorm and dropout.

  Attributes:
    layers, feed_forward, heads, head_width: as in `models.sizes`.
    dropout: one rate for every dropout of the encoder.
    attention_dropout: another one for the attention weights.
    kernel: for attention, of `models.kernels`.
    dtype: of the computation; parameters, means, softmax and what comes out are float32.
    remat: a name in `REMAT`: less memory, more computation.
    scan: one compiled layer that runs for all, instead of each by itself: compiles sooner. The parameters have the same
      names; their random start and the dropout masks are others.
  """

  layers: int
  feed_forward: int
  heads: int
  head_width: int = 64
  dropout: float = 0.1
  dtype: str = "float32"
  remat: str = "none"
  scan: bool = False
  attention_dropout: float | None = None
  kernel: Kernel | None = None

  @nn.compact
  def __call__(self, x: jax.Array, mask: jax.Array | None = None, *, train: bool, first: bool = False) -> jax.Array:
    """x float (B, N, D), mask bool (B, N), false where a token is padding -> float32 (B, N, D).

    Of the `first` token alone (B, 1, D): the last layer then computes no other, unless `placement.every_token` says so.
    """
    first = first and not placement.is_whole()
    bias = None if mask is None else padding_bias(mask)
    x = x.astype(self.dtype)
    fields = self.heads, self.feed_forward, self.head_width, self.dropout, self.attention_dropout, self.kernel
    if self.scan:
      layer = Layer(*fields, parent=None)
      x = scan_layers(self, layer, self.layers, x, bias, train, self.remat, layer.clone(first=True) if first else None)
    else:
      kind = rematerialised(Layer, self.remat)
      for i in range(self.layers):
        x = kind(*fields, first and i == self.layers - 1, name=f"layer_{i}")(x, bias, train)
    x = layer_norm("final_norm")(x.astype(jnp.float32))
    return Dropout(self.dropout, deterministic=not train)(x)


def scan_layers(
  module: nn.Module,
  layer: nn.Module,
  count: int,
  x: jax.Array,
  bias: jax.Array | None,
  train: bool,
  remat: str,
  last: nn.Module | None = None,
) -> jax.Array:
  """`count` layers like `layer`, called as layer(x, bias, train), compiled as one.

  Args:
    module: whose parameters they are, under the names that layers have which are called one by one.
    layer: without a parent.
    remat: a name in `REMAT`.
    last: a layer with the same parameters that is called as the last one, where that differs.
  """
  start = lambda key: layer.init(key, x, bias, False)["params"]
  layers = [{"params": module.param(f"layer_{i}", start)} for i in range(count)]
  if train and layer.dropout:
    keys = jax.random.split(module.make_rng("dropout"), count)
    layers = [own | {"key": key} for own, key in zip(layers, keys)]

  def called(layer):
    def one(x, own):
      rngs = {"dropout": own["key"]} if "key" in own else {}
      return layer.apply({"params": own["params"]}, x, bias, train, rngs=rngs), None

    return jax.checkpoint(one, policy=REMAT[remat], prevent_cse=False) if REMAT[remat] else one

  alike = layers[:-1] if last else layers
  if alike:
    x = jax.lax.scan(called(layer), x, jax.tree.map(lambda *leaves: jnp.stack(leaves), *alike))[0]
  return called(last)(x, layers[-1])[0] if last else x


def rematerialised(layer: type[nn.Module], name: str) -> type[nn.Module]:
  """A layer called as layer(x, y, train), computed again in the backward pass as `REMAT[name]` says."""
  return nn.remat(layer, policy=REMAT[name], static_argnums=(3,)) if REMAT[name] else layer


def padding_bias(mask: jax.Array) -> jax.Array:
  """mask bool (B, N) -> float32 (B, 1, 1, N), added to the scores."""
  return jnp.where(mask, 0.0, MASKED).astype(jnp.float32)[:, None, None, :]
