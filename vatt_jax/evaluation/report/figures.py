"""Charts as inline SVG: crisp, themeable by the page's style, and with values on hover (`title`)."""

from collections.abc import Mapping, Sequence
import dataclasses
import math

import numpy as np

from vatt_jax.evaluation import retrieval
from vatt_jax.evaluation.report.markup import Markup, tag
from vatt_jax.evaluation.report.page import colour, legend, mixed, modality_colour, number, shorten

_LINE = 15  # from one line of text to the next

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
class Column:
  """A figure of several rows, in `dot_columns`: NaN where a row lacks it; `level` is what to compare with, or NaN.

  Lines of the name stand below each other.
  """

  name: str
  values: Sequence[float]
  level: float = math.nan
  as_percent: bool = False


@dataclasses.dataclass(frozen=True)
class Mark:
  """A point of an embedding map; `clip` joins the marks of one clip, `title` appears on hover."""

  clip: int
  x: float
  y: float
  modality: str
  colour: str
  title: str


@dataclasses.dataclass(frozen=True)
class Whisker:
  """A row of `whiskers`: a middle and a range around it, none of them negative."""

  name: str
  low: float
  middle: float
  high: float


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
  """Round numbers (1, 2, 2.5 or 5 times a power of ten apart) that cover [low, high] from the inside."""
  span = high - low
  if not (math.isfinite(span) and span > 0):
    return [low]
  power = 10 ** math.floor(math.log10(span / about))
  step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if span / (factor * power) <= about)
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [round(i * step, 12) for i in range(first, last + 1)]


def line_chart(
  curves: Sequence[Curve], *, x_name: str, as_percent: bool = False, points: int = 200,
  marks: Sequence[tuple[float, str]] = (),
) -> Markup:  # fmt: skip
  """Curves over a common x axis, y from 0 or including it, with a legend that ends in each curve's last value.

  Args:
    curves: at least one; curves longer than `points` show means of neighbouring values.
    x_name: under the x axis.
    as_percent: y is a fraction and is written as per cent.
    points: at most this many per curve.
    marks: places on the x axis and their names, which stand upright beside a line there. With them x begins at 0, as a
      cost does, and the legend names no last values.

  Returns:
    A `figure`.
  """
  curves = [curve if curve.dashed else _thin(curve, points) for curve in curves]
  xs, ys = (np.concatenate([getattr(curve, axis) for curve in curves]) for axis in "xy")
  write = (lambda value: f"{100 * value:.3g} %") if as_percent else number
  low, high, counts = min(0, ys.min()), max(0, ys.max()), bool(np.all(xs == np.round(xs)))
  frame = _Frame(
    760,
    300,
    (min(0, xs.min()) if marks else xs.min(), xs.max()),
    (low, high + 0.05 * (high - low) if high > low else 1),
    whole=counts,
  )
  drawn = [frame.grid(write), tag("text", x_name, x=frame.right, y=frame.height - 4, text_anchor="end")]
  for x, name in marks:
    drawn.append(tag("path", d=f"M{frame.x(x):.1f} {frame.top}V{frame.height - frame.below}", class_="grid"))
    place = f"translate({frame.x(x) - 4:.1f} {frame.height - frame.below - 6}) rotate(-90)"
    drawn.append(tag("text", shorten(name, 36), transform=place, class_="mark-name"))
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
  entries = [(_line_swatch(curve), curve.name if marks else f"{curve.name} {write(curve.y[-1])}") for curve in curves]
  return tag("figure", frame.svg(drawn), legend(entries))


def dot_columns(rows: Sequence[str], columns: Sequence[Column]) -> Markup:
  """Many figures of many rows at one look: a strip for each figure, in it a dot for each row, and its level dashed.

  Args:
    rows: names; where what stands before a colon changes, another group begins.
    columns: at least one, each with a value for every row; each has a scale of its own.
  """
  groups = [name.split(":")[0] if ":" in name else "" for name in rows]
  places, y = [], 24.0 + _LINE * max(column.name.count("\n") + 1 for column in columns)
  for i, group in enumerate(groups):
    y += 10 if i and group != groups[i - 1] else 0
    places.append(y)
    y += 20
  left = 16 + 6.6 * max(len(shorten(name, 40)) for name in rows)
  width = 128
  drawn = [
    tag("text", shorten(name, 40), x=left - 14, y=place + 4, text_anchor="end") for name, place in zip(rows, places)
  ]
  for i, column in enumerate(columns):
    drawn.append(_strip(column, rows, places, left + i * width, width - 22, colour(i)))
  right = left + width * len(columns)
  size, style = f"0 0 {right:.0f} {y + 14:.0f}", f"min-width:{min(right, 620):.0f}px;max-width:{right:.0f}px"
  return tag("figure", tag("svg", drawn, viewBox=size, role="img", aria_label="figures of all rows", style=style))


def _strip(column: Column, rows, places, x: float, width: float, shade: str) -> list[Markup]:
  known = [value for value in (*column.values, column.level) if math.isfinite(value)]
  low, high = (min(known), max(known)) if known else (0.0, 1.0)
  low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
  at = lambda value: x + width * (0.06 + 0.88 * (value - low) / (high - low))
  write = (lambda value: f"{100 * value:.1f} %") if column.as_percent else number
  top, bottom, words = places[0] - 14, places[-1] + 12, column.name.replace("\n", ", ")
  drawn = [
    *(tag("text", line, x=x, y=12 + _LINE * i, class_="axis") for i, line in enumerate(column.name.split("\n"))),
    *(tag("path", d=f"M{x} {place}h{width}", class_="grid") for place in places),
    tag("text", write(low), x=f"{at(low):.1f}", y=bottom + 10, text_anchor="middle", class_="mark-name"),
    tag("text", write(high), x=f"{at(high):.1f}", y=bottom + 10, text_anchor="middle", class_="mark-name"),
  ]
  if math.isfinite(column.level):
    line = f"M{at(column.level):.1f} {top}V{bottom}"
    drawn.append(
      tag(
        "path", tag("title", f"chance: {write(column.level)}"), d=line, class_="reference", style=f"--c:{colour(None)}"
      )
    )
  for name, value, place in zip(rows, column.values, places):
    if math.isfinite(value):
      said = tag("title", f"{name}: {words} {write(value)}")
      drawn.append(tag("circle", said, cx=f"{at(value):.1f}", cy=place, r=4.5, class_="dot", style=f"--c:{shade}"))
  return drawn


def whiskers(rows: Sequence[Whisker], x_name: str) -> Markup:
  """One row below the other: a dot in the middle of a line from low to high, over an x axis from 0. A `figure`."""
  names = [shorten(row.name, 44) for row in rows]
  left, most = 24 + 6.6 * max(map(len, names)), max(row.high for row in rows)
  frame = _Frame(760, 60 + 34 * len(rows), (0, 1.05 * most or 1), (len(rows), 0), left=left)
  bottom = frame.height - frame.below
  drawn = [frame.x_axis(number), tag("text", x_name, x=frame.right, y=frame.height - 4, text_anchor="end")]
  drawn += [
    tag("path", d=f"M{frame.x(x):.1f} {frame.top}V{bottom}", class_="grid") for x in nice_ticks(*frame.x_range, 8)
  ]
  for i, (row, name) in enumerate(zip(rows, names)):
    y, low, high = frame.y(i + 0.5), frame.x(row.low), frame.x(row.high)
    said = f"{row.name}: {number(row.middle)}, from {number(row.low)} to {number(row.high)} ({x_name})"
    ends = "".join(f"M{x:.1f} {y - 6:.1f}v12" for x in (low, high))
    drawn += [
      tag("text", name, x=f"{left - 12:.1f}", y=f"{y + 4:.1f}", text_anchor="end"),
      tag("path", d=f"M{low:.1f} {y:.1f}H{high:.1f}{ends}", class_="curve", style=f"--c:{colour(i)}"),
      tag(
        "circle", tag("title", said), cx=f"{frame.x(row.middle):.1f}", cy=f"{y:.1f}", r=5, class_="dot",
        style=f"--c:{colour(i)}",
      ),
    ]  # fmt: skip
  return tag("figure", frame.svg(drawn))


def densities(positives: np.ndarray, negatives: np.ndarray, caption: Markup) -> Markup:
  """Two overlaid densities of cosines (`retrieval.density`), each of area 1."""
  edges = retrieval.similarity_edges(positives, negatives)
  heights = [retrieval.density(part, edges) for part in (negatives, positives)]
  middles = (edges[1:] + edges[:-1]) / 2
  frame = _Frame(310, 190, (edges[0], edges[-1]), (0, 1.05 * max(height.max() for height in heights)), left=8)
  drawn = [frame.x_axis(number), tag("text", "cosine", x=frame.right, y=frame.height - 4, text_anchor="end")]
  for height, name, shade in zip(heights, ("other pairs", "right pairs"), (colour(None), colour(0))):
    line = "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in zip(middles, height))
    path = f"M{frame.x(middles[0]):.1f} {frame.y(0):.1f}L{line}L{frame.x(middles[-1]):.1f} {frame.y(0):.1f}z"
    drawn.append(tag("path", tag("title", name), d=path, class_="area", style=f"--c:{shade}"))
  return tag("figure", tag("figcaption", caption), frame.svg(drawn, kind="small"))


def confusion_matrix(counts: np.ndarray, totals: np.ndarray, names: Sequence[str], caption: Markup) -> Markup:
  """Cells as dark as their share of the row, green on the diagonal.

  Args:
    counts: int (C, C), row: the class, column: what it is taken for.
    totals: int (C,), of which a row's counts are shares; more than its sum where columns are left out.
    names: of the C classes.
    caption: above it.
  """
  names = [shorten(str(name), 24) for name in names]
  left = 14 + 6.6 * max(map(len, names), default=0)
  size = min(36.0, (760 - left - 20) / max(len(counts), 1))
  top = 24 + 0.72 * left
  width, height = left + size * len(counts) + 90, top + size * len(counts) + 8
  small = f"font-size:{min(12.0, 0.85 * size):.1f}px"
  drawn = [tag("text", "taken for →", x=left, y=12, class_="axis")]
  for i, name in enumerate(names):
    x, y = left + size * (i + 0.5), top + size * (i + 0.5)
    drawn.append(tag("text", name, x=left - 8, y=f"{y + 4:.1f}", text_anchor="end", style=small))
    turned = f"translate({x + 3:.1f} {top - 7:.1f}) rotate(-45)"
    drawn.append(tag("text", name, transform=turned, style=small))
    drawn.append(tag("path", d=f"M{left:.1f} {top + size * i:.1f}h{size * len(names):.1f}", class_="grid"))
    drawn.append(tag("path", d=f"M{left + size * i:.1f} {top:.1f}v{size * len(names):.1f}", class_="grid"))
  ends = left + size * len(names), top + size * len(names)
  drawn.append(tag("path", d=f"M{left:.1f} {ends[1]:.1f}H{ends[0]:.1f}V{top:.1f}", class_="grid", fill="none"))
  for row, column in zip(*np.nonzero(counts)):
    share = counts[row, column] / totals[row]
    x, y = left + size * column, top + size * row
    said = f"{names[row]} taken for {names[column]}: {counts[row, column]} of {totals[row]} ({100 * share:.0f} %)"
    drawn.append(
      tag(
        "rect",
        tag("title", said),
        x=f"{x + 0.5:.1f}",
        y=f"{y + 0.5:.1f}",
        width=f"{size - 1:.1f}",
        height=f"{size - 1:.1f}",
        rx=2,
        fill_opacity=f"{0.06 + 0.74 * share:.2f}",
        class_="cell right" if row == column else "cell",
      )
    )
    if size >= 20:
      place = dict(x=f"{x + size / 2:.1f}", y=f"{y + size / 2 + 4:.1f}", text_anchor="middle", class_="count")
      drawn.append(tag("text", counts[row, column], **place))
  svg = tag(
    "svg", drawn, viewBox=f"0 0 {width:.0f} {height:.0f}", role="img",
    style=f"max-width:{width:.0f}px;min-width:{min(width, 520):.0f}px",
    aria_label="confusion matrix",
  )  # fmt: skip
  return tag("figure", tag("figcaption", caption), svg)


def unit_strips(activity: Mapping[str, np.ndarray], columns: int = 120) -> Markup:
  """A strip for each layer: its units sorted and coloured by the modality that most of their activity comes from.

  Args:
    activity: modality -> (layers, F), how strongly each unit fires. Each modality is scaled by its mean over the layer,
      so that what is louder on the whole owns no more units.
    columns: of a strip; neighbouring units are averaged.
  """
  names = list(activity)
  layers = len(activity[names[0]])
  left, width, height, gap = 64, 560, 20, 7
  drawn = []
  for layer in range(layers):
    rows = np.stack([activity[name][layer] for name in names])
    shares = rows / np.maximum(rows.mean(axis=1, keepdims=True), 1e-12)
    shares = shares / np.maximum(shares.sum(axis=0), 1e-12)
    owner = shares.argmax(axis=0)
    shares = shares[:, np.lexsort((-shares.max(axis=0), owner))]
    parts = np.array_split(shares, min(columns, shares.shape[1]), axis=1)
    x, y = float(left), layer * (height + gap) + 4
    drawn.append(tag("text", f"layer {layer + 1}", x=left - 10, y=y + 14, text_anchor="end"))
    for part in parts:
      step = width * part.shape[1] / shares.shape[1]
      shade = {**dict.fromkeys(("video", "audio", "text"), 0.0), **dict(zip(names, part.mean(axis=1)))}
      fill = mixed([shade["video"], shade["audio"], shade["text"]])
      drawn.append(tag("rect", x=f"{x:.1f}", y=y, width=f"{step + 0.3:.1f}", height=height, fill=fill))
      x += step
    mostly = [f"{name} {100 * np.mean(shares[i] > 0.5):.0f} %" for i, name in enumerate(names)]
    drawn.append(tag("text", ", ".join(mostly), x=left + width + 12, y=y + 14))
  swatches = [(colour_swatch(modality_colour(name)), name) for name in names]
  entries = [*swatches, (colour_swatch(mixed([1 / 3] * 3)), "all alike")]
  svg = tag(
    "svg", drawn, viewBox=f"0 0 {left + width + 240} {layers * (height + gap) + 4}", role="img", aria_label="units of each layer",
    style="min-width:620px",
  )  # fmt: skip
  note = tag(
    "small", "On the right: the share of a layer's units that get more than half of their activity from one modality."
  )
  return tag("figure", svg, legend(entries), tag("p", note))


def heated_waveform(waveform: np.ndarray, strength: np.ndarray, seconds: float, bars: int = 110) -> Markup:
  """A waveform as upright bars, coloured where `strength`, in [0, 1] and evenly along it, says so."""
  parts = np.array_split(np.abs(waveform.astype(np.float32)), min(bars, len(waveform)))
  heights = np.array([part.max() for part in parts])
  heights = np.maximum(27 * heights / max(heights.max(), 1), 0.8)
  places = (np.arange(len(heights)) + 0.5) / len(heights) * len(strength)
  heat = strength[np.minimum(places.astype(int), len(strength) - 1)]
  bar = lambda i: f"M{3.6 * i + 2:.1f} {30 - heights[i]:.1f}v{2 * heights[i]:.1f}"
  drawn = [tag("path", d="".join(map(bar, range(len(heights)))), class_="plain")]
  drawn += [tag("path", d=bar(i), class_="heat", opacity=f"{heat[i]:.2f}") for i in np.flatnonzero(heat > 0.02)]
  width = 3.6 * len(heights) + 2
  drawn.append(tag("text", f"{seconds:.1f} s", x=width - 2, y=74, text_anchor="end"))
  return tag("svg", drawn, viewBox=f"0 0 {width:.0f} 78", role="img", aria_label="attention along the sound")


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
  whole: bool = False  # x counts something: no ticks between whole numbers

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
      if not self.whole or tick == int(tick)
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
