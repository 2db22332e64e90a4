"""What captions are about: their nouns, counted (ALPRO section 3.4: the entities are the most frequent ones).

The tagger is HanTa, the Hannover Tagger: one package of 14 MB that brings its English model along, needs nothing but
NumPy, no download of its own, and a millisecond a caption. Of those that work without a network it was the one that told
"Young girl" and "typing" from nouns (others: TextBlob's lexicon; NLTK, spaCy, Stanza and Flair fetch their models).
"""

from collections import Counter
from collections.abc import Callable, Iterable
import functools
import re

from vatt_jax.errors import UserError

REQUIREMENTS = "launch/nouns-requirements.txt"
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|[^\w\s]")
Tagger = Callable[[list[str]], list[str]]


def count(captions: Iterable[str], tagger: Tagger | None = None) -> Counter[str]:
  """Noun -> in how many captions it stands; lower-cased as written, so that "hand" and "hands" are two, as in ALPRO's list.

  Names (of people, places, brands) and single letters are left out.

  Args:
    tagger: words of a sentence -> their tags, of which those with NN are common nouns; None: HanTa.

  Raises:
    UserError: where HanTa is wanted and not installed.
  """
  tagger = tagger or english_tagger()
  counts = Counter()
  for caption in captions:
    counts.update(of_caption(caption, tagger))
  return counts


def of_caption(caption: str, tagger: Tagger) -> set[str]:
  """The nouns of one caption, as `count` counts them."""
  words = _WORD.findall(caption)
  tags = tagger(words) if words else []
  return {word.lower() for word, tag in zip(words, tags) if tag.startswith("NN") and len(word) > 1}


@functools.cache
def english_tagger() -> Tagger:
  """HanTa with its English model.

  Raises:
    UserError: where it is not installed.
  """
  try:
    from HanTa import HanoverTagger
  except ImportError as error:
    raise UserError(
      f"nouns are found by the tagger HanTa, which is not installed: pip install -r {REQUIREMENTS} (or pip install "
      "HanTa==1.2.1). A list of your own, one entity a line, does without."
    ) from error
  tagger = HanoverTagger.HanoverTagger("morphmodel_en.pgz")
  return lambda words: [tag for _, _, tag in tagger.tag_sent(words)]
