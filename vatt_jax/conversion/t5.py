"""The encoder of T5 (Raffel et al., 2020; version 1.0, small to 11b) from a safetensors file with Hugging Face's names.

Linear weights are (out, in) there and are transposed. The table of word vectors is trained, so it is a parameter here.
"""

import hashlib
import re

from etils import epath
import safetensors

from vatt_jax.conversion import settings
from vatt_jax.conversion.variables import Conversion, Names, Options, Variables
from vatt_jax.errors import UserError
from vatt_jax.models.sizes import Size, name_of

FILE = "model.safetensors"
WORDS, COPY = "shared.weight", "encoder.embed_tokens.weight"
DECODER = ("decoder.", "lm_head.")
LINEAR = re.compile(r".*\.(SelfAttention\.[qkvo]|DenseReluDense\.w[io])\.weight")


def open_checkpoint(place: str) -> Variables:
  """Opens a safetensors file, or the directory that `model.safetensors` lies in.

  Raises:
    UserError: when there is none or it cannot be read.
  """
  path = epath.Path(place)
  path = path / FILE if path.is_dir() else path
  if not path.exists():
    raise UserError(f"there is no {path}: expected a safetensors file with the weights of T5.")
  try:
    file = safetensors.safe_open(str(path), framework="numpy")
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
  except (safetensors.SafetensorError, OSError) as error:
    raise UserError(f"{path} is not a readable safetensors file: {error}.") from error
  left = lambda name: name.startswith(DECODER) or (name == COPY and WORDS in shapes)
  dropped = tuple(sorted(filter(left, shapes)))

  def read(name):
    value = file.get_tensor(name)
    return value.T if LINEAR.fullmatch(name) else value

  with path.open("rb") as content:
    digest = hashlib.file_digest(content, "sha256").hexdigest()
  return Variables(str(path), {n: s for n, s in shapes.items() if n not in dropped}, read, dropped, digest)


def convert(variables: Variables, options: Options) -> Conversion:
  """The text tower of a model without others; sentences are pooled by their mean."""
  options.accept("T5", "text_length")
  if gated := [name for name in variables.shapes if ".wi_0." in name]:
    raise UserError(f"{variables.place} is a T5 1.1, with gated layers ({gated[0]}); only version 1.0 is supported.")
  words = WORDS if WORDS in variables.shapes else COPY
  layer = "encoder.block.0.layer"
  table = f"{layer}.0.SelfAttention.relative_attention_bias.weight"
  vocabulary_size, width = variables.shape(words, 2)
  _, heads = variables.shape(table, 2)
  inner = variables.shape(f"{layer}.0.SelfAttention.q.weight", 2)[0]
  feed_forward = variables.shape(f"{layer}.1.DenseReluDense.wi.weight", 2)[0]
  size = Size(variables.count("encoder.block"), width, feed_forward, heads, inner // heads)
  names = {
      "params/text/words/embedding": (words, (vocabulary_size, width)),
      "params/text/encoder/relative_bias": (table, (32, heads)),
      "params/text/encoder/final_norm/scale": ("encoder.final_layer_norm.weight", (width,)),
  }  # fmt: skip
  for i in range(size.layers):
    names |= _layer(f"params/text/encoder/layer_{i}", f"encoder.block.{i}.layer", size)
  model = settings.vatt_model(
      text_size=name_of(size), vocabulary_size=vocabulary_size, word_width=width, trainable_words=True,
      word_projection=False, text_form="t5", text_aggregation="mean", head="none",
  )  # fmt: skip
  data = settings.data(text={"length": options.text_length or 16, "lower_case": False})
  config = settings.run(settings.vatt_objective(), model, data)
  return Conversion("the encoder of T5", variables.collect(names), config)


def _layer(ours: str, official: str, size: Size) -> Names:
  inner = size.heads * size.head_width
  attention, mlp = f"{official}.0.SelfAttention", f"{official}.1.DenseReluDense"
  into, out = (size.width, inner), (inner, size.width)
  parts = zip(("query", "key", "value", "out"), "qkvo", (into, into, into, out))
  return {
      **{f"{ours}/attention/{part}/kernel": (f"{attention}.{letter}.weight", shape) for part, letter, shape in parts},
      f"{ours}/attention_norm/scale": (f"{official}.0.layer_norm.weight", (size.width,)),
      f"{ours}/feed_forward_in/kernel": (f"{mlp}.wi.weight", (size.width, size.feed_forward)),
      f"{ours}/feed_forward_out/kernel": (f"{mlp}.wo.weight", (size.feed_forward, size.width)),
      f"{ours}/feed_forward_norm/scale": (f"{official}.1.layer_norm.weight", (size.width,)),
  }  # fmt: skip
