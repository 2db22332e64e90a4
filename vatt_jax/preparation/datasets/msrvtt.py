"""MSR-VTT: 10,000 web videos with 20 captions each (Xu et al., 2016), and questions about them.

Retrieval is measured on 1,000 test videos with one caption each ("1k-A", Yu et al., 2018), after training on the 9,000
others or on the 7,010 videos of the official training and validation splits.
"""

from collections.abc import Iterator
import dataclasses

from vatt_jax.preparation.datasets import questions
from vatt_jax.preparation.datasets.annotations import WHOLE, Example, Folder, PublicDataset, read_json, table
from vatt_jax.preparation.splits import ALIASES

DATA = ("MSRVTT_data.json", "*videodatainfo*.json")
LICENCE = "no licence stated; media: their owners' (YouTube)"


def _examples(folder: Folder, variant: str) -> Iterator[Example]:
  splits: dict[str, str] = {}
  captions: dict[str, list[str]] = {}
  for path in folder.annotations(*DATA):
    content = read_json(path)
    splits.update({video["video_id"]: ALIASES[video["split"]] for video in content["videos"]})
    for sentence in content["sentences"]:
      captions.setdefault(sentence["video_id"], []).append(" ".join(sentence["caption"].split()))
  if variant != "full":
    (path, *_) = folder.annotations("MSRVTT_JSFUSION_test.csv")
    queries = {row["video_id"]: row["sentence"] for row in table(path, "video_id", "sentence")}
    train = [video for video, split in splits.items() if variant == "9k" or split in ("train", "validation")]
    splits = dict.fromkeys(train, "train") | dict.fromkeys(queries, "test")
    captions |= {video: [query] for video, query in queries.items()}
  for video, split in splits.items():
    texts = tuple(dict.fromkeys(captions.get(video, ())))
    yield Example((video,), dataclasses.replace(WHOLE, captions=texts, language="en", split=split))


DATASET = PublicDataset(
  examples=_examples,
  layout="MSRVTT_data.json (or train_val_videodatainfo.json and test_videodatainfo.json), MSRVTT_JSFUSION_test.csv "
  "and videos called video<number>.mp4",
  licence=LICENCE,
  variants=("9k", "7k", "full"),
)

QUESTIONS = PublicDataset(
  examples=lambda folder, variant: questions.examples(folder, lambda number: (f"video{number}",)),
  layout="train_qa.json, val_qa.json, test_qa.json and videos called video<number>.mp4",
  licence=LICENCE,
)
