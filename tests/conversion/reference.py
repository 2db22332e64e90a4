"""VATT and T5 in inference, in NumPy and float64, over the variables of an official checkpoint.

Written from the paper and the official code, without the project's own: what converted weights are compared with, and a
specification that runs. `v` is name -> array; names end where a part of the model begins.
"""

import math

import numpy as np
from scipy.interpolate import CubicSpline

erf = np.vectorize(math.erf, otypes=[float])

PRETRAINED = "model/layer_with_weights-0/_base_layer"
HEADS = "model/layer_with_weights-0/_head_layer/_bridge_heads/0"
UNIFIED = f"{PRETRAINED}/unified_backbone/unified_transformer"
FINETUNED = "model/layer_with_weights-0/_base"
CLASSIFIER = "model/layer_with_weights-0/_ops/cls"


def gelu(x):
  return x * (1 + erf(x / math.sqrt(2))) / 2


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def dense(v, name, x):
  return x @ v[f"{name}/kernel"] + v.get(f"{name}/bias", 0.0)


def layer_norm(v, name, x):
  x = x - x.mean(-1, keepdims=True)
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * v[f"{name}/gamma"] + v[f"{name}/beta"]


def rms_norm(weight, x):
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * weight


def batch_norm(v, name, x):
  x = (x - v[f"{name}/moving_mean"]) / np.sqrt(v[f"{name}/moving_variance"] + 1e-5)
  return x * v[f"{name}/gamma"] + v[f"{name}/beta"]


def attention(q, k, v, heads, scale, bias):
  """(B, N, heads * width) each -> the same; bias (B or 1, heads or 1, N or 1, N)."""
  split = lambda x: x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)
  out = softmax(split(q) @ split(k).swapaxes(2, 3) * scale + bias) @ split(v)
  return out.transpose(0, 2, 1, 3).reshape(q.shape)


def padding(mask):
  """mask (B, N) -> what is added to scores (B, 1, 1, N)."""
  return np.where(mask, 0.0, -1e9)[:, None, None, :]


def encoder(v, name, x, mask, heads):
  """The pre-norm Transformer of video, sound and of all modalities."""
  i = 0
  while f"{name}/layers/{i}/layer_norm/gamma" in v:
    at = f"{name}/layers/{i}"
    y = layer_norm(v, f"{at}/layer_norm", x)
    q, k, value = (dense(v, f"{at}/mha/{part}", y) for part in "qkv")
    y = attention(q, k, value, heads, (q.shape[-1] // heads) ** -0.5, padding(mask))
    x = x + dense(v, f"{at}/mha/o", y)
    y = layer_norm(v, f"{at}/feed_forward/layer_norm", x)
    x = x + dense(v, f"{at}/feed_forward/mlp/wo", gelu(dense(v, f"{at}/feed_forward/mlp/wi", y)))
    i += 1
  return layer_norm(v, f"{name}/final_layer_norm", x)


def video_tokens(v, name, frames):
  """frames (B, T, H, W, 3) in [-1, 1] -> (B, N, D), the strided convolution."""
  t, h, w, _, width = v[f"{name}/kernel"].shape
  B, T, H, W, _ = frames.shape
  x = frames.reshape(B, T // t, t, H // h, h, W // w, w, 3)
  return np.einsum("BTtHhWwc,thwcd->BTHWd", x, v[f"{name}/kernel"]).reshape(B, -1, width) + v[f"{name}/bias"]


def audio_tokens(v, name, samples):
  """samples (B, S) in [-1, 1] -> (B, N, D)."""
  kernel = v[f"{name}/kernel"][:, 0]
  return samples.reshape(len(samples), -1, len(kernel)) @ kernel + v[f"{name}/bias"]


def resized(table, length):
  """(N, D) -> (length, D): the natural cubic spline through i / N, read at j / length, a straight line beyond the end."""
  knots = np.arange(len(table)) / len(table)
  places = np.arange(length) / length
  spline = CubicSpline(knots, table, bc_type="natural")
  beyond = np.maximum(places - knots[-1], 0)[:, None]
  return spline(np.minimum(places, knots[-1])) + beyond * spline(knots[-1], 1)


def positions(v, name, grid=None):
  """(N, D): the normalised sum of the tables, resized to a grid of another size."""
  table = lambda axis: v[f"{name}/{axis}_position_embeddings/embeddings"]
  axes = ("temporal", "vertical", "horizontal")
  tables = [table(axis) for axis in axes if f"{name}/{axis}_position_embeddings/embeddings" in v]
  if grid:
    tables = [resized(table, length) for table, length in zip(tables, grid)]
  total = tables[0]
  if len(tables) > 1:
    total = total[:, None, None] + tables[1][None, :, None] + tables[2][None, None]
  return layer_norm(v, f"{name}/layernorm", total.reshape(-1, total.shape[-1]))


def prepend(token, x):
  return np.concatenate([np.broadcast_to(token, (len(x), 1, x.shape[-1])), x], 1)


def tower(v, name, x, heads, grid=None):
  """A tower of its own: tokens (B, N, D) -> pooled (B, D), or (B, post) with projections around the encoder."""
  if f"{name}/pre_proj/kernel" in v:
    x = gelu(dense(v, f"{name}/pre_proj", x))
  x = prepend(v[f"{name}/agg_embedding"], x + positions(v, f"{name}/pos_embedding_lookup", grid))
  x = encoder(v, f"{name}/tx", x, np.ones(x.shape[:2], bool), heads)[:, 0]
  return gelu(dense(v, f"{name}/post_proj", x)) if f"{name}/post_proj/kernel" in v else x


def shared_tower(v, modality, x, mask, heads):
  """A tower around the encoder of all modalities: what precedes its projection (B, N, .) -> pooled (B, post)."""
  x = gelu(dense(v, f"{UNIFIED}/pre_proj/{modality}", x))
  x = x + positions(v, f"{UNIFIED}/pos_embedding_lookup/{modality}")
  short = {"video": "vid", "audio": "aud", "text": "txt"}[modality]
  x = prepend(v[f"{UNIFIED}/{short}_agg_embedding"], x)
  mask = np.concatenate([np.ones_like(mask[:, :1]), mask], 1)
  return gelu(dense(v, f"{UNIFIED}/post_proj/{modality}", encoder(v, f"{UNIFIED}/tx", x, mask, heads)[:, 0]))


def relative_bias(table, length, max_distance):
  """table (32, heads) -> (1, heads, length, length), by the distance from query to key."""
  bias = np.zeros((1, table.shape[1], length, length))
  for i in range(length):
    for j in range(length):
      n = abs(j - i)
      if n >= 8:
        n = min(8 + int(math.log(n / 8) / math.log(max_distance / 8) * 8), 15)
      bias[0, :, i, j] = table[n + (16 if j > i else 0)]
  return bias


def text_tower(v, ids):
  """The modality-specific text tower: ids (B, L) -> pooled (B, D)."""
  name = f"{PRETRAINED}/txt_backbone"
  x = prepend(v[f"{name}/agg_embedding"], v[f"{name}/embedding/embeddings"][ids])
  x = gelu(dense(v, f"{name}/pre_proj", x))
  mask = np.concatenate([np.ones((len(ids), 1), bool), ids != 0], 1)
  first = f"{name}/base_lm/layers/0/self_attention/attention/relative_attention_bias/embeddings"
  bias = relative_bias(v[first], x.shape[1], 64) + padding(mask)
  i = 0
  while f"{name}/base_lm/layers/{i}/self_attention/layer_norm/weight" in v:
    at = f"{name}/base_lm/layers/{i}"
    y = rms_norm(v[f"{at}/self_attention/layer_norm/weight"], x)
    q, k, value = (dense(v, f"{at}/self_attention/attention/{part}", y) for part in "qkv")
    y = attention(q, k, value, v[first].shape[1], 1.0, bias)
    x = x + dense(v, f"{at}/self_attention/attention/o", y)
    y = layer_norm(v, f"{at}/feed_forward/layer_norm", x)
    x = x + dense(v, f"{at}/feed_forward/mlp/wo", gelu(dense(v, f"{at}/feed_forward/mlp/wi", y)))
    i += 1
  return rms_norm(v[f"{name}/base_lm/final_layer_norm/weight"], x)[:, 0]


def heads(v, pooled):
  """The common spaces of pooled video, audio and text; sound reaches text by video's map."""
  x = np.maximum(batch_norm(v, f"{HEADS}/hid_to_va/pre_bn", dense(v, f"{HEADS}/vid_to_hid", pooled["video"])), 0)
  video = batch_norm(v, f"{HEADS}/hid_to_va/bn", dense(v, f"{HEADS}/hid_to_va/dense", x))
  audio = dense(v, f"{HEADS}/aud_to_va", pooled["audio"])
  to_text = lambda x: batch_norm(v, f"{HEADS}/va_to_vat/bn", dense(v, f"{HEADS}/va_to_vat/dense", np.maximum(x, 0)))
  text = dense(v, f"{HEADS}/txt_to_vat", pooled["text"])
  return {
      "video/va": video, "audio/va": audio, "video/vt": to_text(video), "audio/vt": to_text(audio), "text/vt": text,
  }  # fmt: skip


def modality_specific(v, frames, samples, ids, num_heads):
  """Every output of a pretrained MS model."""
  video, audio = f"{PRETRAINED}/vid_backbone/_base", f"{PRETRAINED}/aud_backbone/_base"
  pooled = {
    "video": tower(v, video, video_tokens(v, f"{video}/voxel_to_patch", frames), num_heads["video"]),
    "audio": tower(v, audio, audio_tokens(v, f"{audio}/wave_to_patch", samples), num_heads["audio"]),
    "text": text_tower(v, ids),
  }
  return {f"{modality}/pooled": x for modality, x in pooled.items()} | heads(v, pooled)


def modality_agnostic(v, frames, samples, ids, num_heads):
  """Every output of a pretrained MA model."""
  raw = f"{UNIFIED}/raw_to_embeddings"
  inputs = {
    "video": video_tokens(v, f"{raw}/video", frames),
    "audio": audio_tokens(v, f"{raw}/audio", samples),
    "text": v[f"{raw}/text/embeddings"][ids],
  }
  masks = {name: np.ones(x.shape[:2], bool) for name, x in inputs.items()} | {"text": ids != 0}
  pooled = {name: shared_tower(v, name, x, masks[name], num_heads) for name, x in inputs.items()}
  return {f"{modality}/pooled": x for modality, x in pooled.items()} | heads(v, pooled)


def classifier(v, modality, media, num_heads, grid=None):
  """Pooled features and logits of a fine-tuned model; `media` are frames or samples, `grid` is given for other sizes."""
  tokens, name = {"video": (video_tokens, "voxel_to_patch"), "audio": (audio_tokens, "wave_to_patch")}[modality]
  pooled = tower(v, FINETUNED, tokens(v, f"{FINETUNED}/{name}", media), num_heads, grid)
  return {f"{modality}/pooled": pooled, "logits": dense(v, CLASSIFIER, pooled)}


def t5(v, ids):
  """T5's encoder with Hugging Face's names: ids (B, L) -> tokens (B, L, D)."""
  x, i = v["shared.weight"][ids], 0
  table = v["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
  bias = relative_bias(table, ids.shape[1], 128) + padding(ids != 0)
  while (at := f"encoder.block.{i}.layer") and f"{at}.0.layer_norm.weight" in v:
    y = rms_norm(v[f"{at}.0.layer_norm.weight"], x)
    q, k, value = (y @ v[f"{at}.0.SelfAttention.{part}.weight"].T for part in "qkv")
    x = x + attention(q, k, value, table.shape[1], 1.0, bias) @ v[f"{at}.0.SelfAttention.o.weight"].T
    y = rms_norm(v[f"{at}.1.layer_norm.weight"], x)
    x = x + np.maximum(y @ v[f"{at}.1.DenseReluDense.wi.weight"].T, 0) @ v[f"{at}.1.DenseReluDense.wo.weight"].T
    i += 1
  return rms_norm(v["encoder.final_layer_norm.weight"], x)
