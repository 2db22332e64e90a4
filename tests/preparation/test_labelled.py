"""The small labelled sets: manifests over files of packages, made here of a few files in the packages' formats."""

import csv
import gzip

import numpy as np
from PIL import Image
import pytest

from vatt_jax.preparation import labelled


@pytest.fixture
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("VATT_JAX_CACHE", str(tmp_path))
  return tmp_path


def rows(path):
  with path.open(newline="") as file:
    return list(csv.DictReader(file))


def test_letters_hold_out_whole_languages(cache):
  root = cache / "klettres-data/usr/share/klettres"
  for language in ("da", "nb"):
    (root / language / "alpha").mkdir(parents=True)
    (root / language / "alpha" / "a-0.ogg").write_bytes(b"")
    (root / language / "sounds.xml").write_text(f"""<klettres><language code="{language}"><alphabet>
      <sound name="A" file="{language}/alpha/a-0.ogg" />
      <sound name="B" file="{language}/alpha/missing.ogg" />
      <sound name="Æ" file="{language}/alpha/a-0.ogg" /></alphabet>
      <syllables><sound name="C" file="{language}/alpha/a-0.ogg" /></syllables></language></klettres>""")
  found = [(row["language"], row["label"], row["split"]) for row in rows(labelled.letters())]
  assert found == [("da", "a", "train"), ("nb", "a", "test")]


def test_clothes_are_pictures_with_their_own_splits(cache):
  root = cache / "dataset-fashion-mnist/usr/share/datasets/fashion-mnist"
  root.mkdir(parents=True)
  pictures = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
  idx = lambda array: bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
  for prefix in ("train", "t10k"):
    (root / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pictures)))
    (root / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.array([9, 1], np.uint8))))
  found = rows(labelled.clothes())
  assert [(row["label"], row["split"]) for row in found] == [
    ("ankle boot", "train"), ("trouser", "train"), ("ankle boot", "test"), ("trouser", "test"),
  ]  # fmt: skip
  np.testing.assert_array_equal(np.asarray(Image.open(found[1]["video"])), pictures[1])
