"""MSVD: 1,970 short YouTube clips with about 40 captions each (Chen and Dolan, 2011), and questions about them."""

from collections.abc import Iterator
import dataclasses

from vatt_jax.preparation.datasets import questions
from vatt_jax.preparation.datasets.annotations import WHOLE, Example, Folder, PublicDataset, lines

LISTS = {"train_list.txt": "train", "val_list.txt": "validation", "test_list.txt": "test"}
TRAIN, VALIDATION = 1200, 100  # of the clips in the order of youtube_mapping.txt; the other 670 are for testing
LICENCE = "no licence stated; media: their owners' (YouTube)"


def _examples(folder: Folder, variant: str) -> Iterator[Example]:
  captions: dict[str, dict[str, None]] = {}
  (path, *_) = folder.annotations("AllVideoDescriptions.txt")
  for line in lines(path):
    clip, _, text = line.partition(" ")
    if text and not clip.startswith("#"):
      captions.setdefault(clip, {})[" ".join(text.split())] = None
  numbers = _mapping(folder, optional=True)
  for clip, split in _splits(folder).items():
    request = dataclasses.replace(WHOLE, captions=tuple(captions.get(clip, ())), language="en", split=split)
    yield Example((clip, f"vid{numbers[clip]}") if clip in numbers else (clip,), request)


def _splits(folder: Folder) -> dict[str, str]:
  if paths := folder.annotations(*LISTS, optional=True):
    return {clip: LISTS[path.name.lower()] for path in paths for clip in lines(path)}
  name = lambda number: "train" if number <= TRAIN else "validation" if number <= TRAIN + VALIDATION else "test"
  return {clip: name(number) for clip, number in _mapping(folder).items()}


def _mapping(folder: Folder, *, optional: bool = False) -> dict[str, int]:
  """Clip -> its number; a line of the file is `clip vid12`."""
  paths = folder.annotations("youtube_mapping.txt", optional=optional)
  pairs = [line.split() for path in paths[:1] for line in lines(path)]
  return {clip: int(number.removeprefix("vid")) for clip, number in pairs}


def _questions(folder: Folder, variant: str) -> Iterator[Example]:
  clips = {number: clip for clip, number in _mapping(folder, optional=True).items()}
  names = lambda number: (f"vid{number}", clips[number]) if number in clips else (f"vid{number}",)
  return questions.examples(folder, names)


DATASET = PublicDataset(
  examples=_examples,
  layout="AllVideoDescriptions.txt, youtube_mapping.txt (or train_list.txt, val_list.txt and test_list.txt) and videos "
  "called <id>_<start>_<end>.avi",
  licence=LICENCE,
)

QUESTIONS = PublicDataset(
  examples=_questions,
  layout="train_qa.json, val_qa.json, test_qa.json and videos called vid<number>.*, or youtube_mapping.txt and videos "
  "called <id>_<start>_<end>.avi",
  licence=LICENCE,
)
