"""ESC-50: 2,000 five-second recordings of 50 classes of environmental sound, five folds (Piczak, 2015)."""

from collections.abc import Iterator
import dataclasses

from vatt_jax.preparation.datasets.annotations import WHOLE, Example, Folder, PublicDataset, table


def _rows(folder: Folder) -> Iterator[dict[str, str]]:
  (path, *_) = folder.annotations("esc50.csv")
  return table(path, "filename", "fold", "target", "category")


def _examples(folder: Folder, variant: str) -> Iterator[Example]:
  """The fold that the variant names is for testing, the four others are for training."""
  for row in _rows(folder):
    request = dataclasses.replace(
      WHOLE,
      label=row["category"],
      split="test" if f"fold{row['fold']}" == variant else "train",
      licence="CC BY 3.0 (ESC-10)" if row.get("esc10") == "True" else "",
    )
    yield Example(names=(row["filename"],), request=request)


def _labels(folder: Folder) -> list[str]:
  return [name for _, name in sorted({(int(row["target"]), row["category"]) for row in _rows(folder)})]


DATASET = PublicDataset(
  examples=_examples,
  layout="meta/esc50.csv and audio/*.wav",
  licence="CC BY-NC 3.0 (ESC-50)",
  variants=("fold1", "fold2", "fold3", "fold4", "fold5"),
  labels=_labels,
)
