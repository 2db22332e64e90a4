"""Captions of a clip: which ones, and their ids."""

import dataclasses
from typing import Protocol

from etils import epath
import numpy as np
import sentencepiece

from vatt_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class TextOptions:
  """What the model reads.

  Attributes:
    length: L, tokens per caption; longer ones are cut, shorter ones padded with 0.
    candidates: K captions nearest in time, all positives of the clip (VATT: 5).
    lower_case: whether captions are lower-cased first.
  """

  length: int = 16
  candidates: int = 1
  lower_case: bool = True


class Tokenizer(Protocol):
  """Strings to ids; 0 is padding."""

  vocabulary_size: int

  def encode(self, text: str) -> list[int]:
    """Ids of one string, without padding."""


class SentencePiece:
  """The vocabulary that `prepare` trains: a SentencePiece model file with 0 = padding, 1 = unknown.

  Raises:
    UserError: when the file does not exist.
  """

  def __init__(self, path: str):
    if not epath.Path(path).exists():
      raise UserError(f"there is no vocabulary at {path}: the data set was prepared without captions.")
    self.model = epath.Path(path).read_bytes()
    self._processor = sentencepiece.SentencePieceProcessor(model_proto=self.model)
    self.vocabulary_size = self._processor.vocab_size()

  def encode(self, text: str) -> list[int]:
    return self._processor.encode(text)


def nearest_captions(starts: np.ndarray, ends: np.ndarray, centre: float, count: int) -> np.ndarray:
  """Numbers of the `count` captions nearest in time to `centre`, nearest first; repeated when there are fewer.

  The distance is that of `centre` to the caption's interval, ties go to the one whose middle is nearer.
  """
  gap = np.maximum(np.maximum(starts - centre, centre - ends), 0.0)
  middle = np.abs((starts + ends) / 2 - centre)
  order = np.lexsort((np.arange(len(starts)), middle, gap))
  return np.resize(order, count)


def encode_captions(texts: list[str], tokenizer: Tokenizer, options: TextOptions) -> tuple[np.ndarray, np.ndarray]:
  """K strings -> ids int32 (K, L) and mask bool (K, L), true where there is a token."""
  ids = np.zeros([options.candidates, options.length], np.int32)
  for row, text in enumerate(texts):
    tokens = tokenizer.encode(text.lower() if options.lower_case else text)[: options.length]
    ids[row, : len(tokens)] = tokens
  return ids, ids != 0
