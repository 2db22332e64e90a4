"""The page around the report: skeleton, style, table of contents, and the small building blocks of every section."""

from collections.abc import Sequence
import dataclasses
import math

from vatt_jax.evaluation.report.markup import Markup, join, tag

# Eight colours, each at least 26 (CIELAB) from every other one for normal, protanopic and deuteranopic eyes, found by
# random search; one row for a light and one for a dark ground.
COLOURS = 8
_LIGHT = ("#0082e0", "#b22f00", "#38c26b", "#dc3186", "#b7af00", "#27bbd3", "#5d1980", "#5c3128")
_DARK = ("#20a0ba", "#e6771b", "#45f078", "#ffb8bc", "#ffc904", "#7ea6ff", "#905dff", "#9b844c")


@dataclasses.dataclass(frozen=True)
class Section:
  """One chapter of the report: `anchor` and `title` make the table of contents."""

  anchor: str
  title: str
  body: Markup


def document(title: str, header: Markup, sections: Sequence[Section]) -> Markup:
  """The whole file."""
  contents = tag(
    "nav", tag("ol", [tag("li", tag("a", s.title, href=f"#{s.anchor}")) for s in sections]), aria_label="Contents"
  )
  chapters = [tag("section", tag("h2", s.title), s.body, id=s.anchor) for s in sections]
  footer = tag("footer", "Written by vatt_jax. This file needs no network: mail it, archive it, open it anywhere.")
  head = tag(
    "head",
    tag("meta", charset="utf-8"),
    tag("title", title),
    tag("style", Markup(_style())),
    tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
  )
  body = tag("body", tag("div", contents, tag("main", header, chapters, footer), class_="page"))
  return Markup("<!DOCTYPE html>\n" + tag("html", head, body, lang="en"))


def lead(*children) -> Markup:
  """The sentence that says how to read what follows."""
  return tag("p", *children, class_="lead")


def missing(*children) -> Markup:
  """The sentence that stands where a figure can't be."""
  return tag("p", *children, class_="missing")


def details(summary: str, *children) -> Markup:
  """A part that opens on a click."""
  return tag("details", tag("summary", summary), *children)


def table(head: Sequence, rows: Sequence[Sequence]) -> Markup:
  """A table that scrolls sideways where it does not fit; the first cell of each row is its head."""
  return tag(
    "div",
    tag(
      "table",
      tag("thead", tag("tr", [tag("th", cell, scope="col") for cell in head])),
      tag("tbody", [_row(row) for row in rows]),
    ),
    class_="wide",
  )


def _row(cells: Sequence) -> Markup:
  return tag("tr", tag("th", cells[0], scope="row"), [tag("td", cell) for cell in cells[1:]])


def colour(index: int | None) -> str:
  """The CSS value of a colour of the palette; None is the grey of everything else."""
  return "var(--other)" if index is None else f"var(--c{index % COLOURS})"


def modality_colour(modality: str) -> str:
  """Of video, audio and text wherever a colour stands for a modality."""
  return colour({"video": 0, "audio": 1, "text": 2}[modality])


def mixed(shares: Sequence[float]) -> str:
  """The colour between those of video, audio and text: shares that sum to 1; grey where all are equal."""
  shares = [max(share, 0.0) for share in shares]
  even = min(shares) * 3  # What all three have is nobody's colour.
  parts = [share - min(shares) for share in shares]
  channels = [int(_LIGHT[i][1 + 2 * c : 3 + 2 * c], 16) for i in range(3) for c in range(3)]
  mix = [sum(parts[i] * channels[3 * i + c] for i in range(3)) + even * 200 for c in range(3)]
  return "#" + "".join(f"{round(min(max(value, 0), 255)):02x}" for value in mix)


def legend(entries: Sequence[tuple[Markup, str]]) -> Markup:
  """Swatches with their names."""
  return tag("ul", [tag("li", swatch, name) for swatch, name in entries], class_="legend")


def percent(share: float) -> str:
  """0.1234 -> 12.3 %."""
  return f"{100 * share:.1f} %" if math.isfinite(share) else "–"


def with_bar(share: float, level: float) -> Markup:
  """A share in [0, 1] as per cent, above a bar with an upright line at the level to compare it with."""
  part = lambda value: f"{100 * min(max(value, 0), 1) if math.isfinite(value) else 0:.1f}%"
  lines = [tag("i", style=f"width:{part(share)}"), tag("b", style=f"left:{part(level)}")]
  return join([percent(share), tag("div", lines, class_="bar", title=f"chance: {percent(level)}")])


def number(value: float) -> str:
  """A number as a person would write it: 12,345, 12.3, 0.00123."""
  if not math.isfinite(value):
    return "–"
  if value == int(value) or abs(value) >= 1000:
    return f"{value:,.0f}"
  return f"{value:.3g}"


def shorten(text: str, length: int = 140) -> str:
  """Long texts cut to a length, with an ellipsis."""
  return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _style() -> str:
  light, dark = (join(f"--c{i}:{value};" for i, value in enumerate(row)) for row in (_LIGHT, _DARK))
  return f":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}\n{_STYLE}"


_STYLE = """
:root {
  color-scheme: light dark;
  --ground: #faf9f7; --card: #ffffff; --ink: #1d2127; --soft: #616975; --line: #e4e1db; --shade: #f1efeb;
  --accent: #0b62b8; --good: #17794a; --good-ground: #e3f4ea; --bad: #a8480b; --other: #b3b5ba;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #101317; --card: #181c22; --ink: #e7e9ec; --soft: #9da6b1; --line: #2c323b; --shade: #222831;
    --accent: #6db3ff; --good: #5bd592; --good-ground: #16301f; --bad: #f3a064; --other: #565d68;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", "Noto Sans", "Liberation Sans", sans-serif; -webkit-text-size-adjust: 100%; }
.page { max-width: 1240px; margin: 0 auto; padding: 0 20px 60px; }
main { min-width: 0; max-width: 1000px; }
nav ol { list-style: none; margin: 0; padding: 14px 0; display: flex; flex-wrap: wrap; gap: 4px 16px; }
nav a { color: var(--soft); text-decoration: none; font-size: 14px; }
nav a:hover { color: var(--accent); text-decoration: underline; }
@media (min-width: 1100px) {
  .page { display: grid; grid-template-columns: 170px 1fr; gap: 40px; }
  nav ol { position: sticky; top: 0; display: block; padding-top: 52px; }
  nav li { margin-bottom: 9px; }
}
header { padding: 36px 0 8px; }
h1 { font-size: clamp(26px, 4vw, 38px); line-height: 1.15; margin: 0; letter-spacing: -0.02em;
  overflow-wrap: anywhere; }
h2 { font-size: 24px; letter-spacing: -0.01em; margin: 0 0 6px; }
h3 { font-size: 17px; margin: 30px 0 8px; }
h4 { font-size: 15px; margin: 26px 0 8px; }
section { padding-top: 46px; }
a { color: var(--accent); }
.subtitle { color: var(--soft); font-size: 18px; margin: 8px 0 0; }
.lead, figcaption { color: var(--soft); max-width: 72ch; margin: 0 0 16px; }
.missing { color: var(--soft); border: 1px dashed var(--line); border-radius: 10px; padding: 14px 18px; }
code, pre { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { background: var(--shade); border-radius: 8px; padding: 12px 16px; overflow-x: auto; margin: 10px 0; }
pre.command { white-space: pre-wrap; overflow-wrap: anywhere; }
details { border: 1px solid var(--line); border-radius: 10px; background: var(--card); margin: 14px 0;
  padding: 0 18px; }
summary { cursor: pointer; padding: 11px 0; font-size: 15px; color: var(--accent); }
details[open] { padding-bottom: 12px; }
footer { color: var(--soft); font-size: 13px; margin-top: 60px; border-top: 1px solid var(--line); padding-top: 14px; }

.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 26px 0 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 13px 16px; }
.tile b { display: block; font-size: 25px; line-height: 1.25; font-weight: 650; letter-spacing: -0.02em; }
.tile span { display: block; color: var(--soft); font-size: 13px; line-height: 1.4; }

.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 15px; }
th, td { text-align: right; padding: 9px 10px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child { text-align: left; font-weight: 550; padding-left: 0; }
thead th { color: var(--soft); font-weight: 500; font-size: 13px; }
small { color: var(--soft); font-size: 12.5px; }
.bar { position: relative; height: 6px; min-width: 84px; margin-top: 5px; border-radius: 3px;
  background: var(--shade); }
.bar i { position: absolute; inset: 0 auto 0 0; border-radius: 3px; background: var(--c0); }
.bar b { position: absolute; top: -3px; bottom: -3px; width: 2px; margin-left: -1px; background: var(--ink); }

figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 16px;
  overflow-x: auto; min-width: 0; }
figure + figure { margin-top: 14px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(290px, 100%), 1fr)); gap: 14px; }
.maps { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 14px; }
.figures figure, .maps figure { margin: 0; }
figcaption { margin: 0 0 4px; font-size: 14px; }
figcaption small { display: block; }
figcaption b { color: var(--ink); font-weight: 600; }
svg { display: block; width: 100%; height: auto; }
svg.chart { min-width: 560px; }
svg text { fill: var(--soft); font-size: 12px; font-family: inherit; font-variant-numeric: tabular-nums; }
.grid { stroke: var(--line); stroke-width: 1; }
.curve { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.reference { stroke: var(--c); stroke-width: 1.5; stroke-dasharray: 5 5; fill: none; }
.dot { fill: var(--c); }
.dot.quiet { opacity: 0; }
.dot:hover { opacity: 1; stroke: var(--card); stroke-width: 2; }
.area { fill: var(--c); fill-opacity: 0.25; stroke: var(--c); stroke-width: 1.5; stroke-linejoin: round; }
.mark { fill: var(--c); fill-opacity: 0.85; stroke: var(--card); stroke-width: 0.6; }
.cell { fill: var(--bad); }
.cell.right { fill: var(--good); }
svg text.count { font-size: 11px; fill: var(--ink); pointer-events: none; }
svg text.mark-name { font-size: 11px; opacity: 0.8; }
.axis { font-weight: 550; }
.maps.two { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.beside { display: grid; grid-template-columns: repeat(var(--n), minmax(0, 1fr)); gap: 14px; margin-bottom: 14px; }
.beside figure { margin: 0 0 14px; }
.beside h4 { margin: 0 0 6px; overflow-wrap: anywhere; }
.best { font-weight: 700; color: var(--good); }
.followed { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(330px, 100%), 1fr)); gap: 14px; }
.followed figure { margin: 0; }
.frames { display: flex; flex-wrap: wrap; gap: 10px; }
.pair { display: flex; gap: 4px; flex: 1 1 260px; }
.pair img { width: 50%; min-width: 0; border-radius: 6px; display: block; }
.followed svg { margin-top: 10px; }
.followed audio { display: block; width: 100%; height: 34px; margin-top: 6px; }
.heat { stroke: #e0285a; stroke-width: 2.4; stroke-linecap: round; }
.plain { stroke: var(--other); stroke-width: 2.4; stroke-linecap: round; }
.link { stroke: var(--ink); stroke-width: 1.2; fill: none; opacity: 0; pointer-events: none; }
.map:has(.clip:hover) .clip { opacity: 0.25; }
.map .clip:hover { opacity: 1 !important; }
.clip:hover .link { opacity: 0.7; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 3px 18px; margin: 10px 0 0; padding: 0;
  font-size: 14px; color: var(--soft); }
.legend li { display: flex; align-items: center; gap: 7px; }
.legend svg { width: 16px; height: 16px; flex: none; }

.query { display: grid; grid-template-columns: 228px 1fr; gap: 22px; background: var(--card); margin: 12px 0;
  border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; }
.asked { min-width: 0; }
.place { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 8px; white-space: nowrap;
  font-size: 13px; color: var(--soft); margin-bottom: 8px; }
.place b { font-weight: 600; color: var(--bad); }
.place b.found { color: var(--ink); }
.place b.first { color: var(--good); }
.asked img, .asked audio, .asked svg { display: block; width: 100%; border-radius: 8px; }
.asked img { width: auto; max-width: 100%; height: 128px; }
.asked audio { height: 36px; margin-top: 8px; }
.asked svg { background: var(--shade); }
.asked p { margin: 8px 0 0; overflow-wrap: anywhere; font-size: 15px; line-height: 1.4; }
.asked .words { font-size: 18px; margin-top: 0; }
.answers { list-style: none; margin: 0; padding: 0; min-width: 0; font-size: 15px; }
.answers li { border: 1.5px solid transparent; border-radius: 8px; overflow-wrap: anywhere; }
.answers .right { border-color: var(--good); background: var(--good-ground); }
.answers .later { margin-top: 9px; }
.answers.texts li { display: grid; grid-template-columns: 26px 1fr auto; gap: 8px; padding: 4px 10px;
  align-items: baseline; }
.answers.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 8px;
  align-items: start; }
.answers.pictures li { padding: 6px; display: flex; flex-direction: column; gap: 3px; line-height: 1.3;
  font-size: 13px; }
.answers.pictures .later { margin-top: 0; }
.answers img, .blank { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 6px; display: block; }
.blank { background: var(--shade); color: var(--soft); display: grid; place-items: center; font-size: 12px;
  min-height: 80px; }
.asked .blank { aspect-ratio: auto; }
.tick { color: var(--good); font-weight: 600; white-space: nowrap; }
@media (max-width: 640px) { .query { grid-template-columns: 1fr; gap: 14px; } }
"""
