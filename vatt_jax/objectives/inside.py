"""A look inside of a model at work: what enters and leaves its encoders, which units fire, and where attention goes.

Nothing is added to the models for it: calls of their parts are watched (`flax.linen.intercept_methods`).
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from vatt_jax import placement
from vatt_jax.models.classifier import Classifier
from vatt_jax.models.text import BertEncoder, T5Encoder
from vatt_jax.models.transformer import Attention, Encoder, Layer, gelu
from vatt_jax.models.vatt import Vatt

MODALITIES = ("video", "audio", "text")
_ENCODERS = (Encoder, T5Encoder, BertEncoder)


def can_look(objective) -> bool:
  """Whether `look` knows the model: VATT's and the classifiers made of its towers."""
  return isinstance(getattr(objective, "model", None), Vatt | Classifier)


def is_shared(objective) -> bool:
  """Whether one encoder serves all modalities, so that its units can be compared between them."""
  return bool(getattr(objective.model, "agnostic", False))


def look(objective, variables: dict, batch: dict[str, jax.Array], rows: int) -> dict[str, jax.Array]:
  """What happens inside for each modality of a batch, in inference mode.

  Args:
    rows: of so many clips, the first, attention is followed too; it takes memory of N x N for each.

  Returns:
    For each modality: `<modality>/input` float32 (B, D), the mean over the tokens that enter the encoder;
    `<modality>/output` float32 (B, D), what is pooled; for VATT's own encoders `<modality>/activity` float32
    (B, layers, F), how strongly each unit of each feed-forward layer fires: the mean over tokens of the positive part of
    its activation; and for video and sound `<modality>/rollout` float32 (rows, N), the share of the aggregation token's
    output that comes from each patch, see `rollout`.
  """
  # Layers one by one in plain XLA: what happens inside of scans, remat and kernels can't be watched. Same parameters.
  model = objective.model.clone(scan=False, remat="none", kernel=None)
  found = {}
  for modality in MODALITIES:
    own = {key: value for key, value in batch.items() if key.startswith(f"{modality}/")}
    own |= {key: own[key][:, :1] for key in ("text/ids", "text/mask") if key in own}  # One caption of each clip.
    if f"{modality}/patches" in own or f"{modality}/ids" in own:
      found |= _look_at(model, variables, own, modality, rows)
  return found


def _look_at(model, variables, batch, modality, rows) -> dict[str, jax.Array]:
  seen = {"queries": [], "keys": [], "activity": []}

  def watch(call, args, kwargs, context):
    module, parent = context.module, context.module.parent
    if context.method_name != "__call__":
      return call(*args, **kwargs)
    if isinstance(module, _ENCODERS) and "tokens" not in seen:
      seen["tokens"], seen["mask"] = args[0], args[1] if len(args) > 1 else None
    out = call(*args, **kwargs)
    if isinstance(parent, Attention) and module.name in ("query", "key"):
      heads = out[:rows].reshape(*out[:rows].shape[:2], parent.heads, parent.head_width)
      scale = parent.head_width**-0.5 if parent.scaled else 1.0
      seen["queries" if module.name == "query" else "keys"].append(heads * (scale if module.name == "query" else 1.0))
    if isinstance(parent, Layer) and module.name == "feed_forward_in":
      seen["activity"].append(_mean(jnp.maximum(gelu(out), 0.0), seen["mask"]))
    return out

  with nn.intercept_methods(watch), placement.every_token():
    method = "pool" if isinstance(model, Vatt) else None
    out = model.apply(variables, batch, train=False, method=method)
  pooled = out[f"{modality}/pooled"]
  found = {f"{modality}/output": pooled.reshape(-1, pooled.shape[-1])}
  if "tokens" in seen:
    found[f"{modality}/input"] = _mean(seen["tokens"], seen["mask"])
  if seen["activity"]:
    found[f"{modality}/activity"] = jnp.stack(seen["activity"], axis=1)
  if modality != "text":
    found[f"{modality}/rollout"] = rollout(seen["queries"], seen["keys"])
  return found


def _mean(x: jax.Array, mask: jax.Array | None) -> jax.Array:
  """(B, N, D) -> float32 (B, D), over the tokens that are there."""
  x = x.astype(jnp.float32)
  if mask is None:
    return x.mean(axis=1)
  weights = mask.astype(jnp.float32)[:, :, None]
  return jnp.sum(x * weights, axis=1) / jnp.maximum(jnp.sum(weights, axis=1), 1.0)


def rollout(queries: list[jax.Array], keys: list[jax.Array]) -> jax.Array:
  """Attention rollout: how much of the first token's output comes from each other token of the input.

  In each layer a token is half itself and half what it attends to, mean over heads; the product over layers says what
  of the input it is made of at the end.

  Args:
    queries, keys: of each layer, (B, 1 + N, A, K), queries scaled.

  Returns:
    float32 (B, N), sum 1: the aggregation token's own share is left out.

  Source: Abnar and Zuidema, "Quantifying attention flow in transformers", 2020.
  """
  share = None
  for q, k in zip(reversed(queries), reversed(keys)):
    heads = (q.transpose(2, 0, 1, 3), k.transpose(2, 0, 1, 3))

    def add(total, head):
      q_BNK, k_BMK = head
      scores_BNM = jnp.einsum("bnk,bmk->bnm", q_BNK, k_BMK, preferred_element_type=jnp.float32)
      return total + nn.softmax(scores_BNM), None

    # Head by head, so that one matrix of N x N is held at a time.
    total, _ = jax.lax.scan(add, jnp.zeros((q.shape[0], q.shape[1], k.shape[1]), jnp.float32), heads)
    mixed_BNM = total / q.shape[2]
    if share is None:
      share = jnp.zeros(mixed_BNM.shape[::2], jnp.float32).at[:, 0].set(1.0)
    share = 0.5 * share + 0.5 * jnp.einsum("bn,bnm->bm", share, mixed_BNM)
  patches = share[:, 1:]
  return patches / jnp.sum(patches, axis=1, keepdims=True)
