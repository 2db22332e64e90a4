"""WebVid-2M and WebVid-10M: stock videos with alt-text captions (Bain et al., 2021)."""

from collections.abc import Iterator
import dataclasses

from vatt_jax.preparation.datasets.annotations import WHOLE, Example, Folder, PublicDataset, table


def _examples(folder: Folder, variant: str) -> Iterator[Example]:
  for path in folder.annotations("*.csv", columns=("videoid", "name")):
    held_out = "val" in path.name.lower() or "val" in path.parent.relative_to(folder.root).parts
    for row in table(path, "videoid", "name"):
      yield Example(
        names=(f"{row.get('page_dir', '')}/{row['videoid']}",),
        request=dataclasses.replace(
          WHOLE, captions=(" ".join(row["name"].split()),), language="en", split="validation" if held_out else "train"
        ),
      )


DATASET = PublicDataset(
  examples=_examples,
  layout="results_2M_train.csv, results_2M_val.csv (or those of 10M) and videos called <page_dir>/<videoid>.mp4",
  licence="annotations: WebVid terms, non-commercial research; media: their owners'",
)
