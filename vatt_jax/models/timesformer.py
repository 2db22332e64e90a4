"""TimeSformer with divided space-time attention, as ALPRO has it (Bertasius et al., 2021; Li et al., 2022, section 3.1).

A pre-norm ViT with a second attention in every layer: first each place of the picture looks along time, then each frame
looks at itself. There is one class token for the whole video. Source: salesforce/ALPRO, modeling/timesformer.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vatt_jax import placement
from vatt_jax.models import transformer
from vatt_jax.models.dropout import drop
from vatt_jax.models.linear import Dense

# Of every colour channel, in [0, 1]: CLIP's, although the published encoder started from a ViT trained with 0.5.
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

normal = nn.initializers.truncated_normal(0.02)


def normalise(patches: jax.Array) -> jax.Array:
  """Patches (..., P) of uint8, or of floats in [-1, 1], with the channel last in P -> float32, normalised by channel."""
  unit = patches.astype(jnp.float32) / 255.0 if patches.dtype == jnp.uint8 else (patches + 1.0) / 2.0
  by_channel = unit.reshape(-1, 3)
  by_channel = (by_channel - np.float32([MEAN])) / np.float32([DEVIATION])
  return by_channel.reshape(patches.shape)


class DropPath(nn.Module):
  """Leaves out the whole residual branch of some rows in training; the rest is scaled up (stochastic depth)."""

  rate: float

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """x (rows, ...); one draw per row."""
    if not train or not self.rate:
      return x
    kept = drop(jnp.ones((len(x), *[1] * (x.ndim - 1)), x.dtype), self.make_rng("dropout"), self.rate)
    return x * kept


class DividedLayer(nn.Module):
  """Attention along time, attention within each frame, MLP.

  Attributes:
    heads, feed_forward, head_width: of the layer.
    drop_path: rate of all three branches.
  """

  heads: int
  feed_forward: int
  head_width: int
  drop_path: float

  @nn.compact
  def __call__(self, class_BD: jax.Array, x_BTND: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
    """The class token and the patches, N of each of the T frames."""
    B, T, N, D = x_BTND.shape
    class_BD, x_BTND = placement.rows(class_BD), placement.rows(x_BTND)
    dense = lambda features, name, init=normal: Dense(features, kernel_init=init, name=name)
    attend = lambda name: transformer.Attention(self.heads, self.head_width, 0.0, kernel_init=normal, name=name)
    branch = DropPath(self.drop_path)

    # Zero at the start: a pretrained ViT sees each frame alone, and time comes in bit by bit.
    rows = x_BTND.swapaxes(1, 2).reshape(B * N, T, D)
    along_time = attend("temporal_attention")(transformer.layer_norm("temporal_norm")(rows), None, train)
    along_time = branch(along_time, train).reshape(B, N, T, D).swapaxes(1, 2)
    x_BTND = x_BTND + dense(D, "temporal_projection", nn.initializers.zeros)(along_time)

    copies = jnp.broadcast_to(class_BD[:, None, None], (B, T, 1, D))
    frames = jnp.concatenate([copies, x_BTND], axis=2).reshape(B * T, 1 + N, D)
    within = attend("attention")(transformer.layer_norm("attention_norm")(frames), None, train)
    within = branch(within, train).reshape(B, T, 1 + N, D)
    class_BD = class_BD + jnp.mean(within[:, :, 0], axis=1)
    x_BTND = x_BTND + within[:, :, 1:]

    x = jnp.concatenate([class_BD[:, None], x_BTND.reshape(B, T * N, D)], axis=1)
    y = transformer.layer_norm("feed_forward_norm")(x)
    y = transformer.gelu(dense(self.feed_forward, "feed_forward_in")(y))
    x = x + branch(dense(D, "feed_forward_out")(y), train)
    return x[:, 0], x[:, 1:].reshape(B, T, N, D)


class TimeSformer(nn.Module):
  """Patches of a whole clip -> one class token and the N places of the picture, averaged over time.

  Attributes:
    layers, width, feed_forward, heads, head_width: as in `models.sizes`.
    grid: (T, H/h, W/w); every patch of it has to be there.
    drop_path: rate of the last layer; it grows linearly from 0 in the first.
    remat: a name in `transformer.REMAT`: less memory, more computation.
  """

  layers: int
  width: int
  feed_forward: int
  heads: int
  head_width: int
  grid: tuple[int, int, int]
  drop_path: float = 0.1
  remat: str = "none"

  @nn.compact
  def __call__(self, patches: jax.Array, *, train: bool) -> jax.Array:
    """patches (B, T*N, P), all of the grid in (t, y, x) order, uint8 or float in [-1, 1] -> float32 (B, 1 + N, D)."""
    T, N = self.grid[0], self.grid[1] * self.grid[2]
    if patches.shape[1] != T * N:
      raise ValueError(f"{patches.shape[1]} patches are not the {T} x {N} of a whole clip")
    x = Dense(self.width, kernel_init=normal, name="patch_projection")(normalise(patches))
    places = self.param("spatial_positions", normal, (1 + N, self.width))
    times = self.param("temporal_positions", nn.initializers.zeros, (T, self.width))
    class_token = self.param("class_token", normal, (self.width,))
    x = x.reshape(-1, T, N, self.width) + places[None, None, 1:] + times[None, :, None]
    token = jnp.broadcast_to(class_token + places[0], (x.shape[0], self.width))
    kind = transformer.rematerialised(DividedLayer, self.remat)
    for i, rate in enumerate(np.linspace(0.0, self.drop_path, self.layers)):
      layer = kind(self.heads, self.feed_forward, self.head_width, float(rate), name=f"layer_{i}")
      token, x = layer(token, x, train)
    norm = transformer.layer_norm("final_norm")
    return jnp.concatenate([norm(token)[:, None], jnp.mean(norm(x), axis=1)], axis=1)
