"""Checkpoints of tiny models in the official formats, with random weights: names and shapes, values, files."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tests.conversion.reference import CLASSIFIER, FINETUNED, HEADS, PRETRAINED, UNIFIED
from vatt_jax.conversion import Variables

FROZEN = ("embedding/embeddings", "text/embeddings", "moving_mean", "moving_variance")  # names without slots


class Geometry(NamedTuple):
  """Patches (t, h, w), lengths of the position tables, (V, width) of the word vectors."""

  patch: tuple[int, int, int] = (2, 4, 6)
  tables: tuple[int, int, int] = (2, 3, 2)
  audio_patch: int = 5
  audio_table: int = 7
  words: tuple[int, int] = (13, 10)
  text_table: int = 6


TINY = Geometry()
PUBLISHED = Geometry((4, 16, 16), (8, 14, 14), 128, 1200, (65_536, 300), 16)


def dense(name, inputs, outputs, bias=True):
  shapes = {f"{name}/kernel": (inputs, outputs)}
  return {**shapes, f"{name}/bias": (outputs,)} if bias else shapes


def norm(name, width):
  return {f"{name}/gamma": (width,), f"{name}/beta": (width,)}


def batch_norm(name, width):
  return {**norm(name, width), f"{name}/moving_mean": (width,), f"{name}/moving_variance": (width,)}


def encoder(name, layers, width, inner, feed_forward):
  shapes = norm(f"{name}/final_layer_norm", width)
  for i in range(layers):
    at = f"{name}/layers/{i}"
    shapes |= norm(f"{at}/layer_norm", width) | norm(f"{at}/feed_forward/layer_norm", width)
    for part in "qkv":
      shapes |= dense(f"{at}/mha/{part}", width, inner)
    shapes |= dense(f"{at}/mha/o", inner, width)
    shapes |= dense(f"{at}/feed_forward/mlp/wi", width, feed_forward)
    shapes |= dense(f"{at}/feed_forward/mlp/wo", feed_forward, width)
  return shapes


def video(projection, lookup, width, geometry):
  shapes = {f"{projection}/kernel": (*geometry.patch, 3, width), f"{projection}/bias": (width,)}
  for axis, length in zip(("temporal", "vertical", "horizontal"), geometry.tables):
    shapes[f"{lookup}/{axis}_position_embeddings/embeddings"] = (length, width)
  return shapes | norm(f"{lookup}/layernorm", width)


def audio(projection, lookup, width, geometry):
  return {
      f"{projection}/kernel": (geometry.audio_patch, 1, width), f"{projection}/bias": (width,),
      f"{lookup}/temporal_position_embeddings/embeddings": (geometry.audio_table, width),
      **norm(f"{lookup}/layernorm", width),
  }  # fmt: skip


def text_encoder(name, layers, width, heads, head_width, feed_forward):
  inner = heads * head_width
  shapes = {
    f"{name}/layers/0/self_attention/attention/relative_attention_bias/embeddings": (32, heads),
    f"{name}/final_layer_norm/weight": (width,),
  }
  for i in range(layers):
    at = f"{name}/layers/{i}"
    shapes |= {f"{at}/self_attention/layer_norm/weight": (width,)} | norm(f"{at}/feed_forward/layer_norm", width)
    for part in "qkv":
      shapes |= dense(f"{at}/self_attention/attention/{part}", width, inner, bias=False)
    shapes |= dense(f"{at}/self_attention/attention/o", inner, width, bias=False)
    shapes |= dense(f"{at}/feed_forward/mlp/wi", width, feed_forward, bias=False)
    shapes |= dense(f"{at}/feed_forward/mlp/wo", feed_forward, width, bias=False)
  return shapes


def heads(video_width, audio_width, text_width, va=12, vt=9):
  return {
      **dense(f"{HEADS}/vid_to_hid", video_width, va, bias=False), **batch_norm(f"{HEADS}/hid_to_va/pre_bn", va),
      **dense(f"{HEADS}/hid_to_va/dense", va, va, bias=False), **batch_norm(f"{HEADS}/hid_to_va/bn", va),
      **dense(f"{HEADS}/va_to_vat/dense", va, vt, bias=False), **batch_norm(f"{HEADS}/va_to_vat/bn", vt),
      **dense(f"{HEADS}/aud_to_va", audio_width, va), **dense(f"{HEADS}/txt_to_vat", text_width, vt),
  }  # fmt: skip


def modality_specific(
  video_size=(2, 24, 128, 40), audio_size=(1, 20, 64, 28), text_size=(2, 16, 3, 4, 32), spaces=(12, 9), geometry=TINY
):
  """Sizes are (layers, width, all heads' width, feed-forward), text: (layers, width, heads, head width, feed-forward)."""
  vid, aud, txt = (f"{PRETRAINED}/{name}_backbone" for name in ("vid", "aud", "txt"))
  widths = video_size[1], audio_size[1], text_size[1]
  word_width = geometry.words[1]
  return {
      **video(f"{vid}/_base/voxel_to_patch", f"{vid}/_base/pos_embedding_lookup", widths[0], geometry),
      f"{vid}/_base/agg_embedding": widths[:1], **encoder(f"{vid}/_base/tx", *video_size),
      **audio(f"{aud}/_base/wave_to_patch", f"{aud}/_base/pos_embedding_lookup", widths[1], geometry),
      f"{aud}/_base/agg_embedding": widths[1:2], **encoder(f"{aud}/_base/tx", *audio_size),
      f"{txt}/embedding/embeddings": geometry.words, f"{txt}/agg_embedding": (word_width,),
      **dense(f"{txt}/pre_proj", word_width, widths[2], bias=False), **text_encoder(f"{txt}/base_lm", *text_size),
      **heads(*widths, *spaces),
  }  # fmt: skip


def modality_agnostic(size=(2, 24, 128, 40), post_width=18, spaces=(12, 9), geometry=TINY):
  raw, lookup, width = f"{UNIFIED}/raw_to_embeddings", f"{UNIFIED}/pos_embedding_lookup", size[1]
  shapes = {
      **video(f"{raw}/video", f"{lookup}/video", width, geometry),
      **audio(f"{raw}/audio", f"{lookup}/audio", width, geometry),
      f"{raw}/text/embeddings": geometry.words, **norm(f"{lookup}/text/layernorm", width),
      f"{lookup}/text/temporal_position_embeddings/embeddings": (geometry.text_table, width),
      **encoder(f"{UNIFIED}/tx", *size), **heads(post_width, post_width, post_width, *spaces),
  }  # fmt: skip
  for modality, short, inputs in (("video", "vid", width), ("audio", "aud", width), ("text", "txt", geometry.words[1])):
    shapes[f"{UNIFIED}/{short}_agg_embedding"] = (width,)
    shapes |= dense(f"{UNIFIED}/pre_proj/{modality}", inputs, width)
    shapes |= dense(f"{UNIFIED}/post_proj/{modality}", width, post_width)
  return shapes


def classifier(modality, size=(2, 24, 64, 40), classes=5, post_width=0, geometry=TINY):
  width, lookup = size[1], f"{FINETUNED}/pos_embedding_lookup"
  tokens, name = {"video": (video, "voxel_to_patch"), "audio": (audio, "wave_to_patch")}[modality]
  shapes = tokens(f"{FINETUNED}/{name}", lookup, width, geometry)
  shapes |= {f"{FINETUNED}/agg_embedding": (width,)} | encoder(f"{FINETUNED}/tx", *size)
  if post_width:
    shapes |= dense(f"{FINETUNED}/pre_proj", width, width) | dense(f"{FINETUNED}/post_proj", width, post_width)
  return shapes | dense(CLASSIFIER, post_width or width, classes)


def t5(layers=2, width=16, heads=3, head_width=4, feed_forward=20):
  inner = heads * head_width
  shapes = {
      "shared.weight": (13, width), "encoder.final_layer_norm.weight": (width,),
      "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (32, heads),
  }  # fmt: skip
  for i in range(layers):
    at = f"encoder.block.{i}.layer"
    shapes |= {f"{at}.0.SelfAttention.{part}.weight": (inner, width) for part in "qkv"}
    shapes |= {
        f"{at}.0.SelfAttention.o.weight": (width, inner), f"{at}.0.layer_norm.weight": (width,),
        f"{at}.1.DenseReluDense.wi.weight": (feed_forward, width),
        f"{at}.1.DenseReluDense.wo.weight": (width, feed_forward), f"{at}.1.layer_norm.weight": (width,),
    }  # fmt: skip
  return shapes


def random_values(shapes, seed=0):
  """Weights of a size that keeps activations near one; scales about one, variances positive."""
  random = np.random.default_rng(seed)

  def draw(name, shape):
    if name.endswith(("gamma", "norm/weight", "norm.weight")):
      return random.uniform(0.5, 1.5, shape)
    if name.endswith("moving_variance"):
      return random.uniform(0.5, 2.0, shape)
    return random.normal(0, np.prod(shape[:-1]) ** -0.5 if len(shape) > 1 else 0.5, shape)

  return {name: draw(name, shape).astype(np.float32) for name, shape in shapes.items()}


class Optimizer(tf.Module):
  """What an optimizer leaves in an object-based checkpoint: its own scalars, and slots beside each trained variable."""

  def __init__(self, slot_names, trained):
    self.iter, self.decay = tf.Variable(7, dtype=tf.int64), tf.Variable(0.0)
    slots = {(id(x), name): tf.Variable(tf.zeros_like(x)) for x in trained for name in slot_names}
    self.get_slot_names = lambda: list(slot_names)
    self.get_slot = lambda variable, name: slots.get((id(variable), name))  # Functions are not tracked.


def write_checkpoint(directory, values, slots=("m", "v")):
  """Saves name -> array under exactly these names with TensorFlow's own saver; returns .../ckpt-1."""
  tree, variables = {}, {}
  for name, value in values.items():
    *path, last = name.split("/")
    node = tree
    for part in path:
      node = node.setdefault(part, {})
    node[last] = variables[name] = tf.Variable(value)
  trained = [x for name, x in variables.items() if not name.endswith(FROZEN)]
  optimizer = Optimizer(slots, trained)
  return tf.train.Checkpoint(model=_track(tree["model"]), optimizer=optimizer).save(f"{directory}/ckpt")


def _track(node):
  if not isinstance(node, dict):
    return node
  if all(key.isdigit() for key in node):
    return [_track(node[str(i)]) for i in range(len(node))]
  module = tf.Module()
  for key, child in node.items():
    setattr(module, key, _track(child))
  return module


def virtual(shapes):
  """A checkpoint of zeros that takes no memory."""

  def read(name):
    shape = shapes[name]
    return np.broadcast_to(np.float32(0), shape if len(shape) < 3 else (np.prod(shape[:-1]), shape[-1]))

  return Variables("ckpt", shapes, read, (), "")
