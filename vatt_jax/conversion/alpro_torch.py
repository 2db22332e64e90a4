"""ALPRO's published files: prompter, pretrained, fine-tuned for retrieval or for question answering.

Source: salesforce/ALPRO and its port in LAVIS, which wraps the weights in `model`. What no output depends on stays behind:
the 400-way head of the video encoder, copies of tied weights, of a prompter and of retrieval the heads of other stages,
and of the prompter inside a pretrained file its whole text side, of which only the prompt features are needed.
"""

import dataclasses
import math
import re

import numpy as np

from vatt_jax.conversion import settings, tensors
from vatt_jax.conversion.bert import language_head, read_vocabulary, text_names, text_size
from vatt_jax.conversion.variables import Conversion, Names, Options, Variables, head_count, read_labels
from vatt_jax.conversion.vit import square_side
from vatt_jax.models.positions import nearest_table
from vatt_jax.models.sizes import Size, name_of

VIDEO, LANGUAGE = "visual_encoder.model", "text_encoder.cls.predictions"
PROMPTS = ("video_prompt_feat", "image_prompt_feat")
KINDS = {
  "prompter": "ALPRO's prompter", "pretraining": "ALPRO, pretrained", "retrieval": "ALPRO, fine-tuned for retrieval",
  "qa": "ALPRO, fine-tuned for question answering",
}  # fmt: skip
PARTS = {
  "prompter": ("vtc",), "pretraining": ("vtc", "vtm", "mlm", "pem"), "retrieval": ("vtc", "vtm"),
  "qa": ("vtc", "vtm", "qa"),
}  # fmt: skip
COPIES = re.compile(
  rf"(prompter\.)?({re.escape(VIDEO)}\.head\..*|text_encoder\..*position_ids|{re.escape(LANGUAGE)}\.decoder\..*)"
)


def kind_of(names) -> str:
  """Which of the published files has these names."""
  if "classifier.2.weight" in names:
    return "qa"
  if "mpm_head.2.weight" in names:
    return "pretraining"
  return "prompter" if PROMPTS[0] in names else "retrieval"


def open_checkpoint(place: str) -> Variables:
  """Opens a `.pt` or `.pth` file; UserError when there is none or it cannot be read."""
  file = tensors.open_file(place, "ALPRO")
  kind, dead = kind_of(file.shapes), [COPIES]
  if kind == "prompter":
    # Its upper layers never run; how many there are only the options say, so `convert` leaves them behind.
    dead += [re.compile(r"(text_encoder\.cls|itm_head)\..*")]
  if kind == "retrieval":
    dead += [re.compile(rf"{re.escape(LANGUAGE)}\..*")]
  complete = all(f"prompter.{name}" in file.shapes for name in PROMPTS)
  dead += [re.compile(r"prompter\.(text_encoder|text_proj|itm_head)\..*" if complete else r"prompter\..*")]
  return file.variables(lambda name: any(pattern.fullmatch(name) for pattern in dead), tensors.arrange)


def convert(variables: Variables, options: Options) -> Conversion:
  """All that one of the files holds; the prompter of a pretrained file goes into the collection `prompter`."""
  kind = kind_of({name.partition("[")[0] for name in variables.shapes})
  known = ("num_heads", "vocabulary", "text_length", "frames", "fusion_layers", *(["labels"] if kind == "qa" else []))
  options.accept(KINDS[kind], *known)
  dead = ()
  prefix = "text_encoder.bert." if any(".bert." in name for name in variables.shapes) else "text_encoder."
  text, video = text_size(variables, prefix, options), video_size(variables, VIDEO, options)
  fusion_layers = text.layers // 2 if options.fusion_layers is None else options.fusion_layers
  if kind == "prompter":
    variables, dead = _without_upper_layers(variables, prefix, text.layers - fusion_layers)
  vocabulary_size, max_length = (
    variables.shape(f"{prefix}embeddings.{table}_embeddings.weight", 2)[0] for table in ("word", "position")
  )
  own_frames = variables.shape(f"{VIDEO}.time_embed", 3)[1]
  frames = options.frames or own_frames
  variables = _with_frames(variables, frames)
  width = variables.shape("vision_proj.weight", 2)[0]
  layers = text.layers - fusion_layers if kind == "prompter" else text.layers
  names = {
      **video_names("params/video", VIDEO, variables, video, frames),
      **text_names("params/text", prefix, text, vocabulary_size, max_length, layers),
      **tensors.linear("params/video_projection", "vision_proj", video.width, width),
      **tensors.linear("params/text_projection", "text_proj", text.width, width),
      "params/temperature": ("temp", ()),
  }  # fmt: skip
  found = {"entities": 0}
  if "vtm" in PARTS[kind]:
    names |= tensors.linear("params/vtm", "itm_head", text.width, 2)
  if kind == "pretraining":
    names |= language_head("params/mlm", LANGUAGE, text.width, vocabulary_size)
    found["entities"] = variables.shape("mpm_head.2.weight", 2)[0]
    names |= _two_layers("params/pem", "mpm_head", text.width, variables)
  if kind == "qa":
    names |= _two_layers("params/qa", "classifier", text.width, variables)
  teacher = "prompter." if kind == "pretraining" else ""
  if f"{teacher}{PROMPTS[0]}" in variables.shapes:
    found["entities"] = variables.shape(f"{teacher}{PROMPTS[0]}", 2)[0]
    for ours, official in zip(("video_prompts", "image_prompts"), PROMPTS):
      names[f"prompter/{ours}"] = (f"{teacher}{official}", (found["entities"], width))
    if teacher:
      names |= {
          **video_names("prompter/video", f"{teacher}{VIDEO}", variables, video, frames),
          **tensors.linear("prompter/video_projection", f"{teacher}vision_proj", video.width, width),
          "prompter/temperature": (f"{teacher}temp", ()),
      }  # fmt: skip
  patch = variables.shape(f"{VIDEO}.patch_embed.proj.weight", 4)[2:]
  side = square_side(variables.place, variables.shape(f"{VIDEO}.pos_embed", 3)[1] - 1)
  model = settings.alpro_model(
      video_size=name_of(video), text_size=name_of(text), vocabulary_size=vocabulary_size, max_length=max_length,
      fusion_layers=fusion_layers, embedding_width=width, **found,
  )  # fmt: skip
  data = settings.data(
      video=settings.alpro_video(frames, side * patch[0], patch),
      text={"length": options.text_length or min(_text_length(kind), max_length), "candidates": 1, "lower_case": False},
      **({"label": {"classes": variables.shape("classifier.2.weight", 2)[0]}} if kind == "qa" else {}),
  )  # fmt: skip
  words = read_vocabulary(options.vocabulary, vocabulary_size) if options.vocabulary else None
  labels = read_labels(options.labels, data["label"]["classes"]) if options.labels else b""
  stretched = f", {own_frames} frames stretched to {frames}" if frames != own_frames else ""
  config = settings.run(_objective(kind), model, data)
  return Conversion(f"{KINDS[kind]}{stretched}", variables.collect(names), config, words, labels, dead)


def _text_length(kind: str) -> int:
  return 30 if kind in ("prompter", "pretraining") else 40


def _objective(kind: str) -> dict:
  if kind == "qa":
    return {"name": "alpro_qa", "trained": "all", "other_heads": True}
  terms = {part: float(part in PARTS[kind]) for part in ("vtc", "vtm", "mlm", "pem")}
  return settings.alpro_objective(terms=terms, local_rows=16 if kind == "pretraining" else 8)


def video_size(variables: Variables, prefix: str, options: Options) -> Size:
  """Dimensions of a TimeSformer."""
  feed_forward, width = variables.shape(f"{prefix}.blocks.0.mlp.fc1.weight", 2)
  heads = head_count(variables.place, width, options.num_heads)
  return Size(variables.count(f"{prefix}.blocks"), width, feed_forward, heads, width // heads)


def video_names(ours: str, official: str, variables: Variables, size: Size, frames: int) -> Names:
  """A TimeSformer."""
  width, hidden = size.width, size.feed_forward
  kernel = variables.shape(f"{official}.patch_embed.proj.weight", 4)
  places = variables.shape(f"{official}.pos_embed", 3)[1]
  names = {
      f"{ours}/class_token": (f"{official}.cls_token", (width,)),
      f"{ours}/spatial_positions": (f"{official}.pos_embed", (places, width)),
      f"{ours}/temporal_positions": (f"{official}.time_embed", (frames, width)),
      **tensors.linear(f"{ours}/patch_projection", f"{official}.patch_embed.proj", math.prod(kernel[1:]), width),
      **tensors.norm(f"{ours}/final_norm", f"{official}.norm", width),
  }  # fmt: skip
  for i in range(size.layers):
    mine, block = f"{ours}/layer_{i}", f"{official}.blocks.{i}"
    names |= {
        **tensors.norm(f"{mine}/temporal_norm", f"{block}.temporal_norm1", width),
        **tensors.fused_attention(f"{mine}/temporal_attention", f"{block}.temporal_attn", size),
        **tensors.linear(f"{mine}/temporal_projection", f"{block}.temporal_fc", width, width),
        **tensors.norm(f"{mine}/attention_norm", f"{block}.norm1", width),
        **tensors.fused_attention(f"{mine}/attention", f"{block}.attn", size),
        **tensors.norm(f"{mine}/feed_forward_norm", f"{block}.norm2", width),
        **tensors.linear(f"{mine}/feed_forward_in", f"{block}.mlp.fc1", width, hidden),
        **tensors.linear(f"{mine}/feed_forward_out", f"{block}.mlp.fc2", hidden, width),
    }  # fmt: skip
  return names


def _two_layers(ours: str, official: str, width: int, variables: Variables) -> Names:
  outputs = variables.shape(f"{official}.2.weight", 2)[0]
  return {
    **tensors.linear(f"{ours}/in", f"{official}.0", width, 2 * width),
    **tensors.linear(f"{ours}/out", f"{official}.2", 2 * width, outputs),
  }


def _without_upper_layers(variables: Variables, prefix: str, first: int) -> tuple[Variables, tuple[str, ...]]:
  upper = re.compile(rf"{re.escape(prefix)}encoder\.layer\.(\d+)\..*")
  dead = lambda name: bool((found := upper.fullmatch(name)) and int(found[1]) >= first)
  kept = {name: shape for name, shape in variables.shapes.items() if not dead(name)}
  return dataclasses.replace(variables, shapes=kept), tuple(sorted(filter(dead, variables.shapes)))


def _with_frames(variables: Variables, frames: int) -> Variables:
  """Time embeddings for another number of frames."""

  def read(name: str) -> np.ndarray:
    value = variables.read(name)
    return nearest_table(value, frames) if name.endswith("time_embed") else value

  return dataclasses.replace(variables, read=read)
