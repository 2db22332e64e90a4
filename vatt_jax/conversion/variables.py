"""What all formats share: the named arrays of a file, the table that names them ours, and what comes out."""

from collections.abc import Callable
import dataclasses
import re

from etils import epath
from flax import traverse_util
import numpy as np

from vatt_jax.data.text import Tokenizer
from vatt_jax.errors import UserError

# Our path, collection first -> (official name, our shape).
Names = dict[str, tuple[str, tuple[int, ...]]]

SHOWN = 20  # names in an error


@dataclasses.dataclass(frozen=True)
class Options:
  """What a file cannot tell; None: as its kind was published.

  Attributes:
    num_heads: of encoders whose heads are not 64 wide.
    vocabulary: file with the words of the word vectors, one a line.
    labels: file with the names of a classifier's classes, one a line.
    frames_per_second, sample_rate_hz: of the input.
    text_length: L, where the text tower has no table of positions that tells.
    frames: T, to which ALPRO's time embeddings are stretched.
    fusion_layers: how many of ALPRO's text layers fuse; default: half of them.
  """

  num_heads: int | None = None
  vocabulary: str | None = None
  labels: str | None = None
  frames_per_second: float | None = None
  sample_rate_hz: int | None = None
  text_length: int | None = None
  frames: int | None = None
  fusion_layers: int | None = None

  def accept(self, kind: str, *names: str) -> None:
    """UserError for an option that is set and not among `names`."""
    for field in dataclasses.fields(self):
      if getattr(self, field.name) is not None and field.name not in names:
        raise UserError(f"--{field.name} says nothing about {kind}; leave it out.")


@dataclasses.dataclass(frozen=True)
class Variables:
  """The named arrays of a checkpoint.

  Attributes:
    place: of the file.
    shapes: name -> shape, of everything that belongs to a model.
    read: name -> array, its axes in our order.
    dropped: names of the rest.
    digest: tells contents apart.
  """

  place: str
  shapes: dict[str, tuple[int, ...]]
  read: Callable[[str], np.ndarray]
  dropped: tuple[str, ...]
  digest: str

  def shape(self, name: str, axes: int) -> tuple[int, ...]:
    """The shape of one variable; UserError where it is missing or has another number of axes."""
    if name not in self.shapes:
      raise UserError(f"{self.place} lacks {name}.")
    if len(self.shapes[name]) != axes:
      raise UserError(f"{name} in {self.place} has the shape {self.shapes[name]}; {axes} axes were expected.")
    return self.shapes[name]

  def count(self, prefix: str) -> int:
    """How many numbered children `prefix` has: one more than the largest number."""
    numbers = [int(found[1]) for name in self.shapes if (found := re.match(rf"{re.escape(prefix)}[/.](\d+)[/.]", name))]
    return max(numbers, default=-1) + 1

  def collect(self, names: Names) -> dict:
    """The tree of our variables.

    Raises:
      UserError: naming what is missing, unknown or of a shape that does not fit.
    """
    wanted = {official for official, _ in names.values()}
    wrong = [f"missing {name}" for name in sorted(wanted - self.shapes.keys())]
    wrong += [f"unknown {name} {self.shapes[name]}" for name in sorted(self.shapes.keys() - wanted)]
    self._stop(wrong)
    flat = {}
    for ours, (official, shape) in names.items():
      flat[tuple(ours.split("/"))] = value = np.asarray(self.read(official), np.float32)
      if value.shape != shape:
        wrong.append(f"{official} {self.shapes[official]} does not make {ours} {shape}")
    self._stop(wrong)
    return traverse_util.unflatten_dict(flat)

  def _stop(self, wrong: list[str]) -> None:
    if wrong:
      more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
      raise UserError(f"{self.place} cannot be converted:\n  " + "\n  ".join([*wrong[:SHOWN], *more]))


@dataclasses.dataclass(frozen=True)
class Conversion:
  """An official checkpoint as ours.

  Attributes:
    kind: what it was, in words.
    variables: {"params": ..., ...} of host arrays.
    config: of a run with this model, as JSON can hold it.
    tokenizer: of the vocabulary that was given.
    labels: the list of class names that was given.
    dropped: names of what this kind leaves behind, beside `Variables.dropped`.
  """

  kind: str
  variables: dict
  config: dict
  tokenizer: Tokenizer | None = None
  labels: bytes = b""
  dropped: tuple[str, ...] = ()


def linear(ours: str, official: str, inputs: int, outputs: int, bias: bool = True) -> Names:
  """A linear layer."""
  names = {f"{ours}/kernel": (f"{official}/kernel", (inputs, outputs))}
  return {**names, f"{ours}/bias": (f"{official}/bias", (outputs,))} if bias else names


def norm(ours: str, official: str, width: int) -> Names:
  """A normalisation with scale and offset."""
  return {f"{ours}/scale": (f"{official}/gamma", (width,)), f"{ours}/bias": (f"{official}/beta", (width,))}


def head_count(place: str, width: int, num_heads: int | None) -> int:
  """Heads of an attention whose projections have this width: `num_heads`, or heads 64 wide."""
  heads = num_heads or width // 64
  if not heads or width % heads or (not num_heads and width % 64):
    known = f"{num_heads} heads" if num_heads else "heads 64 wide"
    raise UserError(f"the attention of {place} is {width} wide, which {known} do not divide; give --num_heads.")
  return heads


def read_labels(place: str, classes: int) -> bytes:
  """The names of the classes, checked against the last layer: line n is output n."""
  path = epath.Path(place)
  if not path.is_file():
    raise UserError(f"there is no list of labels at {place}.")
  names = path.read_text().splitlines()
  if len(names) != classes:
    raise UserError(f"--labels={place} has {len(names):,} names, but the classifier has {classes:,} outputs.")
  return "".join(f"{name}\n" for name in names).encode()
