"""What a search found as a page: films and sounds are linked and play at the second that was found."""

from collections.abc import Sequence
import itertools
import os
import pathlib
import urllib.parse

from vatt_jax.evaluation.report import media
from vatt_jax.evaluation.report.markup import Markup, tag
from vatt_jax.evaluation.report.page import Section, document, lead
from vatt_jax.preparation import media as media_lib
from vatt_jax.preparation.units import Options
from vatt_jax.search.query import Found, printable
from vatt_jax.search.sources import IMAGES

# What browsers play; of anything else a still and the sound are put into the page.
FILMS = frozenset((".mp4", ".m4v", ".mov", ".webm", ".ogv"))
SOUNDS = frozenset((".mp3", ".wav", ".ogg", ".oga", ".opus", ".flac", ".m4a", ".aac", ".weba"))
PICTURES = (IMAGES | {".gif"}) - {".heic", ".heif", ".tif", ".tiff", ".pnm", ".ppm"}
STILL_BYTES, SOUND_BYTES = 60_000, 600_000  # in the page, of what browsers do not play


def page(query: str, found: Sequence[Found], folder: str) -> Markup:
  """The page of the results of one query.

  Args:
    query: a sentence, or the path of a file.
    found: in order.
    folder: where the page will lie; links are relative to it.
  """
  sections = []
  for (source, target), results in itertools.groupby(found, lambda each: (each.source, each.target)):
    items = [tag("li", _shown(each, folder), class_="result") for each in results]
    sections.append(Section(f"{source}-{target}", f"{source} → {target}", tag("ol", items, class_="results")))
  asked = _media(query, 0.0, 0.0, folder) if os.path.exists(query) else tag("p", f"“{query}”", class_="subtitle")
  header = tag("header", tag("h1", "Search"), tag("style", _STYLE), asked, lead("The nearest first, by cosine."))
  return document(f"Search: {printable(query)}", header, sections)


def _shown(each: Found, folder: str) -> Markup:
  times = f" · {each.start:.1f} – {each.end:.1f} s" if each.end >= 0.05 else ""  # A picture has none to speak of.
  words = tag("small", f"{each.rank} · {each.cosine:.3f}{times}".replace("-", "−"))
  if each.target == "text":
    return tag("div", tag("p", each.name), words)
  return tag(
    "div", _media(each.name, each.start, each.end, folder), tag("p", os.path.basename(printable(each.name))), words
  )


def _media(path: str, start: float, end: float, folder: str) -> Markup:
  """A player that begins at a time, in seconds; a still and the sound where browsers cannot play the file."""
  ending = pathlib.Path(path).suffix.lower()
  url = urllib.parse.quote(os.fsencode(os.path.relpath(path, folder)))
  moment = f"{url}#t={start:.2f},{end:.2f}" if end else url
  if ending in FILMS:
    return tag("video", src=moment, controls=True, preload="metadata")
  if ending in SOUNDS:
    return tag("audio", src=moment, controls=True, preload="metadata")
  if ending in PICTURES:
    return tag("img", src=url, alt=os.path.basename(printable(path)), loading="lazy")
  try:
    read = media_lib.read(path, Options(short_side=192, sample_rate_hz=16_000), intervals=[(start, end or 10.0)])
  except media_lib.Unreadable as error:
    return tag("p", str(error), class_="missing")
  frames = read.pictures_between(start, end or 10.0)[1]
  samples = read.sound_between(start, end or 10.0)[1]
  still = media.picture(frames[len(frames) // 2], STILL_BYTES) if frames else None
  sound = media.player(samples, read.sample_rate_hz, SOUND_BYTES) if len(samples) else None
  return tag("div", still, sound)


_STYLE = Markup("""
.results { list-style: none; margin: 14px 0 0; padding: 0; display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); align-items: start; }
.result { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 14px;
  overflow-wrap: anywhere; font-size: 14px; }
.result p { margin: 8px 0 0; line-height: 1.35; }
.result video, .result audio, .result img, header video, header img { width: 100%; max-width: 420px; border-radius: 8px; }
""")
