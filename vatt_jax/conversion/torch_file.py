"""Tensors out of files that torch saved, without torch and without running what a pickle asks for.

A file is a pickle of the object tree and the bytes of the storages beside it: a zip archive since torch 1.6, one stream
before. Only tensors, plain containers and plain values are built; anything else a pickle names becomes an empty
stand-in. Source: torch/serialization.py and torch/_utils.py.
"""

from collections.abc import Callable
import dataclasses
import pickle
import zipfile

from etils import epath
import ml_dtypes
import numpy as np

from vatt_jax.errors import UserError

STORAGES = {
  "DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16,
  "BFloat16Storage": ml_dtypes.bfloat16, "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16,
  "CharStorage": np.int8, "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}  # fmt: skip
MAGIC = 0x1950A86A20F9469CFC6C  # how a stream begins
WRAPPERS = ("model", "state_dict", "module")  # keys under which tools keep the state dict


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A view into a storage, read when asked for.

  Attributes:
    storage: its key and number of elements.
    dtype, offset, shape, strides: in elements.
  """

  storage: tuple[str, int]
  dtype: np.dtype
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def load(path: epath.Path) -> tuple[dict[str, Tensor], list[str], Callable[[str], np.ndarray]]:
  """The state dict of a file: its tensors, the names of what else it holds, and a function that reads a tensor.

  Raises:
    UserError: when torch did not write the file, it is damaged, or there is no state dict in it.
  """
  try:
    archive = zipfile.is_zipfile(str(path))
    tree, storage = (_read_archive if archive else _read_stream)(path)
  except (pickle.UnpicklingError, zipfile.BadZipFile, OSError, EOFError, KeyError, IndexError, ValueError) as error:
    raise UserError(f"{path} is not a readable file of torch: {error}.") from error
  except (TypeError, AttributeError, UnicodeDecodeError) as error:
    raise UserError(f"{path} holds a damaged pickle: {error}.") from error
  found, left = _state_dict(tree)
  if not found:
    raise UserError(f"{path} holds no state dict: no tensors by name.")

  def read(name: str) -> np.ndarray:
    tensor = found[name]
    key, size = tensor.storage
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides))
    if 0 in tensor.shape:
      return np.zeros(tensor.shape, tensor.dtype)
    data = storage(key, size * tensor.dtype.itemsize)
    if (
      tensor.offset < 0
      or min(tensor.strides, default=0) < 0
      or last >= size
      or len(data) < size * tensor.dtype.itemsize
    ):
      raise UserError(f"{name} in {path} reaches beyond its {size} stored values; the file is damaged.")
    values = np.frombuffer(data, tensor.dtype, size)
    steps = [step * tensor.dtype.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, steps, writeable=False)

  return found, left, read


def _state_dict(tree) -> tuple[dict[str, Tensor], list[str]]:
  """Tensors by name, and the names of everything else, through the wrappers of training tools."""
  left = []
  while isinstance(tree, dict) and (inner := next((k for k in WRAPPERS if isinstance(tree.get(k), dict)), None)):
    left += [str(key) for key in tree if key != inner]
    tree = tree[inner]
  if not isinstance(tree, dict):
    return {}, left
  found = {str(name): value for name, value in tree.items() if isinstance(value, Tensor)}
  left += [str(name) for name in tree if str(name) not in found]
  if all(name.startswith("module.") for name in found):  # Of a model that was trained in parallel.
    found = {name.removeprefix("module."): value for name, value in found.items()}
  return found, left


def _read_archive(path):
  archive = zipfile.ZipFile(str(path))
  pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
  if len(pickles) != 1:
    raise KeyError("data.pkl is missing")
  root = pickles[0].removesuffix("data.pkl")
  if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
    raise ValueError("it was written on a big-endian machine")
  with archive.open(pickles[0]) as file:
    tree = _Unpickler(file).load()
  return tree, lambda key, _: archive.read(f"{root}data/{key}")


def _read_stream(path):
  with path.open("rb") as file:
    if _Unpickler(file).load() != MAGIC:
      raise pickle.UnpicklingError("it does not begin as one")
    _Unpickler(file).load(), _Unpickler(file).load()  # protocol, machine
    unpickler = _Unpickler(file)
    tree = unpickler.load()
    places = {}
    for key in _Unpickler(file).load():
      size = int.from_bytes(file.read(8), "little") * unpickler.widths[key]
      places[key] = file.tell()
      file.seek(size, 1)

  def storage(key, size):
    with path.open("rb") as file:
      file.seek(places[key])
      return file.read(size)

  return tree, storage


class _Storage:
  """The class of a storage, as a pickle names it."""

  def __init__(self, dtype):
    self.dtype = np.dtype(dtype)


class _Dict(dict):
  """A dict that, like an OrderedDict, may have attributes (torch keeps versions of modules there)."""


class _StandIn:
  """Takes the place of whatever is not needed, and does nothing."""

  def __init__(self, *_, **__):
    pass

  def __setstate__(self, state):
    pass

  def __setitem__(self, key, value):
    pass

  def append(self, value):
    pass

  def extend(self, values):
    pass


class _Unpickler(pickle.Unpickler):
  """Builds tensors and containers, never anything that a file brings along."""

  def __init__(self, file):
    super().__init__(file, encoding="utf-8")
    self.widths = {}  # of the elements of each storage, in bytes

  def find_class(self, module, name):
    if module == "torch" and name in STORAGES:
      return _Storage(STORAGES[name])
    builders = {
      ("torch._utils", "_rebuild_tensor_v2"): _tensor, ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
      ("collections", "OrderedDict"): _Dict,
    }  # fmt: skip
    return builders.get((module, name), _StandIn)

  def persistent_load(self, identity):
    kind, storage, key, _, size = identity[:5]
    if kind != "storage" or not isinstance(storage, _Storage):
      raise pickle.UnpicklingError(f"storage of an unknown kind {kind!r}")
    self.widths[key] = storage.dtype.itemsize
    return storage.dtype, str(key), int(size)


def _tensor(storage, offset, shape, strides, *_) -> Tensor:
  dtype, key, size = storage
  return Tensor((key, size), dtype, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
