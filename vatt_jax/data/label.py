"""Labels of a clip: names to numbers."""

import dataclasses

import numpy as np

SEPARATOR = "|"  # between the names of a clip that has several


@dataclasses.dataclass(frozen=True)
class LabelOptions:
  """What the model is to say.

  Attributes:
    classes: C; 0 in a config: as many as the data set has.
    multiple: whether a clip may have several labels.
    names: of the classes; empty when only shapes are wanted.
  """

  classes: int = 0
  multiple: bool = False
  names: tuple[str, ...] = ()

  def __post_init__(self):
    if self.names and self.classes not in (0, len(self.names)):
      raise ValueError(f"the data set has {len(self.names)} classes, the config {self.classes}")
    if self.names:
      object.__setattr__(self, "classes", len(self.names))


def encode_label(text: str, options: LabelOptions) -> np.ndarray:
  """A label, or several joined by `|` -> int32 (), -1 where there is none; float32 (C,) where there may be several."""
  numbers = [options.names.index(name) for name in text.split(SEPARATOR) if name in options.names]
  if not options.multiple:
    return np.int32(numbers[0] if numbers else -1)
  hot = np.zeros([options.classes], np.float32)
  hot[numbers] = 1.0
  return hot
