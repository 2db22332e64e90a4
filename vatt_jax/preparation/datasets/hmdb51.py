"""HMDB51: 51 human actions in clips from films and the web, three splits (Kuehne et al., 2011)."""

from collections.abc import Iterator
import dataclasses
import re

from vatt_jax.preparation.datasets.annotations import WHOLE, Example, Folder, PublicDataset, lines

SPLITS = {"1": "train", "2": "test"}  # "0": the split does not use the clip.


def _examples(folder: Folder, variant: str) -> Iterator[Example]:
  ending = f"_test_{variant}.txt"
  for path in folder.annotations(f"*{ending}"):
    label = path.name[: -len(ending)]
    for line in lines(path):
      name, use = line.rsplit(None, 1)
      if split := SPLITS.get(use):
        yield Example(names=(f"{label}/{name}",), request=dataclasses.replace(WHOLE, label=label, split=split))


def _labels(folder: Folder) -> list[str]:
  return sorted({re.sub(r"_test_split\d\.txt$", "", path.name) for path in folder.annotations("*_test_split?.txt")})


DATASET = PublicDataset(
  examples=_examples,
  layout="<class>_test_split1.txt (to 3) for each class and videos called <class>/<name>.avi",
  licence="annotations: CC BY 4.0; media: their owners'",
  variants=("split1", "split2", "split3"),
  labels=_labels,
)
