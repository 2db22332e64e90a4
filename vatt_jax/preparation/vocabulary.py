"""The SentencePiece vocabulary of a data set, trained on its training captions."""

from collections.abc import Collection
import hashlib
import io
import unicodedata

from etils import epath
import sentencepiece

PAD_ID, UNKNOWN_ID, BEGIN_ID, END_ID = 0, 1, 2, 3
MOST_SENTENCES = 2_000_000
MOST_PIECES = 32_000


def choose_size(captions: Collection[str]) -> int:
  """A vocabulary size for an amount of text: a quarter of its different words, at least 256, at most 32,000."""
  words = {word for caption in captions for word in caption.casefold().split()}
  return min(MOST_PIECES, max(256, len(words) // 4))


def train(captions: Collection[str], folder: epath.Path, *, size: int = 0) -> int:
  """Trains a unigram vocabulary and writes `folder`/sentencepiece.model and `folder`/sentencepiece.vocab.

  Text is normalised to NFKC and folded to lower case. Ids: 0 padding, 1 unknown, 2 begin, 3 end. The result depends on
  the *set* of captions only: neither their order nor their number of repetitions matters.

  Args:
    captions: the sentences; one at least.
    folder: created where needed.
    size: number of pieces; 0 chooses by the amount of text. Raised to what the alphabet needs, lowered where the text
      has fewer pieces to offer.

  Returns:
    The number of pieces.
  """
  sentences = sorted({" ".join(caption.split()) for caption in captions})
  alphabet = {letter for sentence in sentences for letter in unicodedata.normalize("NFKC", sentence.casefold())}
  size = max(size or choose_size(sentences), len(alphabet) + 16)
  if len(sentences) > MOST_SENTENCES:
    sentences = sorted(sentences, key=lambda sentence: hashlib.sha256(sentence.encode()).digest())[:MOST_SENTENCES]
  model = _train(sentences, size, "unigram") or _train(sentences, size, "char")
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "sentencepiece.model").write_bytes(model)
  pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
  table = [f"{pieces.id_to_piece(i)}\t{pieces.get_score(i):g}\n" for i in range(pieces.get_piece_size())]
  (folder / "sentencepiece.vocab").write_text("".join(table))
  return pieces.get_piece_size()


def _train(sentences: list[str], size: int, kind: str) -> bytes | None:
  """The serialised model; None where the text is too small for this kind of model."""
  model = io.BytesIO()
  try:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(sentences),
      model_writer=model,
      model_type=kind,
      vocab_size=size,
      hard_vocab_limit=False,
      character_coverage=0.9995 if len(sentences) > 100_000 else 1.0,
      normalization_rule_name="nmt_nfkc_cf",
      pad_id=PAD_ID,
      unk_id=UNKNOWN_ID,
      bos_id=BEGIN_ID,
      eos_id=END_ID,
      max_sentence_length=65_536,
      num_threads=4,  # Fixed: the sums of the EM steps, and so the pieces, depend on it.
      minloglevel=2,
    )
  except RuntimeError:
    return None
  return model.getvalue()
