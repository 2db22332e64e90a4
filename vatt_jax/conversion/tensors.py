"""A file of named tensors, written by safetensors or by torch."""

from collections.abc import Callable
import dataclasses
import hashlib
import re

from etils import epath
import numpy as np
import safetensors

from vatt_jax.conversion import torch_file
from vatt_jax.conversion.variables import Names, Variables
from vatt_jax.errors import UserError
from vatt_jax.models.sizes import Size

FILES = ("model.safetensors", "pytorch_model.bin")  # what a directory of Hugging Face holds
THIRDS = ("query", "key", "value")


@dataclasses.dataclass(frozen=True)
class TensorFile:
  """Attributes: path; shapes: name -> shape; others: names of what is no tensor; read: name -> array; digest."""

  path: epath.Path
  shapes: dict[str, tuple[int, ...]]
  others: list[str]
  read: Callable[[str], np.ndarray]
  digest: str

  def variables(self, dropped: Callable[[str], bool], arrange: Callable[[str, np.ndarray], np.ndarray]) -> Variables:
    """What belongs to a model, in our order of axes.

    Fused attention weights `*.qkv.*` become three, named `*.qkv.*[query]` and so on.

    Args:
      dropped: whether a name is left behind.
      arrange: (name, array) -> the array as we have it.
    """
    left = [name for name in self.shapes if dropped(name)]
    shapes = {}
    for name in self.shapes.keys() - set(left):
      shape = self.shapes[name]
      if ".qkv." in name and shape and shape[0] % 3 == 0:
        shapes |= {f"{name}[{third}]": (shape[0] // 3, *shape[1:]) for third in THIRDS}
      else:
        shapes[name] = shape

    def read(name):
      official, _, third = name.removesuffix("]").partition("[")
      value = self.read(official)
      return arrange(official, np.split(value, 3)[THIRDS.index(third)] if third else value)

    return Variables(str(self.path), shapes, read, tuple(sorted([*left, *self.others])), self.digest)


def open_file(place: str, what: str) -> TensorFile:
  """Opens a .safetensors or torch file, or the directory that `model.safetensors` or `pytorch_model.bin` lies in.

  Args:
    what: the weights that are expected, for errors.

  Raises:
    UserError: when there is none or it cannot be read.
  """
  path = epath.Path(place)
  if path.is_dir():
    path = next((path / name for name in FILES if (path / name).exists()), path / FILES[0])
  if not path.exists():
    raise UserError(f"there is no {path}: expected a file with the weights of {what}.")
  with path.open("rb") as content:
    digest = hashlib.file_digest(content, "sha256").hexdigest()
  if path.suffix != ".safetensors":
    found, others, read = torch_file.load(path)
    return TensorFile(path, {name: tensor.shape for name, tensor in found.items()}, others, read, digest)
  try:
    file = safetensors.safe_open(str(path), framework="numpy")
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
  except (safetensors.SafetensorError, OSError) as error:
    raise UserError(f"{path} is not a readable safetensors file: {error}.") from error
  return TensorFile(path, shapes, [], file.get_tensor, digest)


def linear(ours: str, official: str, inputs: int, outputs: int) -> Names:
  """A linear layer."""
  return {f"{ours}/kernel": (f"{official}.weight", (inputs, outputs)), f"{ours}/bias": (f"{official}.bias", (outputs,))}


def norm(ours: str, official: str, width: int) -> Names:
  """A LayerNorm."""
  return {f"{ours}/scale": (f"{official}.weight", (width,)), f"{ours}/bias": (f"{official}.bias", (width,))}


def fused_attention(ours: str, official: str, size: Size) -> Names:
  """An attention with one projection for queries, keys and values."""
  inner, names = size.heads * size.head_width, {}
  for third in THIRDS:
    names[f"{ours}/{third}/kernel"] = (f"{official}.qkv.weight[{third}]", (size.width, inner))
    names[f"{ours}/{third}/bias"] = (f"{official}.qkv.bias[{third}]", (inner,))
  return names | linear(f"{ours}/out", f"{official}.proj", inner, size.width)


def arrange(name: str, value: np.ndarray) -> np.ndarray:
  """torch's axes as ours: linear weights are (out, in) there, convolutions (out, in, h, w); leading ones go."""
  if re.search(r"(cls_token|pos_embed|time_embed|position_embeddings)$", name):
    return value.reshape(-1, value.shape[-1])[0] if name.endswith("cls_token") else value.reshape(-1, value.shape[-1])
  if not name.endswith(".weight") or re.search(r"embeddings?\.weight$", name):
    return value
  if value.ndim == 4:
    return value.transpose(2, 3, 1, 0).reshape(-1, value.shape[0])
  return value.T if value.ndim == 2 else value
