"""HowTo100M: narrated instructional videos, and what their speakers say (Miech et al., 2019).

The segments of the speech recognition overlap: a line stays on the screen while the next is spoken. Here a clip takes in
segments until it is five seconds long, and ends where the next clip begins, or where its last segment ends if that is
earlier. So no frame is stored twice, and every segment stays a caption with its official times.
"""

from collections.abc import Iterator, Sequence

from vatt_jax.preparation.captions import Cue
from vatt_jax.preparation.datasets.annotations import Example, Folder, PublicDataset, json_items, table
from vatt_jax.preparation.requests import NEIGHBOURS, Request

CLIP_SECONDS = 5.0


def clips(cues: Sequence[Cue]) -> list[tuple[float, float, list[Cue]]]:
  """(start, end, captions) of each clip: its own segments first, then the `NEIGHBOURS` nearest in time."""
  cues = sorted(cues, key=lambda cue: (cue.start, cue.end))
  firsts: list[int] = []
  for i, cue in enumerate(cues):
    if not firsts or cue.start - cues[firsts[-1]].start >= CLIP_SECONDS:
      firsts.append(i)
  found = []
  for first, last in zip(firsts, [*firsts[1:], len(cues)]):
    start, end = cues[first].start, max(cue.end for cue in cues[first:last])
    if last < len(cues):
      end = min(end, cues[last].start)
    around = [*cues[max(0, first - NEIGHBOURS) : first], *cues[last : last + NEIGHBOURS]]
    around.sort(key=lambda cue, centre=(start + end) / 2: abs((cue.start + cue.end) / 2 - centre))
    found.append((start, end, [*cues[first:last], *around[:NEIGHBOURS]]))
  return found


def _examples(folder: Folder, variant: str) -> Iterator[Example]:
  categories = {
    row["video_id"]: row["category_1"]
    for path in folder.annotations("howto100m_v1.csv", "howto100m*.csv")
    for row in table(path, "video_id", "category_1")
  }
  for video, columns in _captions(folder, categories):
    lists = zip(columns["start"], columns["end"], columns["text"])
    cues = [
      Cue(" ".join(str(text).split()), max(0.0, float(start)), float(end))
      for start, end, text in lists
      if str(text).strip() and float(end) > max(0.0, float(start))
    ]
    for start, end, captions in clips(cues):
      request = Request(start, end, neighbours=tuple(captions), label=categories[video], language="en", split="train")
      yield Example((video,), request)


def _captions(folder: Folder, videos) -> Iterator[tuple[str, dict]]:
  """The columns start, end and text of each of the videos, from one JSON file or from a CSV file for each video."""
  if paths := folder.annotations("*caption*.json", optional=True):
    for video, columns in json_items(paths[0]):
      if video in videos:
        yield video, columns
    return
  tables = {path.stem: path for path in folder.annotations("*.csv")}
  if not videos.keys() & tables.keys():
    folder.annotations("*caption*.json")  # Says what is missing.
  for video in videos.keys() & tables.keys():
    rows = list(table(tables[video], "start", "end", "text"))
    yield video, {name: [row[name] for row in rows] for name in ("start", "end", "text")}


DATASET = PublicDataset(
  examples=_examples,
  layout="HowTo100M_v1.csv, caption.json (or raw_caption.json, or a CSV for each video) and videos called <video id>.*",
  licence="captions: published for research; media: their owners' (YouTube)",
)
