"""DiDeMo: Flickr videos with descriptions of their moments (Hendricks et al., 2017), for paragraph retrieval.

All descriptions of a video, in the order of the file, are one caption. The annotators saw the first thirty seconds.
"""

from collections.abc import Iterator
import re

from vatt_jax.preparation.datasets.annotations import Example, Folder, PublicDataset, lines, read_json
from vatt_jax.preparation.requests import Request

FILES = {"train_data.json": "train", "val_data.json": "validation", "test_data.json": "test"}
SECONDS = 30.0


def _examples(folder: Folder, variant: str) -> Iterator[Example]:
  hashes = _by_photo(folder, "yfcc100m_hash.txt")
  licences = _by_photo(folder, "video_licenses.txt")
  for path in folder.annotations(*FILES):
    sentences: dict[str, list[str]] = {}
    for item in read_json(path):
      sentences.setdefault(item["video"], []).append(" ".join(item["description"].split()))
    for video, texts in sentences.items():
      photo = (video.split("_") + [""])[1]  # owner_photo_secret.ending
      licence = f"annotations: BSD 2-clause; media: {licences[photo]}" if photo in licences else ""
      request = Request(
        0.0, SECONDS, (" ".join(texts),), language="en", split=FILES[path.name.lower()], licence=licence
      )
      yield Example((video, *([hashes[photo]] if photo in hashes else [])), request)


def _by_photo(folder: Folder, name: str) -> dict[str, str]:
  """The last column by the first, where the file is there."""
  paths = folder.annotations(name, optional=True)
  rows = [re.split(r"\t+", line) for path in paths[:1] for line in lines(path)]
  return {row[0]: row[-1] for row in rows}


DATASET = PublicDataset(
  examples=_examples,
  layout="train_data.json, val_data.json, test_data.json and videos called as in their field `video` (any ending) or, "
  "beside yfcc100m_hash.txt, by their hash",
  licence="annotations: BSD 2-clause; media: Creative Commons, by video (Flickr)",
)
