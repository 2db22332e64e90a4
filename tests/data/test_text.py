"""Captions nearest in time, and their ids."""

import numpy as np
import pytest

from vatt_jax.data.text import (
  SentencePiece,
  TextOptions,
  Words,
  encode_captions,
  load_tokenizer,
  nearest_captions,
  save_tokenizer,
)
from vatt_jax.errors import UserError


@pytest.mark.parametrize("centre, expected", [(0.5, [0, 1, 2]), (2.5, [2, 1, 0]), (9.0, [2, 1, 0])])
def test_nearest_captions_come_first(centre, expected):
  starts, ends = np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])
  assert nearest_captions(starts, ends, centre, 3).tolist() == expected


def test_too_few_captions_are_repeated():
  assert nearest_captions(np.array([0.0, 5.0]), np.array([1.0, 6.0]), 0.0, 5).tolist() == [0, 1, 0, 1, 0]


class Letters:
  vocabulary_size = 27

  def encode(self, text):
    return [ord(c) - 96 for c in text]


def test_ids_are_cut_and_padded_with_zero():
  ids, mask = encode_captions(["abc", "ABCDEFG"], Letters(), TextOptions(length=5, candidates=2))
  assert ids.tolist() == [[1, 2, 3, 0, 0], [1, 2, 3, 4, 5]]
  assert mask.tolist() == [[True] * 3 + [False] * 2, [True] * 5]


def test_the_vocabulary_of_a_prepared_data_set(miniature):
  tokenizer = SentencePiece(f"{miniature}/tokenizer/sentencepiece.model")
  ids = tokenizer.encode("a red square")
  assert ids and 0 not in ids and max(ids) < tokenizer.vocabulary_size


def test_missing_vocabulary_says_why(tmp_path):
  with pytest.raises(UserError, match="without captions"):
    SentencePiece(str(tmp_path / "none.model"))


def test_word_lists_as_in_vatt(tmp_path):
  path = tmp_path / "words.txt"
  path.write_text("<pad>\n<bos>\n<eos>\n<unk>\nyou\ndont\n")
  tokenizer = Words(str(path))
  assert tokenizer.encode("You, don't  say!") == [4, 5, 3] and tokenizer.vocabulary_size == 6
  save_tokenizer(tokenizer, str(tmp_path / "run"))
  assert load_tokenizer(tmp_path / "none", tmp_path / "run").encode("you") == [4]
  path.write_text("you\n<pad>\n")
  with pytest.raises(UserError, match="first line must be <pad>"):
    Words(str(path))
