"""Moments in Time: three-second videos of 339 (first version) actions and events (Monfort et al., 2019)."""

from collections.abc import Iterator
import dataclasses

from vatt_jax.preparation.datasets.annotations import WHOLE, Example, Folder, PublicDataset, lines, table

FILES = {"trainingset.csv": ("training", "train"), "validationset.csv": ("validation", "validation")}


def _examples(folder: Folder, variant: str) -> Iterator[Example]:
  for path in folder.annotations(*FILES):
    place, split = FILES[path.name.lower()]
    for row in table(path, columns=("file", "label", "agree", "disagree")):
      yield Example(
        names=(f"{place}/{row['file']}",), request=dataclasses.replace(WHOLE, label=row["label"], split=split)
      )


def _labels(folder: Folder) -> list[str]:
  """The names by their indices; a line is `name,index`."""
  (path, *_) = folder.annotations("moments_categories.txt")
  pairs = [line.rsplit(",", 1) for line in lines(path)]
  return [name for name, _ in sorted(pairs, key=lambda pair: int(pair[1]))]


DATASET = PublicDataset(
  examples=_examples,
  layout="trainingSet.csv, validationSet.csv, moments_categories.txt and the folders training and validation with "
  "<label>/<name>.mp4",
  licence="Moments in Time licence: non-commercial research and education",
  labels=_labels,
)
