"""Captions of a clip: which ones, and their ids."""

from collections.abc import Sequence
import dataclasses
import string
from typing import Protocol

from etils import epath
import numpy as np
import sentencepiece
import tokenizers

from vatt_jax import storage
from vatt_jax.data import ranges
from vatt_jax.errors import UserError

EXAMPLES = ("clips", "captions", "questions")


@dataclasses.dataclass(frozen=True)
class TextOptions:
  """What the model reads.

  Attributes:
    length: L, tokens per caption; longer ones are cut, shorter ones padded with 0.
    candidates: K captions nearest in time, all positives of the clip (VATT: 5).
    kinds: of captions, such as ("sound", "picture", "both"), of which each clip has K each, one kind after the other; "" is
      captions of any kind. Empty: K captions of any kind.
    lower_case: whether captions are lower-cased first.
    examples: what counts as an example in training: "clips", with the captions nearest in time, "captions", each with its
      clip, or "questions", each with its clip and its answer as the label; those in evaluation too.
    special_tokens: whether captions stand between [CLS] and [SEP], as BERT's do; see `SpecialTokens`.
  """

  length: int = 16
  candidates: int = 1
  kinds: tuple[str, ...] = ()
  lower_case: bool = True
  special_tokens: bool = False
  examples: str = "clips"

  def __post_init__(self):
    ranges.check(self, positive=("length", "candidates"))
    if self.examples not in EXAMPLES:
      raise ValueError(f"examples {self.examples!r} is not one of {', '.join(EXAMPLES)}")
    if len(set(self.kinds)) < len(self.kinds) or isinstance(self.kinds, str):
      raise ValueError(f"kinds {self.kinds!r} are not different words")

  @property
  def rows(self) -> int:
    """Captions of a clip, of all kinds."""
    return self.candidates * max(1, len(self.kinds))


class Tokenizer(Protocol):
  """Strings to ids; 0 is padding.

  Attributes:
    vocabulary_size: V.
    file, content: the name and the bytes of the one file that `load_tokenizer` needs.
    end: id of the token that closes every text, also one that is cut; None where there is none.
  """

  vocabulary_size: int
  end: int | None
  file: str
  content: bytes

  def encode(self, text: str) -> list[int]:
    """Ids of one string, without padding."""

  def pieces(self, ids: list[int]) -> list[str]:
    """What ids stand for, to be read by people."""


class SentencePiece:
  """The vocabulary that `prepare` trains: a SentencePiece model file with 0 = padding, 1 = unknown.

  Raises:
    UserError: when the file does not exist.
  """

  file = "sentencepiece.model"
  end = None

  def __init__(self, path: str):
    if not epath.Path(path).exists():
      raise UserError(f"there is no vocabulary at {path}: the data set was prepared without captions.")
    self.content = epath.Path(path).read_bytes()
    self._processor = sentencepiece.SentencePieceProcessor(model_proto=self.content)
    self.vocabulary_size = self._processor.vocab_size()

  def encode(self, text: str) -> list[int]:
    return self._processor.encode(text)

  def pieces(self, ids: list[int]) -> list[str]:
    return [self._processor.id_to_piece(int(each)).replace("\u2581", " ") for each in ids]


class Words:
  """A word list, one word a line, as VATT's (65,536 words): punctuation deleted, lower case, split at white space.

  The list holds <pad>, which is its first word, <unk>, and as a rule <bos> and <eos>, which are not added to texts.

  Raises:
    UserError: when the file does not exist or is no such list.
  """

  file = "words.txt"
  end = None

  def __init__(self, path: str):
    if not epath.Path(path).exists():
      raise UserError(f"there is no word list at {path}.")
    self.content = epath.Path(path).read_bytes()
    words = [line.strip() for line in self.content.decode("utf-8", "replace").removesuffix("\n").split("\n")]
    self._ids = {word: i for i, word in reversed(list(enumerate(words)))}
    if self._ids.get("<pad>") != 0 or "<unk>" not in self._ids:
      raise UserError(f"{path} is no word list: its first line must be <pad>, and a line must be <unk>.")
    self.vocabulary_size = len(words)

  def encode(self, text: str) -> list[int]:
    words = text.lower().translate(_NO_PUNCTUATION).split()
    return [self._ids.get(word, self._ids["<unk>"]) for word in words]

  def pieces(self, ids: list[int]) -> list[str]:
    names = {number: word for word, number in self._ids.items()}
    return [f" {names[int(each)]}" for each in ids]


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
FOLDER = "tokenizer"  # beside a data set, in a workdir, in a converted directory


class WordPiece:
  """BERT's vocabulary, one piece a line (`vocab.txt`): lower case, accents stripped, between [CLS] and [SEP].

  Raises:
    UserError: when the file does not exist or is no such list.
  """

  file = "vocab.txt"

  def __init__(self, path: str):
    if not epath.Path(path).exists():
      raise UserError(f"there is no vocabulary at {path}.")
    self.content = epath.Path(path).read_bytes()
    pieces = self.content.decode("utf-8", "replace").removesuffix("\n").split("\n")
    ids = {piece.rstrip("\r"): i for i, piece in enumerate(pieces)}
    if ids.get("[PAD]") != 0 or not {"[UNK]", "[CLS]", "[SEP]", "[MASK]"} <= ids.keys():
      raise UserError(
        f"{path} is no WordPiece vocabulary: its first line must be [PAD], and [UNK], [CLS], [SEP], [MASK] must be there."
      )
    self._tokenizer = tokenizers.BertWordPieceTokenizer(ids, lowercase=True)
    self.vocabulary_size, self.end, self.mask_id = len(pieces), ids["[SEP]"], ids["[MASK]"]

  def encode(self, text: str) -> list[int]:
    return self._tokenizer.encode(text).ids

  def pieces(self, ids: list[int]) -> list[str]:
    names = [self._tokenizer.id_to_token(int(each)) for each in ids]
    return [name.removeprefix("##") if name.startswith("##") else f" {name}" for name in names]


class SpecialTokens:
  """Another vocabulary with three more tokens behind its own: [CLS], [SEP], [MASK]."""

  def __init__(self, plain: Tokenizer):
    self._plain, self.file, self.content = plain, plain.file, plain.content
    self._begin, self.end, self.mask_id = range(plain.vocabulary_size, plain.vocabulary_size + 3)
    self.vocabulary_size = plain.vocabulary_size + 3

  def encode(self, text: str) -> list[int]:
    return [self._begin, *self._plain.encode(text), self.end]

  def pieces(self, ids: list[int]) -> list[str]:
    own = {self._begin: " [CLS]", self.end: " [SEP]", self.mask_id: " [MASK]"}
    return [own[int(each)] if int(each) in own else self._plain.pieces([int(each)])[0] for each in ids]


def sentence(ids: np.ndarray, tokenizer: Tokenizer) -> str:
  """Ids (L,) from [CLS] to [SEP], 0 behind it, as people read them, without either."""
  pieces = tokenizer.pieces(ids[ids != 0].tolist())[1:]
  return "".join(pieces).removesuffix(" [SEP]").strip()


def load_tokenizer(*places: str | epath.Path, special_tokens: bool = False) -> Tokenizer | None:
  """The tokenizer of the first of these directories that has one, with special tokens where they are asked for."""
  for place in places:
    for kind in (SentencePiece, Words, WordPiece):
      path = epath.Path(place) / FOLDER / kind.file
      if path.exists():
        found = kind(str(path))
        return SpecialTokens(found) if special_tokens and not isinstance(found, WordPiece) else found
  return None


def save_tokenizer(tokenizer: Tokenizer, place: str) -> None:
  """Writes it into a directory, where `load_tokenizer` finds it; one that is there stays."""
  path = epath.Path(place) / FOLDER / tokenizer.file
  if not path.exists():
    path.parent.mkdir(parents=True, exist_ok=True)
    storage.write(path, tokenizer.content)


def nearest_of_kinds(
  starts: np.ndarray, ends: np.ndarray, kinds: Sequence[str], centre: float, options: TextOptions
) -> list[np.ndarray]:
  """For each kind that is asked for, the numbers of its `nearest_captions`; none where a clip has no such caption."""
  chosen = []
  for wanted in options.kinds or ("",):
    own = np.array([i for i in range(len(starts)) if not wanted or (i < len(kinds) and kinds[i] == wanted)], int)
    chosen.append(own[nearest_captions(starts[own], ends[own], centre, options.candidates)] if len(own) else own)
  return chosen


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
    tokens = tokenizer.encode(text.lower() if options.lower_case else text)
    if len(tokens) > options.length:
      tokens = tokens[: options.length]
      tokens[-1] = tokens[-1] if tokenizer.end is None else tokenizer.end
    ids[row, : len(tokens)] = tokens
  return ids, ids != 0
