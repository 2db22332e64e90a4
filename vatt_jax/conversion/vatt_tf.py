"""VATT's published TensorFlow checkpoints: pretrained (modality-specific, modality-agnostic) and fine-tuned.

Source: google-research/vatt; the names are those of its object-based checkpoints. Kernels have our axis order already;
convolutions become the matrices they are, (t, h, w, channel) flattened in this order.
"""

import dataclasses
import hashlib
import math
import re

from etils import epath
import tensorflow as tf

from vatt_jax.conversion import settings
from vatt_jax.conversion.variables import Conversion, Names, Options, Variables, head_count, linear, norm, read_labels
from vatt_jax.data.text import Words
from vatt_jax.errors import UserError
from vatt_jax.models.sizes import Size, name_of

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
# What the optimizer and the saver keep.
DROPPED = re.compile(r".*/\.OPTIMIZER_SLOT/.*|optimizer/.*|save_counter|_CHECKPOINTABLE_OBJECT_GRAPH")

PRETRAINED = "model/layer_with_weights-0/_base_layer"
HEADS = "model/layer_with_weights-0/_head_layer/_bridge_heads/0"
UNIFIED = f"{PRETRAINED}/unified_backbone/unified_transformer"
FINETUNED = "model/layer_with_weights-0/_base"
CLASSIFIER = "model/layer_with_weights-0/_ops/cls"

PROJECTIONS = {"video": "voxel_to_patch", "audio": "wave_to_patch"}
SHORT = {"video": "vid", "audio": "aud", "text": "txt"}
AXES = ("temporal", "vertical", "horizontal")


def open_checkpoint(place: str) -> Variables:
  """Opens `ckpt-N`, one of its files, or the directory it lies in.

  Raises:
    UserError: when there is no checkpoint or it cannot be read.
  """
  path = _locate(place)

  def guarded(function, *arguments):
    try:
      return function(*arguments)
    except Exception as error:  # What a damaged file raises depends on where the damage is.
      reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
      raise UserError(f"{path} is not a readable TensorFlow checkpoint: {reason}") from error

  reader = guarded(tf.train.load_checkpoint, path)
  shapes = {name.removesuffix(VALUE): tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
  dropped = tuple(sorted(name for name in shapes if DROPPED.fullmatch(name)))

  def read(name):
    value = guarded(reader.get_tensor, name + VALUE)
    return value.reshape(-1, value.shape[-1]) if value.ndim > 2 else value

  # The index holds a checksum of every tensor.
  digest = hashlib.sha256(epath.Path(f"{path}.index").read_bytes()).hexdigest()
  return Variables(path, {n: s for n, s in shapes.items() if n not in dropped}, read, dropped, digest)


def _locate(place: str) -> str:
  path = epath.Path(re.sub(r"\.(index|data-\d+-of-\d+)$", "", place))
  if path.is_dir():
    found = sorted(file.name.removesuffix(".index") for file in path.glob("*.index"))
    # The file `checkpoint` names the newest, by the path that it was written to.
    state = tf.train.get_checkpoint_state(str(path)) if (path / "checkpoint").exists() else None
    if state and (newest := epath.Path(state.model_checkpoint_path).name) in found:
      found = [newest]
    if len(found) != 1:
      which = f"holds several checkpoints ({', '.join(found)}); name one" if found else "holds no TensorFlow checkpoint"
      raise UserError(f"--checkpoint={place} {which}.")
    path = path / found[0]
  for files in (f"{path.name}.index", f"{path.name}.data-*-of-*"):
    if not path.parent.exists() or not list(path.parent.glob(files)):
      raise UserError(f"there is no TensorFlow checkpoint at {path}: {files} is missing beside it.")
  return str(path)


def convert(variables: Variables, options: Options) -> Conversion:
  """Recognises the kind by its names."""
  have = lambda prefix: any(name.startswith(f"{prefix}/") for name in variables.shapes)
  if have(UNIFIED):
    return _modality_agnostic(variables, options)
  if have(f"{PRETRAINED}/vid_backbone"):
    return _modality_specific(variables, options)
  for modality, projection in PROJECTIONS.items():
    if have(f"{FINETUNED}/{projection}"):
      return _classifier(variables, options, modality)
  known = ", ".join((f"{PRETRAINED}/vid_backbone", UNIFIED, *(f"{FINETUNED}/{p}" for p in PROJECTIONS.values())))
  raise UserError(f"{variables.place} is no checkpoint of VATT: no name begins with one of {known}.")


def _modality_specific(variables, options):
  options.accept("a pretrained checkpoint", "num_heads", "vocabulary", "frames_per_second", "sample_rate_hz",
                 "text_length")  # fmt: skip
  names, sizes, found = {}, {}, {}
  for modality in PROJECTIONS:
    base = f"{PRETRAINED}/{SHORT[modality]}_backbone/_base"
    sizes[modality] = _encoder_size(variables, f"{base}/tx", options.num_heads)
    tower, found[modality] = _patch_tower(variables, modality, _own_places(base, modality), sizes[modality].width)
    names |= tower | _encoder(f"params/{modality}/encoder", f"{base}/tx", sizes[modality])
  text, sizes["text"], words = _text_tower(variables)
  fac, spaces = _heads(variables, {modality: size.width for modality, size in sizes.items()})
  model = settings.vatt_model(
      **{f"{modality}_size": name_of(size) for modality, size in sizes.items()}, vocabulary_size=words[0],
      word_width=words[1], **spaces,
  )  # fmt: skip
  found["text"] = {"length": options.text_length or 16}
  return _pretrained("VATT, modality-specific", variables, options, names | text | fac, model, found, words[0])


def _modality_agnostic(variables, options):
  options.accept("a checkpoint with a table of text positions", "num_heads", "vocabulary", "frames_per_second",
                 "sample_rate_hz")  # fmt: skip
  size = _encoder_size(variables, f"{UNIFIED}/tx", options.num_heads)
  post_width = variables.shape(f"{UNIFIED}/post_proj/video/kernel", 2)[1]
  names, found = _encoder("params/encoder", f"{UNIFIED}/tx", size), {}
  for modality in PROJECTIONS:
    tower, found[modality] = _patch_tower(variables, modality, _shared_places(modality), size.width, post_width)
    names |= tower
  places = _shared_places("text")
  words = variables.shape(f"{places.projection}/embeddings", 2)
  table, length = _positions(variables, "text", places, ("temporal",), size.width)
  names |= {"frozen/text/words/embedding": (f"{places.projection}/embeddings", words)}
  names |= table | _around("text", places, words[1], size.width, post_width)
  fac, spaces = _heads(variables, dict.fromkeys(SHORT, post_width))
  model = settings.vatt_model(
      **dict.fromkeys(("video_size", "audio_size", "text_size"), name_of(size)), agnostic=True,
      vocabulary_size=words[0], word_width=words[1], post_width=post_width, **spaces,
  )  # fmt: skip
  found["text"] = {"length": length[0]}
  return _pretrained("VATT, modality-agnostic", variables, options, names | fac, model, found, words[0])


def _pretrained(kind, variables, options, names, model, found, vocabulary_size):
  found["video"]["frames_per_second"] = options.frames_per_second or 10.0
  found["audio"]["sample_rate_hz"] = options.sample_rate_hz or 48_000
  config = settings.run(settings.vatt_objective(), model, settings.data(**found))
  words = _read_words(options.vocabulary, vocabulary_size) if options.vocabulary else None
  return Conversion(kind, variables.collect(names), config, words)


def _classifier(variables, options, modality):
  rate = {"video": "frames_per_second", "audio": "sample_rate_hz"}[modality]
  options.accept(f"a classifier of {modality}", "num_heads", "labels", rate)
  size = _encoder_size(variables, f"{FINETUNED}/tx", options.num_heads)
  agnostic = f"{FINETUNED}/post_proj/kernel" in variables.shapes
  post_width = variables.shape(f"{FINETUNED}/post_proj/kernel", 2)[1] if agnostic else 0
  names, found = _patch_tower(variables, modality, _own_places(FINETUNED, modality), size.width, post_width)
  classes = variables.shape(f"{CLASSIFIER}/kernel", 2)[1]
  names |= _encoder(f"params/{modality}/encoder", f"{FINETUNED}/tx", size)
  names |= linear("params/classifier", CLASSIFIER, post_width or size.width, classes)
  # Fine-tuning dropped no patches and added no noise, looked at 12.5 frames per second and listened at 24 kHz.
  found |= {"video": {rate: 12.5}, "audio": {rate: 24_000, "stride": 2, "noise": 0.0}}[modality] | {"drop_rate": 0.0}
  found[rate] = getattr(options, rate) or found[rate]
  model = settings.classifier_model(modality, name_of(size), post_width)
  data = settings.data(**{modality: found, "label": {"classes": classes, "multiple": modality == "audio"}})
  config = settings.run(settings.classifier_objective(modality), model, data)
  labels = read_labels(options.labels, classes) if options.labels else b""
  return Conversion(f"VATT, classifier of {modality}", variables.collect(names), config, labels=labels)


@dataclasses.dataclass(frozen=True)
class _Places:
  """Official names of a tower's parts; `pre` and `post` exist where an encoder was shared."""

  projection: str
  positions: str
  aggregation: str
  pre: str
  post: str


def _own_places(base: str, modality: str) -> _Places:
  parts = (PROJECTIONS[modality], "pos_embedding_lookup", "agg_embedding", "pre_proj", "post_proj")
  return _Places(*(f"{base}/{part}" for part in parts))


def _shared_places(modality: str) -> _Places:
  parts = (f"raw_to_embeddings/{modality}", f"pos_embedding_lookup/{modality}", f"{SHORT[modality]}_agg_embedding",
           f"pre_proj/{modality}", f"post_proj/{modality}")  # fmt: skip
  return _Places(*(f"{UNIFIED}/{part}" for part in parts))


def _patch_tower(variables, modality, places, width, post_width=0) -> tuple[Names, dict]:
  """Names of a video or audio tower without its encoder, and what they tell about the input."""
  video = modality == "video"
  patch = variables.shape(f"{places.projection}/kernel", 5 if video else 3)[:-2]
  values = math.prod(patch) * (3 if video else 1)
  names, grid = _positions(variables, modality, places, AXES if video else AXES[:1], width)
  names |= linear(f"params/{modality}/patch_projection", places.projection, values, width)
  names |= _around(modality, places, width, width, post_width)
  if not video:
    return names, {"samples": grid[0] * patch[0], "patch": patch[0]}
  height, breadth = grid[1] * patch[1], grid[2] * patch[2]
  width = 0 if height == breadth else breadth
  return names, {"frames": grid[0] * patch[0], "size": height, "width": width, "patch": list(patch)}


def _positions(variables, modality, places, axes, width) -> tuple[Names, list[int]]:
  """Names of the tables of positions, and how long each is."""
  names, lengths = norm(f"params/{modality}/positions/norm", f"{places.positions}/layernorm", width), []
  for number, axis in enumerate(axes):
    table = f"{places.positions}/{axis}_position_embeddings/embeddings"
    lengths.append(variables.shape(table, 2)[0])
    names[f"params/{modality}/positions/axis_{number}"] = (table, (lengths[-1], width))
  return names, lengths


def _around(modality, places, inputs, width, post_width) -> Names:
  """The aggregation token, and the projections around an encoder that was shared."""
  names = {f"params/{modality}/aggregation": (places.aggregation, (width,))}
  if post_width:
    names |= linear(f"params/{modality}/pre_projection", places.pre, inputs, width)
    names |= linear(f"params/{modality}/post_projection", places.post, width, post_width)
  return names


def _encoder_size(variables, base: str, num_heads: int | None) -> Size:
  width, inner = variables.shape(f"{base}/layers/0/mha/q/kernel", 2)
  feed_forward = variables.shape(f"{base}/layers/0/feed_forward/mlp/wi/kernel", 2)[1]
  heads = head_count(base, inner, num_heads)
  return Size(variables.count(f"{base}/layers"), width, feed_forward, heads, inner // heads)


def _encoder(ours: str, official: str, size: Size) -> Names:
  inner = size.heads * size.head_width
  names = norm(f"{ours}/final_norm", f"{official}/final_layer_norm", size.width)
  for i in range(size.layers):
    here, there = f"{ours}/layer_{i}", f"{official}/layers/{i}"
    names |= norm(f"{here}/attention_norm", f"{there}/layer_norm", size.width)
    for part in ("query", "key", "value"):
      names |= linear(f"{here}/attention/{part}", f"{there}/mha/{part[0]}", size.width, inner)
    names |= linear(f"{here}/attention/out", f"{there}/mha/o", inner, size.width)
    names |= norm(f"{here}/feed_forward_norm", f"{there}/feed_forward/layer_norm", size.width)
    names |= linear(f"{here}/feed_forward_in", f"{there}/feed_forward/mlp/wi", size.width, size.feed_forward)
    names |= linear(f"{here}/feed_forward_out", f"{there}/feed_forward/mlp/wo", size.feed_forward, size.width)
  return names


def _text_tower(variables) -> tuple[Names, Size, tuple[int, ...]]:
  """Names and size of the modality-specific text tower, and (V, width) of its word vectors."""
  ours, base = "params/text", f"{PRETRAINED}/txt_backbone"
  encoder = f"{base}/base_lm"
  table = f"{encoder}/layers/0/self_attention/attention/relative_attention_bias/embeddings"
  words = variables.shape(f"{base}/embedding/embeddings", 2)
  _, heads = variables.shape(table, 2)
  width, inner = variables.shape(f"{encoder}/layers/0/self_attention/attention/q/kernel", 2)
  feed_forward = variables.shape(f"{encoder}/layers/0/feed_forward/mlp/wi/kernel", 2)[1]
  size = Size(variables.count(f"{encoder}/layers"), width, feed_forward, heads, inner // heads)
  inner = size.heads * size.head_width
  names = {
      "frozen/text/words/embedding": (f"{base}/embedding/embeddings", words),
      f"{ours}/aggregation": (f"{base}/agg_embedding", words[1:]),
      f"{ours}/encoder/relative_bias": (table, (32, heads)),
      f"{ours}/encoder/final_norm/scale": (f"{encoder}/final_layer_norm/weight", (width,)),
      **linear(f"{ours}/pre_projection", f"{base}/pre_proj", words[1], width, bias=False),
  }  # fmt: skip
  for i in range(size.layers):
    here, there = f"{ours}/encoder/layer_{i}", f"{encoder}/layers/{i}"
    attention = f"{there}/self_attention/attention"
    names[f"{here}/attention_norm/scale"] = (f"{there}/self_attention/layer_norm/weight", (width,))
    for part in ("query", "key", "value"):
      names |= linear(f"{here}/attention/{part}", f"{attention}/{part[0]}", width, inner, bias=False)
    names |= linear(f"{here}/attention/out", f"{attention}/o", inner, width, bias=False)
    names |= norm(f"{here}/feed_forward_norm", f"{there}/feed_forward/layer_norm", width)
    names |= linear(f"{here}/feed_forward_in", f"{there}/feed_forward/mlp/wi", width, feed_forward, bias=False)
    names |= linear(f"{here}/feed_forward_out", f"{there}/feed_forward/mlp/wo", feed_forward, width, bias=False)
  return names, size, words


def _heads(variables, widths: dict[str, int]) -> tuple[Names, dict]:
  """Names of the common-space heads over towers of these widths, and the widths of the spaces."""
  va, vt = variables.shape(f"{HEADS}/va_to_vat/dense/kernel", 2)
  names = {
      **linear("params/heads/video_hidden", f"{HEADS}/vid_to_hid", widths["video"], va, bias=False),
      **_batch_norm("video_hidden_norm", f"{HEADS}/hid_to_va/pre_bn", va),
      **linear("params/heads/video_to_va", f"{HEADS}/hid_to_va/dense", va, va, bias=False),
      **_batch_norm("video_to_va_norm", f"{HEADS}/hid_to_va/bn", va),
      **linear("params/heads/va_to_vt_projection", f"{HEADS}/va_to_vat/dense", va, vt, bias=False),
      **_batch_norm("va_to_vt_norm", f"{HEADS}/va_to_vat/bn", vt),
      **linear("params/heads/audio_to_va", f"{HEADS}/aud_to_va", widths["audio"], va),
      **linear("params/heads/text_to_vt", f"{HEADS}/txt_to_vat", widths["text"], vt),
  }  # fmt: skip
  return names, {"va_width": va, "vt_width": vt}


def _batch_norm(ours: str, official: str, width: int) -> Names:
  return {
      **norm(f"params/heads/{ours}", official, width),
      f"batch_stats/heads/{ours}/mean": (f"{official}/moving_mean", (width,)),
      f"batch_stats/heads/{ours}/var": (f"{official}/moving_variance", (width,)),
  }  # fmt: skip


def _read_words(place: str, vocabulary_size: int) -> Words:
  """The vocabulary, checked against the word vectors: line n is word n."""
  words = Words(place)
  if words.vocabulary_size != vocabulary_size:
    raise UserError(
      f"--vocabulary={place} has {words.vocabulary_size:,} words, but there are {vocabulary_size:,} word vectors."
    )
  return words
