"""Files as ALPRO's authors and torch write them, tiny and with random weights; torch is not needed."""

import collections
import contextlib
import io
import pickle
import sys
import types
import zipfile

import numpy as np
import safetensors.numpy

WIDTH, FEED_FORWARD, HEADS, EMBEDDING = 16, 24, 2, 8
VIDEO_LAYERS, TEXT_LAYERS, FUSION = 2, 4, 2
SIDE, PATCH, VOCABULARY, LENGTHS, ENTITIES, ANSWERS = 3, 4, 20, 12, 5, 3
VIDEO_SIZE, TEXT_SIZE = ((layers, WIDTH, FEED_FORWARD, HEADS, WIDTH // HEADS) for layers in (VIDEO_LAYERS, TEXT_LAYERS))
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "##s", "sit", *(f"x{i}" for i in range(11))]


def linear(name, inputs, outputs):
  return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name):
  return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


def vit(stem="", frames=None):
  """A ViT with timm's names; with frames, a TimeSformer."""
  shapes = {f"{stem}cls_token": (1, 1, WIDTH), f"{stem}pos_embed": (1, SIDE**2 + 1, WIDTH)}
  shapes |= {f"{stem}patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH), f"{stem}patch_embed.proj.bias": (WIDTH,)}
  if frames:
    shapes[f"{stem}time_embed"] = (1, frames, WIDTH)
  for i in range(VIDEO_LAYERS):
    block = f"{stem}blocks.{i}"
    shapes |= norm(f"{block}.norm1") | norm(f"{block}.norm2")
    shapes |= linear(f"{block}.attn.qkv", WIDTH, 3 * WIDTH) | linear(f"{block}.attn.proj", WIDTH, WIDTH)
    shapes |= linear(f"{block}.mlp.fc1", WIDTH, FEED_FORWARD) | linear(f"{block}.mlp.fc2", FEED_FORWARD, WIDTH)
    if frames:
      shapes |= norm(f"{block}.temporal_norm1") | linear(f"{block}.temporal_attn.qkv", WIDTH, 3 * WIDTH)
      shapes |= linear(f"{block}.temporal_attn.proj", WIDTH, WIDTH) | linear(f"{block}.temporal_fc", WIDTH, WIDTH)
  return shapes | norm(f"{stem}norm") | linear(f"{stem}head", WIDTH, 400)


def bert(stem, position_ids=True):
  shapes = {f"{stem}embeddings.position_ids": (1, LENGTHS)} if position_ids else {}
  for table, rows in (("word", VOCABULARY), ("position", LENGTHS), ("token_type", 2)):
    shapes[f"{stem}embeddings.{table}_embeddings.weight"] = (rows, WIDTH)
  shapes |= norm(f"{stem}embeddings.LayerNorm")
  for i in range(TEXT_LAYERS):
    layer = f"{stem}encoder.layer.{i}"
    for part in ("query", "key", "value"):
      shapes |= linear(f"{layer}.attention.self.{part}", WIDTH, WIDTH)
    shapes |= linear(f"{layer}.attention.output.dense", WIDTH, WIDTH) | norm(f"{layer}.attention.output.LayerNorm")
    shapes |= linear(f"{layer}.intermediate.dense", WIDTH, FEED_FORWARD)
    shapes |= linear(f"{layer}.output.dense", FEED_FORWARD, WIDTH) | norm(f"{layer}.output.LayerNorm")
  return shapes


def language_head(stem):
  head = f"{stem}cls.predictions"
  shapes = {f"{head}.bias": (VOCABULARY,)} | linear(f"{head}.transform.dense", WIDTH, WIDTH)
  return shapes | norm(f"{head}.transform.LayerNorm") | linear(f"{head}.decoder", WIDTH, VOCABULARY)


def alpro(kind, frames=2, prompter=True, position_ids=True):
  """Names and shapes of one of the four files."""
  bare = "text_encoder." if kind == "qa" else "text_encoder.bert."
  shapes = {"temp": ()} | vit("visual_encoder.model.", frames) | bert(bare, position_ids)
  shapes |= (
    linear("vision_proj", WIDTH, EMBEDDING) | linear("text_proj", WIDTH, EMBEDDING) | linear("itm_head", WIDTH, 2)
  )
  if kind == "qa":
    return shapes | linear("classifier.0", WIDTH, 2 * WIDTH) | linear("classifier.2", 2 * WIDTH, ANSWERS)
  shapes |= language_head("text_encoder.")
  prompts = {f"{name}_prompt_feat": (ENTITIES, EMBEDDING) for name in ("video", "image")}
  if kind == "prompter":
    return shapes | prompts
  if kind == "pretraining":
    teacher = {f"prompter.{name}": shape for name, shape in (shapes | prompts).items()} if prompter else {}
    shapes = shapes | linear("mpm_head.0", WIDTH, 2 * WIDTH) | linear("mpm_head.2", 2 * WIDTH, ENTITIES) | teacher
  return shapes


def random_values(shapes, seed=0):
  """Weights that are nowhere zero; tied ones are tied."""
  rng = np.random.default_rng(seed)
  values = {}
  for name, shape in shapes.items():
    if name.endswith("position_ids"):
      values[name] = np.arange(shape[1])[None]
    elif name.endswith("temp"):
      values[name] = np.float32(0.3)
    else:
      centre = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
      values[name] = rng.normal(centre, 0.25, shape).astype(np.float32)
  for name in values:
    if name.endswith("decoder.weight"):
      stem = name.removesuffix("cls.predictions.decoder.weight")
      words = next(
        n for n in (f"{stem}bert.embeddings", f"{stem}embeddings") if f"{n}.word_embeddings.weight" in values
      )
      values[name] = values[f"{words}.word_embeddings.weight"]
  return values


class Tensor:
  """What is pickled as a tensor."""

  def __init__(self, value):
    self.value = np.asarray(value)


class _Storage:
  def __init__(self, key, data, kind):
    self.key, self.data, self.kind = key, data, kind


class _Pickler(pickle.Pickler):
  def __init__(self, file, torch, legacy):
    super().__init__(file, protocol=2)
    self.torch, self.legacy, self.storages = torch, legacy, []

  def reducer_override(self, thing):
    if not isinstance(thing, Tensor):
      return NotImplemented
    value = thing.value
    kinds = {"float32": "Float", "float64": "Double", "float16": "Half", "int64": "Long", "bool": "Bool"}
    if value.ndim == 2 and value.flags.c_contiguous:  # A view that is neither contiguous nor at the start.
      data, offset = np.concatenate([np.zeros(3, value.dtype), value.T.ravel()]), 3
      strides = (1, value.shape[0])
    else:
      data, offset = value.ravel(), 0
      strides = tuple(step // value.itemsize for step in np.ascontiguousarray(value).strides) if value.shape else ()
    self.storages.append(_Storage(str(len(self.storages)), data, kinds[value.dtype.name] + "Storage"))
    arguments = (self.storages[-1], offset, value.shape, strides, False, collections.OrderedDict())
    return self.torch._utils._rebuild_tensor_v2, arguments

  def persistent_id(self, thing):
    if isinstance(thing, _Storage):
      identity = ("storage", getattr(self.torch, thing.kind), thing.key, "cpu", len(thing.data))
      return (*identity, None) if self.legacy else identity
    return None


@contextlib.contextmanager
def _no_torch():
  """Modules with torch's names, only to be named in a pickle."""
  torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
  torch._utils = utils
  for kind in ("Float", "Double", "Half", "Long", "Bool"):
    setattr(torch, f"{kind}Storage", type(f"{kind}Storage", (), {"__module__": "torch"}))

  def _rebuild_tensor_v2(*_):
    pass

  _rebuild_tensor_v2.__module__ = _rebuild_tensor_v2.__qualname__ = "torch._utils"
  _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
  utils._rebuild_tensor_v2 = _rebuild_tensor_v2
  before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
  sys.modules.update({"torch": torch, "torch._utils": utils})
  try:
    yield torch
  finally:
    for name, module in before.items():
      sys.modules.pop(name) if module is None else sys.modules.__setitem__(name, module)


def write(path, tree, legacy=False):
  """A tree of dicts with arrays, as `torch.save` writes it; `legacy`: as before torch 1.6."""
  wrap = lambda x: Tensor(x) if isinstance(x, np.ndarray | np.generic) else x
  if isinstance(tree, dict):
    tree = {
      key: collections.OrderedDict((k, wrap(v)) for k, v in value.items()) if isinstance(value, dict) else wrap(value)
      for key, value in tree.items()
    }
    tree = collections.OrderedDict(tree)
    tree._metadata = collections.OrderedDict(version=1)  # As a module's state dict has it.
  buffer = io.BytesIO()
  with _no_torch() as torch:
    pickler = _Pickler(buffer, torch, legacy)
    pickler.dump(tree)
  if legacy:
    with open(path, "wb") as file:
      for header in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(header, file, protocol=2)
      file.write(buffer.getvalue())
      pickle.dump([storage.key for storage in pickler.storages], file, protocol=2)
      for storage in pickler.storages:
        file.write(len(storage.data).to_bytes(8, "little") + storage.data.tobytes())
  else:
    with zipfile.ZipFile(path, "w") as archive:
      archive.writestr("archive/data.pkl", buffer.getvalue())
      for storage in pickler.storages:
        archive.writestr(f"archive/data/{storage.key}", storage.data.tobytes())
  return str(path)


def write_vocabulary(path):
  path.write_text("\n".join(PIECES) + "\n")


def write_bert(folder, stem=""):
  """A BERT in a folder, as Hugging Face has it, and its values."""
  values = random_values(bert(stem, position_ids=False))
  more = {f"{stem}pooler.dense.weight": np.zeros([WIDTH, WIDTH], np.float32)}
  folder.mkdir(exist_ok=True)
  safetensors.numpy.save_file(values | more, folder / "model.safetensors")
  write_vocabulary(folder / "vocab.txt")
  return values
