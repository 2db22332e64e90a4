"""Definitions, from files in WordNet's format."""

import pathlib

import pytest

from vatt_jax.preparation import wordnet

GLOSSES = {
  "goose": 'web-footed bird; likes water; "the goose honked"',
  "fire_engine": "a large truck that carries firemen",
  "box": "a container | with a lid",
}


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  """Three nouns; the first has another sense behind its first."""
  data, places = b"  1 The licence.\n", {}
  for lemma, gloss in GLOSSES.items():
    places[lemma] = len(data)
    data += f"{len(data):08d} 05 n 01 {lemma} 0 000 | {gloss}  \n".encode()
  other = places["box"]
  lines = ["  1 The licence.", f"goose n 2 1 @ 2 1 {places['goose']:08d} {other:08d}"]
  lines += [f"{lemma} n 1 1 @ 1 0 {places[lemma]:08d}" for lemma in ("fire_engine", "box")]
  (tmp_path / "data.noun").write_bytes(data)
  (tmp_path / "index.noun").write_text("\n".join(lines) + "\n")
  (tmp_path / "noun.exc").write_text("geese goose\n")
  return tmp_path


def test_the_first_sense_without_examples(folder):
  found = wordnet.definitions(["goose", "Fire engine", "unicorn"], folder)
  assert found == {"goose": "web-footed bird; likes water", "Fire engine": "a large truck that carries firemen"}


def test_plurals_mean_what_their_singulars_mean(folder):
  found = wordnet.definitions(["geese", "boxes", "fire engines"], folder)
  assert found == {
    "geese": "web-footed bird; likes water",
    "boxes": GLOSSES["box"],
    "fire engines": "a large truck that carries firemen",
  }
