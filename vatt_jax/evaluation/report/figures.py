"""Charts as inline SVG: crisp, themeable by the page's style, and with values on hover (`title`)."""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from vatt_jax.evaluation.report.markup import Markup, tag
from vatt_jax.evaluation.report.page import colour, legend, number

# Markers around the origin, of about the same area.
_MARKS = {
  "video": "M-3.4 -3.4h6.8v6.8h-6.8z",
  "audio": "M0 -4.9L4.4 3.1H-4.4z",
  "text": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
}


@dataclasses.dataclass(frozen=True)
class Curve:
  """A line through points (x[i], y[i]), x ascending; a dashed one is a level to compare with and has no dots."""

  name: str
  x: np.ndarray
  y: np.ndarray
  colour: str
  dashed: bool = False


@dataclasses.dataclass(frozen=True)
class Mark:
  """A point of an embedding map; `clip` joins the marks of one clip, `title` appears on hover."""

  clip: int
  x: float
  y: float
  modality: str
  colour: str
  title: str


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
  """Round numbers (1, 2, 2.5 or 5 times a power of ten apart) that cover [low, high] from the inside."""
  span = high - low
  if not (math.isfinite(span) and span > 0):
    return [low]
  power = 10 ** math.floor(math.log10(span / about))
  step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if span / (factor * power) <= about)
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [round(i * step, 12) for i in range(first, last + 1)]


def line_chart(curves: Sequence[Curve], *, x_name: str, as_percent: bool = False, points: int = 200) -> Markup:
  """Curves over a common x axis, y from 0 or including it, with a legend that ends in each curve's last value.

  Args:
    curves: at least one; curves longer than `points` show means of neighbouring values.
    x_name: under the x axis.
    as_percent: y is a fraction and is written as per cent.
    points: at most this many per curve.

  Returns:
    A `figure`.
  """
  curves = [curve if curve.dashed else _thin(curve, points) for curve in curves]
  xs, ys = (np.concatenate([getattr(curve, axis) for curve in curves]) for axis in "xy")
  write = (lambda value: f"{100 * value:.3g} %") if as_percent else number
  low, high = min(0, ys.min()), max(0, ys.max())
  frame = _Frame(760, 300, (xs.min(), xs.max()), (low, high + 0.05 * (high - low) if high > low else 1))
  drawn = [frame.grid(write), tag("text", x_name, x=frame.right, y=frame.height - 4, text_anchor="end")]
  for curve in curves:
    path = "M" + "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in zip(curve.x, curve.y))
    drawn.append(tag("path", d=path, class_="reference" if curve.dashed else "curve", style=f"--c:{curve.colour}"))
  for curve in curves:  # Dots last: they must be reachable where curves cross.
    kind = "dot" if len(curve.x) <= 30 else "dot quiet"
    drawn.append(
      [
        tag(
          "circle",
          tag("title", f"{curve.name}: {write(y)} at {x_name} {number(x)}"),
          cx=f"{frame.x(x):.1f}",
          cy=f"{frame.y(y):.1f}",
          r=3.5,
          class_=kind,
          style=f"--c:{curve.colour}",
        )
        for x, y in zip(curve.x, curve.y)
        if not curve.dashed
      ]
    )
  entries = [(_line_swatch(curve), f"{curve.name} {write(curve.y[-1])}") for curve in curves]
  return tag("figure", frame.svg(drawn), legend(entries))


def histogram(positives: np.ndarray, negatives: np.ndarray, caption: Markup) -> Markup:
  """Two overlaid distributions of cosines, each scaled to the same area, over 40 common bins."""
  values = np.concatenate([positives, negatives])
  middle, reach = (values.min() + values.max()) / 2, max(values.max() - values.min(), 0.02) / 2
  edges = np.linspace(middle - reach, middle + reach, 41)
  shares = [np.histogram(part, edges)[0] / max(len(part), 1) for part in (negatives, positives)]
  frame = _Frame(310, 190, (edges[0], edges[-1]), (0, 1.05 * max(share.max() for share in shares)), left=8)
  drawn = [frame.x_axis(number), tag("text", "cosine", x=frame.right, y=frame.height - 4, text_anchor="end")]
  for share, name, shade in zip(shares, ("other pairs", "right pairs"), (colour(None), colour(0))):
    steps = "".join(f"V{frame.y(height):.1f}H{frame.x(edge):.1f}" for height, edge in zip(share, edges[1:]))
    path = f"M{frame.x(edges[0]):.1f} {frame.y(0):.1f}{steps}V{frame.y(0):.1f}z"
    drawn.append(tag("path", tag("title", name), d=path, class_="area", style=f"--c:{shade}"))
  return tag("figure", tag("figcaption", caption), frame.svg(drawn, kind="small"))


def embedding_map(marks: Sequence[Mark], caption: Markup) -> Markup:
  """Marks on a square without axes; hovering over one shows the lines to the other marks of its clip."""
  size, margin = 460, 12
  places = np.array([(mark.x, mark.y) for mark in marks], float)
  low, high = places.min(axis=0), places.max(axis=0)
  scale = (size - 2 * margin) / max((high - low).max(), 1e-12)
  places = size / 2 + scale * (places - (low + high) / 2)
  clips: dict[int, list[int]] = {}
  for i, mark in enumerate(marks):
    clips.setdefault(mark.clip, []).append(i)
  drawn = [
    tag("g", _links(places[members]), [_mark(marks[i], places[i]) for i in members], class_="clip")
    for members in clips.values()
  ]
  svg = tag("svg", drawn, viewBox=f"0 0 {size} {size}", class_="map", role="img", aria_label="map of embeddings")
  return tag("figure", tag("figcaption", caption), svg)


def colour_swatch(shade: str) -> Markup:
  """A patch of colour for a legend."""
  return _swatch(tag("rect", x=1, y=1, width=14, height=14, rx=3, fill=shade))


def mark_swatch(modality: str) -> Markup:
  """A modality's marker for a legend."""
  return _swatch(tag("path", d=_MARKS[modality], transform="translate(8 8) scale(1.4)", fill="currentColor"))


@dataclasses.dataclass(frozen=True)
class _Frame:
  """Data coordinates to those of the drawing, and the axes."""

  width: float
  height: float
  x_range: tuple[float, float]
  y_range: tuple[float, float]
  left: float = 52
  top: float = 10
  below: float = 40

  @property
  def right(self) -> float:
    return self.width - 24

  def x(self, value: float) -> float:
    low, high = self.x_range
    return self.left + (self.right - self.left) * ((value - low) / (high - low) if high > low else 0.5)

  def y(self, value: float) -> float:
    low, high = self.y_range
    return self.height - self.below - (self.height - self.below - self.top) * (value - low) / (high - low)

  def x_axis(self, write) -> list[Markup]:
    bottom = self.height - self.below
    labels = [
      tag("text", write(tick), x=f"{self.x(tick):.1f}", y=bottom + 17, text_anchor="middle")
      for tick in nice_ticks(*self.x_range, about=5 if self.width < 400 else 8)
    ]
    return [tag("path", d=f"M{self.left} {bottom}H{self.right}", class_="grid"), *labels]

  def grid(self, write) -> list[Markup]:
    ticks = nice_ticks(*self.y_range)
    lines = [tag("path", d=f"M{self.left} {self.y(t):.1f}H{self.right}", class_="grid") for t in ticks]
    labels = [tag("text", write(t), x=self.left - 8, y=f"{self.y(t) + 4:.1f}", text_anchor="end") for t in ticks]
    return [*lines, *labels, *self.x_axis(number)]

  def svg(self, drawn, kind: str = "chart") -> Markup:
    return tag("svg", drawn, viewBox=f"0 0 {self.width} {self.height}", class_=kind, role="img", aria_label="chart")


def _thin(curve: Curve, points: int) -> Curve:
  """Means of neighbours, at most `points` of them."""
  if len(curve.x) <= points:
    return curve
  x, y = ([part.mean() for part in np.array_split(values, points)] for values in (curve.x, curve.y))
  return dataclasses.replace(curve, x=np.array(x), y=np.array(y))


def _line_swatch(curve: Curve) -> Markup:
  return _swatch(tag("path", d="M0 8H16", class_="reference" if curve.dashed else "curve", style=f"--c:{curve.colour}"))


def _swatch(content: Markup) -> Markup:
  return tag("svg", content, viewBox="0 0 16 16", aria_hidden="true")


def _mark(mark: Mark, place: np.ndarray) -> Markup:
  return tag(
    "path",
    tag("title", mark.title),
    d=_MARKS[mark.modality],
    class_="mark",
    style=f"--c:{mark.colour}",
    transform=f"translate({place[0]:.1f} {place[1]:.1f})",
  )


def _links(places: np.ndarray) -> Markup | None:
  """Lines from the first mark of a clip to the others."""
  if len(places) < 2:
    return None
  first, others = places[0], places[1:]
  path = "".join(f"M{first[0]:.1f} {first[1]:.1f}L{x:.1f} {y:.1f}" for x, y in others)
  return tag("path", d=path, class_="link")
