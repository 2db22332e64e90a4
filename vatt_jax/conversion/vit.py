"""A ViT (Dosovitskiy et al., 2021) with timm's or Hugging Face's names: what ALPRO's TimeSformer starts from.

Its attention is copied into the attention along time, whose projection is zero: the model starts by seeing each frame
alone (salesforce/ALPRO, modeling/timesformer/helpers.py). Heads and poolers are left behind.
"""

import math
import re

import numpy as np

from vatt_jax.conversion import settings, tensors
from vatt_jax.conversion.variables import Conversion, Names, Options, Variables, head_count
from vatt_jax.errors import UserError
from vatt_jax.models.sizes import Size, name_of

DROPPED = re.compile(r"(vit\.)?(head|head_dist|pre_logits|fc_norm|pooler|classifier)\..*")


def open_checkpoint(place: str) -> Variables:
  """Opens the file, or the directory it lies in; UserError when there is none or it cannot be read."""
  return tensors.open_file(place, "a ViT").variables(lambda name: bool(DROPPED.fullmatch(name)), tensors.arrange)


def convert(variables: Variables, options: Options) -> Conversion:
  """The video encoder alone."""
  options.accept("a ViT", "num_heads", "frames")
  hugging_face = any("embeddings.patch_embeddings" in name for name in variables.shapes)
  stem = "vit." if any(name.startswith("vit.") for name in variables.shapes) else ""
  form = _HuggingFace(stem) if hugging_face else _Timm()
  channels = variables.shape(f"{form.patches}.weight", 4)
  places = variables.shape(form.places, 3)[1]
  layers = variables.count(form.layers)
  feed_forward, width = variables.shape(f"{form.layers}.0.{form.mlp[0]}.weight", 2)
  heads = head_count(variables.place, width, options.num_heads)
  size = Size(layers, width, feed_forward, heads, width // heads)
  side, frames = square_side(variables.place, places - 1), options.frames or 4
  names = {
      "class_token": (form.token, (width,)), "spatial_positions": (form.places, (places, width)),
      **tensors.linear("patch_projection", form.patches, math.prod(channels[1:]), width),
      **tensors.norm("final_norm", form.norm, width),
  }  # fmt: skip
  for i in range(layers):
    names |= _layer(f"layer_{i}", f"{form.layers}.{i}", form, size)
  tree = variables.collect({f"params/video/{name}": value for name, value in names.items()})
  video = tree["params"]["video"]
  for i in range(layers):
    layer = video[f"layer_{i}"]
    layer["temporal_attention"], layer["temporal_norm"] = layer["attention"], layer["attention_norm"]
    layer["temporal_projection"] = {
      name: np.zeros(shape, np.float32) for name, shape in (("kernel", (width, width)), ("bias", (width,)))
    }
  video["temporal_positions"] = np.zeros((frames, width), np.float32)
  patch = channels[2:]
  model = settings.alpro_model(video_size=name_of(size), text_size="tiny", vocabulary_size=0, fusion_layers=0)
  data = settings.data(video=settings.alpro_video(frames, side * patch[0], patch))
  config = settings.run(settings.alpro_objective(), model, data)
  return Conversion(f"a ViT of {side}x{side} patches, for {frames} frames", tree, config)


def square_side(place: str, patches: int) -> int:
  """The side of the picture in patches; UserError where it is no square."""
  side = math.isqrt(max(patches, 0))
  if not side or side * side != patches:
    raise UserError(f"{place} has positions for {patches} patches, which make no square picture with a class token.")
  return side


class _Timm:
  token, places, patches, layers, norm = "cls_token", "pos_embed", "patch_embed.proj", "blocks", "norm"
  norms, mlp = ("norm1", "norm2"), ("mlp.fc1", "mlp.fc2")

  def attention(self, ours: str, official: str, size: Size) -> Names:
    return tensors.fused_attention(ours, f"{official}.attn", size)


class _HuggingFace:
  norms, mlp = ("layernorm_before", "layernorm_after"), ("intermediate.dense", "output.dense")

  def __init__(self, stem: str):
    self.token, self.places = f"{stem}embeddings.cls_token", f"{stem}embeddings.position_embeddings"
    self.patches, self.layers = f"{stem}embeddings.patch_embeddings.projection", f"{stem}encoder.layer"
    self.norm = f"{stem}layernorm"

  def attention(self, ours: str, official: str, size: Size) -> Names:
    inner, names = size.heads * size.head_width, {}
    for third in tensors.THIRDS:
      names |= tensors.linear(f"{ours}/{third}", f"{official}.attention.attention.{third}", size.width, inner)
    return names | tensors.linear(f"{ours}/out", f"{official}.attention.output.dense", inner, size.width)


def _layer(ours: str, official: str, form, size: Size) -> Names:
  return {
      **tensors.norm(f"{ours}/attention_norm", f"{official}.{form.norms[0]}", size.width),
      **form.attention(f"{ours}/attention", official, size),
      **tensors.norm(f"{ours}/feed_forward_norm", f"{official}.{form.norms[1]}", size.width),
      **tensors.linear(f"{ours}/feed_forward_in", f"{official}.{form.mlp[0]}", size.width, size.feed_forward),
      **tensors.linear(f"{ours}/feed_forward_out", f"{official}.{form.mlp[1]}", size.feed_forward, size.width),
  }  # fmt: skip
