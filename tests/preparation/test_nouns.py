"""Nouns of captions, by a tagger of one's own and by HanTa."""

import sys

import pytest

from vatt_jax.errors import UserError
from vatt_jax.preparation import nouns


def test_a_noun_counts_once_a_caption():
  tagger = lambda words: ["NN1" if word[0] in "cCd" else "XX0" for word in words]
  assert nouns.count(["Cat sees cat, dog.", "a cat", "c", ""], tagger) == {"cat": 2, "dog": 1}


def test_hanta_knows_nouns_from_what_is_done_and_who_does_it():
  captions = [
    "Young girl performs a trick on her skateboard",
    "Two dogs run through the water at London Bridge.",
    "Close-up of hands typing on a laptop",
  ]
  found = nouns.count(captions)
  assert {"girl", "trick", "skateboard", "dogs", "water", "hands", "laptop"} <= set(found)
  assert not {"young", "performs", "run", "two", "london"} & set(found)


def test_without_it_the_way_out_is_told(monkeypatch):
  monkeypatch.setitem(sys.modules, "HanTa", None)
  nouns.english_tagger.cache_clear()
  with pytest.raises(UserError, match="pip install -r launch/nouns-requirements.txt"):
    nouns.count(["a cat"])
