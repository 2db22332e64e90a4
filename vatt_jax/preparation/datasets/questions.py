"""Question answering on the videos of MSR-VTT and MSVD: three JSON files of one format (Xu et al., 2017)."""

from collections.abc import Callable, Iterator
import dataclasses

from vatt_jax.preparation.clips import Question
from vatt_jax.preparation.datasets.annotations import WHOLE, Example, Folder, read_json

FILES = {"train_qa.json": "train", "val_qa.json": "validation", "test_qa.json": "test"}


def examples(folder: Folder, names: Callable[[int], tuple[str, ...]]) -> Iterator[Example]:
  """One example for each video, with all its questions in the order of the file.

  Args:
    folder: where the files lie.
    names: number of a video -> what its file may be called.
  """
  for path in folder.annotations(*FILES):
    asked: dict[int, list[Question]] = {}
    for item in read_json(path):
      asked.setdefault(int(item["video_id"]), []).append(Question(item["question"], str(item.get("answer", ""))))
    for video, questions in asked.items():
      request = dataclasses.replace(WHOLE, questions=tuple(questions), language="en", split=FILES[path.name.lower()])
      yield Example(names(video), request)
