"""Kinetics-400, -600 and -700: ten-second YouTube clips of human actions (Kay et al., 2017, and later)."""

from collections.abc import Iterator

from vatt_jax.preparation.datasets.annotations import Example, Folder, PublicDataset, table
from vatt_jax.preparation.requests import Request
from vatt_jax.preparation.splits import ALIASES

COLUMNS = ("youtube_id", "time_start", "time_end", "split")  # and label, but for the test split


def _examples(folder: Folder, variant: str) -> Iterator[Example]:
  for path in folder.annotations("*.csv", columns=COLUMNS):
    for row in table(path, *COLUMNS):
      video, start, end = row["youtube_id"], round(float(row["time_start"])), round(float(row["time_end"]))
      yield Example(
        names=(video,),
        request=Request(start, end, label=row.get("label", ""), split=ALIASES.get(row["split"].lower(), "train")),
        cut=(f"{video}_{start:06d}_{end:06d}", f"{video}_{start}_{end}"),
      )


def _labels(folder: Folder) -> list[str]:
  """The classes of the training split, sorted: also those whose media are missing, so that ids do not depend on them."""
  rows = (row for path in folder.annotations("*.csv", columns=COLUMNS) for row in table(path))
  return sorted({row["label"] for row in rows if row.get("label") and ALIASES.get(row["split"].lower()) == "train"})


DATASET = PublicDataset(
  examples=_examples,
  layout="train.csv, val.csv (or validate.csv), test.csv and videos called <id>_<start>_<end>.mp4, six digits each "
  "(the clip), or <id>.mp4 (the whole video)",
  licence="annotations: CC BY 4.0; media: their owners' (YouTube)",
  labels=_labels,
)
