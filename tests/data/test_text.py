"""Captions nearest in time, and their ids."""

import numpy as np
import pytest

from vatt_jax.data.text import (
  SentencePiece,
  TextOptions,
  WordPiece,
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
  end = None
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


PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cafe", "##s", "cat", "."]


def test_wordpiece(tmp_path):
  path = tmp_path / "tokenizer" / "vocab.txt"
  path.parent.mkdir()
  path.write_text("\n".join(PIECES) + "\n")
  tokenizer = load_tokenizer(tmp_path, special_tokens=True)
  assert tokenizer.encode("A Cafés cat.") == [2, 5, 6, 7, 8, 9, 3] and tokenizer.mask_id == 4
  options = TextOptions(length=5, lower_case=False)
  ids, mask = encode_captions(["A cafes cat."], tokenizer, options)
  assert ids.tolist() == [[2, 5, 6, 7, 3]] and mask.all()  # A text that is cut is closed all the same.
  path.write_text("a\nb\n")
  with pytest.raises(UserError, match="no WordPiece vocabulary: its first line must be"):
    WordPiece(str(path))


def test_special_tokens_for_any_vocabulary(tmp_path):
  path = tmp_path / "tokenizer" / "words.txt"
  path.parent.mkdir()
  path.write_text("<pad>\n<unk>\ndog\nbarks\n")
  tokenizer = load_tokenizer(tmp_path, special_tokens=True)
  assert tokenizer.encode("dog barks") == [4, 2, 3, 5]
  assert (tokenizer.vocabulary_size, tokenizer.mask_id) == (7, 6) and tokenizer.content == path.read_bytes()
