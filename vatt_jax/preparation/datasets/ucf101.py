"""UCF101: 101 human actions in videos from YouTube, three splits (Soomro et al., 2012)."""

from collections.abc import Iterator
import dataclasses

from vatt_jax.preparation.datasets.annotations import WHOLE, Example, Folder, PublicDataset, lines


def _examples(folder: Folder, variant: str) -> Iterator[Example]:
  number = variant.removeprefix("split")
  for split in ("train", "test"):
    for path in folder.annotations(f"{split}list{number:0>2}.txt"):
      for line in lines(path):
        name = line.split()[0]  # In the training lists the class index follows.
        yield Example(names=(name,), request=dataclasses.replace(WHOLE, label=name.split("/")[0], split=split))


def _labels(folder: Folder) -> list[str]:
  (path, *_) = folder.annotations("classInd.txt")
  pairs = [line.split() for line in lines(path)]
  return [name for _, name in sorted(pairs, key=lambda pair: int(pair[0]))]


DATASET = PublicDataset(
  examples=_examples,
  layout="classInd.txt, trainlist01.txt, testlist01.txt (to 03) and videos called v_<class>_g01_c01.avi",
  licence="no licence stated; media: their owners' (YouTube)",
  variants=("split1", "split2", "split3"),
  labels=_labels,
)
