"""Sizes by name (VATT table 7; `xlarge` is in the official configs only; `demo` is for two CPU cores)."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Size:
  """Layers, width D, feed-forward F, heads A and the width of one head."""

  layers: int
  width: int
  feed_forward: int
  heads: int
  head_width: int = 64


SIZES = {
  "tiny": Size(1, 32, 64, 2, 16),
  "demo": Size(3, 128, 512, 4, 32),
  "small": Size(6, 512, 2048, 8),
  "base": Size(12, 768, 3072, 12),
  "medium": Size(12, 1024, 4096, 16),
  "large": Size(24, 1024, 4096, 16),
  "xlarge": Size(24, 1536, 4096, 24),
}


def size(name: str) -> Size:
  """The size called `name`, or spelled out as LAYERSxWIDTHxFEED_FORWARDxHEADS[xHEAD_WIDTH], such as "6x384x1536x6".

  Raises:
    ValueError: listing the names there are.
  """
  if name in SIZES:
    return SIZES[name]
  numbers = name.split("x")
  if len(numbers) in (4, 5) and all(number.isdigit() and int(number) > 0 for number in numbers):
    return Size(*map(int, numbers))
  raise ValueError(
    f"model size {name!r} is not one of {', '.join(SIZES)}, nor LAYERSxWIDTHxFEED_FORWARDxHEADS[xHEAD_WIDTH]"
  )


def name_of(wanted: Size) -> str:
  """The name of a size, or the size spelled out where it has none."""
  spelled = "x".join(str(value) for value in dataclasses.astuple(wanted))
  return next((name for name, known in SIZES.items() if known == wanted), spelled)
