"""ALPRO in inference and its four losses, in NumPy and float64, over the variables of an official file.

Written from the paper and the official code, without the project's own: what converted weights are compared with, and a
specification that runs. `v` is name -> array; `stem` is where the names of a part begin.
"""

import math

import numpy as np

erf = np.vectorize(math.erf, otypes=[float])
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def log_softmax(x):
  x = x - x.max(-1, keepdims=True)
  return x - np.log(np.exp(x).sum(-1, keepdims=True))


def gelu(x):
  return x * (1 + erf(x / math.sqrt(2))) / 2


def linear(v, name, x):
  return x @ v[f"{name}.weight"].T + v[f"{name}.bias"]


def layer_norm(v, name, x, epsilon):
  x = x - x.mean(-1, keepdims=True)
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * v[f"{name}.weight"] + v[f"{name}.bias"]


def attend(q, k, v, heads, mask=None):
  """(..., N, D) each; mask bool over keys, (..., N)."""
  split = lambda x: np.moveaxis(x.reshape(*x.shape[:-1], heads, -1), -2, -3)
  q, k, v = split(q), split(k), split(v)
  scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
  if mask is not None:
    scores = scores - 10_000.0 * ~mask[..., None, None, :]
  mixed = np.moveaxis(softmax(scores) @ v, -3, -2)
  return mixed.reshape(*mixed.shape[:-2], -1)


def fused_attention(v, name, x, heads):
  return linear(v, f"{name}.proj", attend(*np.split(linear(v, f"{name}.qkv", x), 3, -1), heads))


def video_tokens(v, stem, frames, heads):
  """frames uint8 (B, T, H, W, 3) -> (B, 1 + N, D)."""
  B, T, H, W, _ = frames.shape
  weight = v[f"{stem}patch_embed.proj.weight"]
  D, _, h, w = weight.shape
  pixels = (frames / 255.0 - np.array(MEAN)) / np.array(DEVIATION)
  cut = pixels.reshape(B, T, H // h, h, W // w, w, 3)
  x = np.einsum("btyixjc,dcij->btyxd", cut, weight) + v[f"{stem}patch_embed.proj.bias"]
  x = x.reshape(B, T, -1, D)
  x = x + v[f"{stem}pos_embed"][0, None, None, 1:] + v[f"{stem}time_embed"][0, None, :, None]
  c = np.repeat(v[f"{stem}cls_token"][0, 0] + v[f"{stem}pos_embed"][0, :1], B, 0)
  i = 0
  while f"{stem}blocks.{i}.norm1.weight" in v:
    at = f"{stem}blocks.{i}"
    along = np.swapaxes(x, 1, 2)  # (B, N, T, D)
    along = fused_attention(v, f"{at}.temporal_attn", layer_norm(v, f"{at}.temporal_norm1", along, 1e-6), heads)
    x = x + np.swapaxes(linear(v, f"{at}.temporal_fc", along), 1, 2)
    frame = np.concatenate([np.repeat(c[:, None, None], T, 1), x], 2)
    frame = fused_attention(v, f"{at}.attn", layer_norm(v, f"{at}.norm1", frame, 1e-6), heads)
    c, x = c + frame[:, :, 0].mean(1), x + frame[:, :, 1:]
    mlp = lambda y, at=at: linear(
      v, f"{at}.mlp.fc2", gelu(linear(v, f"{at}.mlp.fc1", layer_norm(v, f"{at}.norm2", y, 1e-6)))
    )
    c, x = c + mlp(c), x + mlp(x)
    i += 1
  c, x = layer_norm(v, f"{stem}norm", c, 1e-6), layer_norm(v, f"{stem}norm", x, 1e-6)
  return np.concatenate([c[:, None], x.mean(1)], 1)


def bert_layers(v, stem, layers, x, mask, heads):
  for i in layers:
    at = f"{stem}encoder.layer.{i}"
    q, k, u = (linear(v, f"{at}.attention.self.{part}", x) for part in ("query", "key", "value"))
    y = linear(v, f"{at}.attention.output.dense", attend(q, k, u, heads, mask))
    x = layer_norm(v, f"{at}.attention.output.LayerNorm", x + y, 1e-12)
    y = linear(v, f"{at}.output.dense", gelu(linear(v, f"{at}.intermediate.dense", x)))
    x = layer_norm(v, f"{at}.output.LayerNorm", x + y, 1e-12)
  return x


def text_tokens(v, stem, ids, layers, heads):
  table = lambda name: v[f"{stem}embeddings.{name}_embeddings.weight"]
  x = table("word")[ids] + table("position")[: ids.shape[1]] + table("token_type")[0]
  return bert_layers(v, stem, layers, layer_norm(v, f"{stem}embeddings.LayerNorm", x, 1e-12), ids != 0, heads)


def fuse(v, stem, text, mask, video, layers, heads):
  everywhere = np.ones(video.shape[:2], bool)
  return bert_layers(
    v, stem, layers, np.concatenate([text, video], 1), np.concatenate([mask, everywhere], 1), heads
  )  # fmt: skip


def unit(x):
  return x / np.sqrt((x**2).sum(-1, keepdims=True))


def two_layers(v, name, x):
  return linear(v, f"{name}.2", np.maximum(linear(v, f"{name}.0", x), 0))


def entities(v, frames, heads, stem="prompter.", prompts="video"):
  video = video_tokens(v, f"{stem}visual_encoder.model.", frames, heads)
  f = unit(linear(v, f"{stem}vision_proj", video[:, 0]))
  return softmax(f @ v[f"{stem}{prompts}_prompt_feat"].T / v[f"{stem}temp"])


def losses(v, frames, crops, ids, hidden, selected, inside, heads, text_layers, fusion):
  """The four losses of pretraining; negatives are the most similar others, labels are not filtered."""
  stem, B = "text_encoder.bert.", len(ids)
  lower, upper = range(text_layers - fusion), range(text_layers - fusion, text_layers)
  video = video_tokens(v, "visual_encoder.model.", frames, heads)
  text = text_tokens(v, stem, ids, lower, heads)
  similarity = unit(linear(v, "vision_proj", video[:, 0])) @ unit(linear(v, "text_proj", text[:, 0])).T / v["temp"]
  own = np.arange(B)
  vtc = -(log_softmax(similarity)[own, own].mean() + log_softmax(similarity.T)[own, own].mean()) / 2
  others = np.where(np.eye(B, dtype=bool), -np.inf, similarity)
  video_for_text, text_for_video = others.argmax(0), others.argmax(1)
  run = lambda t, i, u: fuse(v, stem, t, i != 0, u, upper, heads)
  positive = run(text, ids, video)
  triples = [positive, run(text, ids, video[video_for_text]), run(text[text_for_video], ids[text_for_video], video)]
  logits = log_softmax(linear(v, "itm_head", np.concatenate([fused[:, 0] for fused in triples])))
  vtm = -logits[np.arange(3 * B), [1] * B + [0] * 2 * B].mean()
  # The mask of the clean text goes with the hidden one.
  masked = bert_layers(
    v, stem, upper, np.concatenate([_hidden_tokens(v, stem, hidden, ids != 0, lower, heads), video], 1),
    np.concatenate([ids != 0, np.ones(video.shape[:2], bool)], 1), heads,
  )[:, : ids.shape[1]]  # fmt: skip
  head = "text_encoder.cls.predictions"
  y = layer_norm(v, f"{head}.transform.LayerNorm", gelu(linear(v, f"{head}.transform.dense", masked)), 1e-12)
  words = log_softmax(y @ v[f"{stem}embeddings.word_embeddings.weight"].T + v[f"{head}.bias"])
  rows, places = np.nonzero(selected)
  mlm = -words[rows, places, ids[rows, places]].mean()
  labels = entities(v, crops, heads)
  spots = positive[:, ids.shape[1] + 1 :]
  mean = np.stack([spot[covered].mean(0) for spot, covered in zip(spots, inside)])
  pem = -(labels * log_softmax(two_layers(v, "mpm_head", mean))).sum(-1).mean()
  return {"vtc": vtc, "vtm": vtm, "mlm": mlm, "pem": pem}


def _hidden_tokens(v, stem, ids, mask, layers, heads):
  table = lambda name: v[f"{stem}embeddings.{name}_embeddings.weight"]
  x = table("word")[ids] + table("position")[: ids.shape[1]] + table("token_type")[0]
  return bert_layers(v, stem, layers, layer_norm(v, f"{stem}embeddings.LayerNorm", x, 1e-12), mask, heads)
