"""Conceptual Captions: images with cleaned alt-text, as videos that stand still (Sharma et al., 2018).

An image becomes a clip of one frame; who needs more frames sees it again and again.
"""

from collections.abc import Iterator
import dataclasses
import zlib

from vatt_jax.preparation.datasets.annotations import WHOLE, Example, Folder, PublicDataset, table


def _examples(folder: Folder, variant: str) -> Iterator[Example]:
  for path in folder.annotations("train*.tsv", "val*.tsv", "cc3m*.tsv"):
    split = "validation" if "val" in path.name.lower() else "train"
    rows = table(path, columns=("caption", "url"), delimiter="\t")
    rows = (row for row in rows if row["url"] != "url")  # img2dataset wants a header, so some files have one.
    for number, row in enumerate(rows):
      yield Example(
        # A checksum of the address, as most download scripts do it, or the number of the row, as img2dataset does.
        names=(str(zlib.crc32(row["url"].encode())), f"{number:09d}"),
        request=dataclasses.replace(WHOLE, captions=(row["caption"],), language="en", split=split),
        within=("val",) if split == "validation" else ("train",),
      )


DATASET = PublicDataset(
  examples=_examples,
  layout="Train_GCC-training.tsv, Validation_GCC-1.1.0-Validation.tsv and the images, in folders called training and "
  "validation, under the CRC-32 of their address or the nine-digit number of their row (img2dataset)",
  licence="annotations: free for any purpose, thanks to Google LLC; media: their owners'",
)
