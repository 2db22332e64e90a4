"""Small real sets with labels, to see what a pretrained encoder is worth: spoken letters, and pictures of clothes.

Both are manifests over files of a Debian package, written into the cache; from there on they are prepared as any
manifest is.
"""

import csv
import gzip
import math
import pathlib
import string
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from vatt_jax.cache import cache_directory
from vatt_jax.preparation import debian

# Each language of the test split has a relative among those of the training split.
TEST_LANGUAGES = ("en_GB", "nb", "nds", "pt_BR")
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
PICTURES = {"train": 6_000, "test": 2_000}  # the first of each split


def letters() -> pathlib.Path:
  """The manifest of spoken letters, a to z in languages of Latin script, whole languages held out for testing.

  Source: KLettres, Debian package `klettres-data` (GPL-2+), 39 MB; one reader for most languages, real voices.

  Raises:
    debian.Unavailable: the package cannot be had.
  """
  known = ("1186d257a19e84230856baea0b0b1ded8be9195080fcdb2588970b5cd937f5a8",)  # 4:22.12.3-1
  root = debian.fetch("klettres-data", "usr/share/klettres", known)
  rows = []
  for description in sorted(root.glob("*/sounds.xml")):
    language = description.parent.name
    found = {
      sound.get("name", "").lower(): sound.get("file", "")
      for sound in ElementTree.parse(description).iterfind(".//alphabet/sound")
    }
    split = "test" if language in TEST_LANGUAGES else "train"
    rows += [
      {"audio": root / file, "label": name, "language": language, "split": split, "licence": "GPL-2+ (KLettres)"}
      for name, file in found.items()
      if name in set(string.ascii_lowercase) and (root / file).is_file()
    ]
  return _write("letters", rows)


def clothes() -> pathlib.Path:
  """The manifest of a part of Fashion-MNIST: pictures of 28 x 28 pixels, ten classes, its own splits.

  Source: Xiao et al., 2017; Debian package `dataset-fashion-mnist` (MIT), 31 MB.

  Raises:
    debian.Unavailable: the package cannot be had.
  """
  known = ("39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",)  # 0.0~git20200523.55506a9-1
  root = debian.fetch("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist", known)
  rows = []
  for split, prefix in (("train", "train"), ("test", "t10k")):
    pictures = _read_idx(root / f"{prefix}-images-idx3-ubyte.gz")[: PICTURES[split]]
    labels = _read_idx(root / f"{prefix}-labels-idx1-ubyte.gz")
    folder = cache_directory() / "clothes" / split
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures):
      path = folder / f"{i:05d}.png"
      if not path.is_file():
        Image.fromarray(picture).save(path)
      rows.append({"video": path, "label": CLOTHES[labels[i]], "split": split, "licence": "MIT (Fashion-MNIST)"})
  return _write("clothes", rows)


def _read_idx(path: pathlib.Path) -> np.ndarray:
  """uint8 array of an IDX file: two zeros, the type (8), the number of axes, their big-endian lengths, the values."""
  content = gzip.decompress(path.read_bytes())
  shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
  return np.frombuffer(content, np.uint8, count=math.prod(map(int, shape)), offset=4 + 4 * content[3]).reshape(shape)


def _write(name: str, rows: list[dict]) -> pathlib.Path:
  path = cache_directory() / f"{name}.csv"
  with path.open("w", newline="") as file:
    table = csv.DictWriter(file, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
  return path


MANIFESTS = {"letters": letters, "clothes": clothes}
