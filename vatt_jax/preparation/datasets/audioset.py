"""AudioSet: ten-second segments of YouTube videos with several labels each (Gemmeke et al., 2017)."""

from collections.abc import Iterator

from vatt_jax.preparation.datasets.annotations import Example, Folder, PublicDataset, table
from vatt_jax.preparation.requests import Request

FILES = {
  "unbalanced_train_segments.csv": "train",
  "balanced_train_segments.csv": "train",
  "eval_segments.csv": "test",
}


def _names(folder: Folder) -> dict[str, str]:
  """Machine identifier -> display name, by class index."""
  (path, *_) = folder.annotations("class_labels_indices.csv")
  rows = sorted(table(path, "index", "mid", "display_name"), key=lambda row: int(row["index"]))
  return {row["mid"]: row["display_name"] for row in rows}


def _examples(folder: Folder, variant: str) -> Iterator[Example]:
  names = _names(folder)
  wanted = [name for name in FILES if variant != "balanced" or not name.startswith("unbalanced")]
  for path in folder.annotations(*wanted):
    for row in table(path, columns=("video", "start", "end", "labels")):
      start, end = float(row["start"]), float(row["end"])
      labels = "|".join(names.get(mid.strip(), mid.strip()) for mid in row["labels"].split(","))
      yield Example(
        names=(row["video"],),
        request=Request(start, end, label=labels, split=FILES[path.name.lower()]),
        cut=_cut(row["video"], start, end),
      )


def _cut(video: str, start: float, end: float) -> tuple[str, ...]:
  """What downloaders call a segment: its times are written as seconds or as milliseconds, its id may have a Y before."""
  seconds, milliseconds = (round(start), round(end)), (round(start * 1000), round(end * 1000))
  times = [
    "{:d}_{:d}".format(*milliseconds),
    "{:d}_{:d}".format(*seconds),
    "{:06d}_{:06d}".format(*seconds),
    f"{start:.3f}_{end:.3f}",
    f"{milliseconds[0]}",
    f"{seconds[0]}",
    f"{seconds[0]:06d}",
  ]
  return tuple(f"{video}_{time}" for time in times) + tuple(f"Y{video}_{time}" for time in times) + (f"Y{video}",)


DATASET = PublicDataset(
  examples=_examples,
  layout="eval_segments.csv, (un)balanced_train_segments.csv, class_labels_indices.csv and media called "
  "Y<id>.* or <id>_<start>.* (ten seconds) or <id>.* (the whole video)",
  licence="annotations: CC BY 4.0; media: their owners' (YouTube)",
  variants=("full", "balanced"),
  labels=lambda folder: list(_names(folder).values()),
)
