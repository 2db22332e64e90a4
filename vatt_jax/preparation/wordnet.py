"""What nouns mean: the definition of the first, most frequent, sense in WordNet 3.0.

Source: Debian package `wordnet-base` (WordNet's own free licence), 6 MB, downloaded once into the cache directory; an
installed one is used. The files are read as wndb(5WN) describes them.
"""

from collections.abc import Iterable
import pathlib

from vatt_jax.preparation import debian

PACKAGE = "wordnet-base"
KNOWN_SHA256 = ("61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",)  # 1:3.0-37
# How plurals end, and the singular's ending (morphy(7WN)).
ENDINGS = (
  ("ses", "s"),
  ("xes", "x"),
  ("zes", "z"),
  ("ches", "ch"),
  ("shes", "sh"),
  ("men", "man"),
  ("ies", "y"),
  ("s", ""),
)


def fetch() -> pathlib.Path:
  """The folder of WordNet's files.

  Raises:
    debian.Unavailable: where they are not installed and cannot be downloaded.
  """
  return debian.fetch(
    PACKAGE, "usr/share/wordnet", KNOWN_SHA256, "WordNet", "give definitions of your own, entity<TAB>text a line"
  )


def definitions(nouns: Iterable[str], folder: pathlib.Path) -> dict[str, str]:
  """Noun -> what it means, without examples; nouns that WordNet lacks are left out.

  Args:
    nouns: in lower or upper case, of one or several words; plurals are looked up as they are, then by their singular.
    folder: with `index.noun`, `data.noun` and `noun.exc`.
  """
  irregular = dict(line.split()[:2] for line in _lines(folder / "noun.exc"))
  senses = {}
  for line in _lines(folder / "index.noun"):
    if not line.startswith(" "):  # The licence.
      fields = line.split()
      senses[fields[0]] = int(fields[-int(fields[2])])  # lemma, pos, number of senses, ..., their places in data.noun
  found = {}
  with (folder / "data.noun").open("rb") as file:
    for noun in nouns:
      place = next((senses[form] for form in _forms(noun, irregular) if form in senses), None)
      if place is not None:
        file.seek(place)
        gloss = file.readline().decode("utf-8", "replace").partition("|")[2]
        found[noun] = gloss.partition('; "')[0].strip(" ;\n")
  return found


def _forms(noun: str, irregular: dict[str, str]):
  word = "_".join(noun.lower().split())
  yield word
  if word in irregular:
    yield irregular[word]
  for ending, singular in ENDINGS:
    if word.endswith(ending) and len(word) > len(ending) + 1:
      yield word.removesuffix(ending) + singular


def _lines(path: pathlib.Path):
  with path.open(encoding="utf-8", errors="replace") as file:
    yield from file
