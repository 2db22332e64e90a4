from etils import epath
import pytest
import sentencepiece

from vatt_jax.preparation import vocabulary

SENTENCES = [
  f"A {animal} {verb} {place}."
  for animal in ("dog", "cat", "bird", "horse")
  for verb in ("barks", "sings", "sleeps", "runs")
  for place in ("at night", "in the garden", "under a tree")
]


def test_reserved_ids_and_round_trip(tmp_path):
  size = vocabulary.train(SENTENCES, epath.Path(tmp_path), size=64)
  pieces = sentencepiece.SentencePieceProcessor(str(tmp_path / "sentencepiece.model"))
  assert (pieces.pad_id(), pieces.unk_id(), pieces.bos_id(), pieces.eos_id()) == (0, 1, 2, 3)
  assert pieces.get_piece_size() == size <= 64
  assert len((tmp_path / "sentencepiece.vocab").read_text().splitlines()) == size
  assert pieces.decode(pieces.encode("A DOG sings at night.")) == "a dog sings at night."


def test_only_the_set_of_captions_matters(tmp_path):
  for name, captions in (("a", SENTENCES), ("b", [*reversed(SENTENCES), *SENTENCES[:5]])):
    vocabulary.train(captions, epath.Path(tmp_path / name), size=64)
  assert (tmp_path / "a/sentencepiece.model").read_bytes() == (tmp_path / "b/sentencepiece.model").read_bytes()


@pytest.mark.parametrize("captions", [["a"], ["."], ["the cat"], ["a dog", "собака", "犬が吠える"], ["ﬃ Ω ½"]])
def test_tiny_texts_have_a_vocabulary_too(tmp_path, captions):
  assert vocabulary.train(captions, epath.Path(tmp_path), size=5) > 4
  pieces = sentencepiece.SentencePieceProcessor(str(tmp_path / "sentencepiece.model"))
  assert pieces.unk_id() not in pieces.encode(captions[0])


def test_size_follows_the_amount_of_text():
  assert vocabulary.choose_size(["a few words"]) == 256
  assert vocabulary.choose_size([f"word{i}" for i in range(4000)]) == 1000
  assert vocabulary.choose_size([f"word{i}" for i in range(1_000_000)]) == 32_000
