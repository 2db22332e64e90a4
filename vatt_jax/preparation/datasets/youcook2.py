"""YouCook2: cooking videos from YouTube, each step with its times and a sentence (Zhou et al., 2018).

The sentences of the official test split are not published: what papers test with is the validation split.
"""

from collections.abc import Iterator

from vatt_jax.preparation.datasets.annotations import Example, Folder, PublicDataset, read_json
from vatt_jax.preparation.requests import Request
from vatt_jax.preparation.splits import ALIASES


def _examples(folder: Folder, variant: str) -> Iterator[Example]:
  (path, *_) = folder.annotations("youcookii_annotations_trainval.json", "youcookii_annotations*.json")
  for video, about in read_json(path)["database"].items():
    for step in about.get("annotations", ()):
      if sentence := " ".join(step.get("sentence", "").split()):
        start, end = map(float, step["segment"])
        yield Example((video,), Request(start, end, (sentence,), language="en", split=ALIASES[about["subset"]]))


DATASET = PublicDataset(
  examples=_examples,
  layout="youcookii_annotations_trainval.json and videos called <video id>.*",
  licence="annotations: published for research; media: their owners' (YouTube)",
)
