"""ImageNet (ILSVRC 2012): images of 1,000 classes, as videos that stand still (Russakovsky et al., 2015).

Classes are called by their synsets, n01440764 and so on: several of the words for them are not unique. Sorted, they are
in the order that published classifiers use. The images of the validation set may lie in folders of synsets or, as in
the official archive, in one folder; TFDS knows their classes.
"""

from collections.abc import Iterator
import dataclasses
import importlib.util
import pathlib
import re

from vatt_jax.errors import UserError
from vatt_jax.preparation.datasets.annotations import WHOLE, Example, Folder, PublicDataset, lines

SYNSET, NUMBER = re.compile(r"n\d{8}"), re.compile(r"ILSVRC2012_val_(\d{8})")


def _examples(folder: Folder, variant: str) -> Iterator[Example]:
  synsets = _tfds("validation_labels.txt")
  count = 0
  for path in folder.media:
    place = pathlib.PurePosixPath(path)
    number = NUMBER.match(place.stem)
    if SYNSET.fullmatch(place.parent.name):
      label = place.parent.name
    elif number:
      label = synsets[int(number[1]) - 1]
    else:
      continue
    held_out = number or any(part.lower().startswith("val") for part in place.parent.parts)
    count += 1
    split = "validation" if held_out else "train"
    yield Example(names=(path,), request=dataclasses.replace(WHOLE, label=label, split=split))
  if not count:
    raise UserError(f"{folder.root} holds no image in a folder of a synset. --manual_dir must hold {DATASET.layout}.")


def _tfds(name: str) -> list[str]:
  """A list of synsets that comes with TFDS."""
  (place, *_) = importlib.util.find_spec("tensorflow_datasets").submodule_search_locations
  return lines(pathlib.Path(place, "datasets", "imagenet2012", name))


DATASET = PublicDataset(
  examples=_examples,
  layout="train/<synset>/*.JPEG and val/<synset>/*.JPEG (or val/ILSVRC2012_val_*.JPEG)",
  licence="ImageNet terms of access: non-commercial research and education; media: their owners'",
  labels=lambda folder: sorted(_tfds("labels.txt")),
)
