"""Which clip is for training, which for validation, which for test; and what a held-out clip may say."""

from collections.abc import Iterable
import dataclasses
import hashlib

from vatt_jax.preparation.clips import SPLITS, Clip

VALIDATION_SHARE, TEST_SHARE = 0.1, 0.1
FEWEST_SOURCES = 10  # Fewer files than this all train: a held-out set of one file measures nothing.
ALIASES = {
  "train": "train",
  "training": "train",
  "validation": "validation",
  "valid": "validation",
  "val": "validation",
  "validate": "validation",
  "dev": "validation",
  "test": "test",
  "testing": "test",
}


def normal(caption: str) -> str:
  """A caption as it is compared: without case and spacing."""
  return " ".join(caption.casefold().split())


class Splits:
  """Assigns splits: what a clip says itself wins; otherwise all clips of a source file go where its name's hash says.

  Fewer than `FEWEST_SOURCES` undecided files all train. A clip without a split of its own follows another clip of the
  same file that has one.
  """

  def __init__(self, clips: Iterable[Clip]):
    """Looks at all clips once."""
    self._of_source: dict[str, str] = {}
    for clip in clips:
      self._of_source[clip.source] = self._of_source.get(clip.source) or clip.split
    undecided = sorted(source for source, split in self._of_source.items() if not split)
    decided = {split for split in self._of_source.values() if split}
    if len(undecided) < FEWEST_SOURCES:
      self._of_source.update(dict.fromkeys(undecided, "train"))
      return
    self._of_source.update({source: _by_hash(source) for source in undecided})
    if "train" not in decided and all(self._of_source[source] != "train" for source in undecided):
      self._of_source[min(undecided, key=_fraction)] = "train"

  def of(self, clip: Clip) -> str:
    return clip.split or self._of_source[clip.source]


def hold_out(clip: Clip, split: str, training_captions: set[str]) -> Clip:
  """The clip in its split; outside training without the captions whose `normal` form is in `training_captions`.

  The clip's own captions start with it, at 0.0; neighbouring subtitles do not, and don't stand alone.
  """
  assert split in SPLITS, split
  captions = clip.captions
  if split != "train":
    captions = tuple(caption for caption in captions if normal(caption.text) not in training_captions)
    if not any(caption.start == 0.0 for caption in captions):
      captions = ()  # Only the neighbours' are left, and they say what is right for other clips.
  return dataclasses.replace(clip, split=split, captions=captions)


def _fraction(source: str) -> float:
  return int.from_bytes(hashlib.sha256(source.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64


def _by_hash(source: str) -> str:
  fraction = _fraction(source)
  if fraction < TEST_SHARE:
    return "test"
  return "validation" if fraction < TEST_SHARE + VALIDATION_SHARE else "train"
