"""BERT (Devlin et al., 2019) from a safetensors or torch file with Hugging Face's names: what ALPRO's text starts from.

With or without the masked-language head; the pooler and the sentence head are left behind. The vocabulary lies beside the
weights as `vocab.txt`, or is given with --vocabulary.
"""

import dataclasses
import re

from etils import epath

from vatt_jax.conversion import settings, tensors
from vatt_jax.conversion.variables import Conversion, Names, Options, Variables, head_count
from vatt_jax.data.text import WordPiece
from vatt_jax.errors import UserError
from vatt_jax.models.sizes import Size, name_of

DROPPED = re.compile(
  r".*(position_ids|cls\.predictions\.decoder\.(weight|bias)|(^|\.)pooler\..*|seq_relationship\..*)$"
)


def open_checkpoint(place: str) -> Variables:
  """Opens the file, or the directory it lies in; UserError when there is none or it cannot be read."""
  file = tensors.open_file(place, "BERT")
  early = {name: re.sub(r"gamma$", "weight", re.sub(r"beta$", "bias", name)) for name in file.shapes}
  names = {new: old for old, new in early.items()}  # Early files call a norm's weights gamma and beta.
  shapes = {early[name]: shape for name, shape in file.shapes.items()}
  file = dataclasses.replace(file, shapes=shapes, read=lambda name, read=file.read: read(names[name]))
  return file.variables(lambda name: bool(DROPPED.match(name)), tensors.arrange)


def convert(variables: Variables, options: Options) -> Conversion:
  """The text encoder alone: all its layers read text, and the output is that of the last one."""
  options.accept("BERT", "num_heads", "vocabulary", "text_length")
  prefix = "bert." if any(name.startswith("bert.") for name in variables.shapes) else ""
  size = text_size(variables, prefix, options)
  vocabulary_size, max_length = (
    variables.shape(f"{prefix}embeddings.{table}_embeddings.weight", 2)[0] for table in ("word", "position")
  )
  names = text_names("params/text", prefix, size, vocabulary_size, max_length)
  terms = {"vtc": 0.0, "vtm": 0.0, "mlm": 0.0, "pem": 0.0}
  if any(name.startswith("cls.predictions.") for name in variables.shapes):
    terms["mlm"], names = 1.0, names | language_head("params/mlm", "cls.predictions", size.width, vocabulary_size)
  place = options.vocabulary or str(epath.Path(variables.place).parent / "vocab.txt")
  words = read_vocabulary(place, vocabulary_size) if options.vocabulary or epath.Path(place).exists() else None
  model = settings.alpro_model(
      video_size="tiny", text_size=name_of(size), vocabulary_size=vocabulary_size, max_length=max_length,
      fusion_layers=0,
  )  # fmt: skip
  data = settings.data(
    text={"length": options.text_length or min(30, max_length), "candidates": 1, "lower_case": False}
  )
  config = settings.run(settings.alpro_objective(terms=terms), model, data)
  return Conversion("BERT", variables.collect(names), config, words)


def text_size(variables: Variables, prefix: str, options: Options) -> Size:
  """Dimensions of a BERT whose names begin with `prefix`."""
  _, width = variables.shape(f"{prefix}embeddings.word_embeddings.weight", 2)
  inner, _ = variables.shape(f"{prefix}encoder.layer.0.attention.self.query.weight", 2)
  feed_forward, _ = variables.shape(f"{prefix}encoder.layer.0.intermediate.dense.weight", 2)
  heads = head_count(variables.place, inner, options.num_heads)
  return Size(variables.count(f"{prefix}encoder.layer"), width, feed_forward, heads, inner // heads)


def text_names(ours: str, prefix: str, size: Size, vocabulary_size: int, max_length: int, layers: int = -1) -> Names:
  """The embeddings and the first `layers` layers, or all."""
  width, inner = size.width, size.heads * size.head_width
  lengths = {
    "words": ("word", vocabulary_size),
    "positions": ("position", max_length),
    "token_types": ("token_type", 2),
  }
  names = {
    f"{ours}/{table}/embedding": (f"{prefix}embeddings.{official}_embeddings.weight", (length, width))
    for table, (official, length) in lengths.items()
  }
  names |= tensors.norm(f"{ours}/input_norm", f"{prefix}embeddings.LayerNorm", width)
  for i in range(size.layers if layers < 0 else layers):
    mine, official = f"{ours}/layer_{i}", f"{prefix}encoder.layer.{i}"
    for part in tensors.THIRDS:
      names |= tensors.linear(f"{mine}/attention/{part}", f"{official}.attention.self.{part}", width, inner)
    names |= tensors.linear(f"{mine}/attention/out", f"{official}.attention.output.dense", inner, width)
    names |= tensors.norm(f"{mine}/attention_norm", f"{official}.attention.output.LayerNorm", width)
    names |= tensors.linear(f"{mine}/feed_forward_in", f"{official}.intermediate.dense", width, size.feed_forward)
    names |= tensors.linear(f"{mine}/feed_forward_out", f"{official}.output.dense", size.feed_forward, width)
    names |= tensors.norm(f"{mine}/feed_forward_norm", f"{official}.output.LayerNorm", width)
  return names


def language_head(ours: str, official: str, width: int, vocabulary_size: int) -> Names:
  """The masked-language head; its last layer is the table of word vectors."""
  return {
      **tensors.linear(f"{ours}/transform", f"{official}.transform.dense", width, width),
      **tensors.norm(f"{ours}/norm", f"{official}.transform.LayerNorm", width),
      f"{ours}/bias": (f"{official}.bias", (vocabulary_size,)),
  }  # fmt: skip


def read_vocabulary(place: str, vocabulary_size: int) -> WordPiece:
  """`vocab.txt`, checked against the word vectors: line n is piece n."""
  words = WordPiece(place)
  if words.vocabulary_size != vocabulary_size:
    raise UserError(f"{place} has {words.vocabulary_size:,} pieces, but there are {vocabulary_size:,} word vectors.")
  return words
