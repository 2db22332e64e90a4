"""Whether a teacher is right, where that can be counted by hand."""

import math

import numpy as np
import pytest

from vatt_jax.evaluation import entities
from vatt_jax.evaluation.report import prompted
from vatt_jax.evaluation.retrieval import NothingToCompare


def test_entities_are_whole_words_of_captions():
  found = entities.mentioned(["A fire engine, red.", "Redcurrants", "CATS and cat"], ["red", "fire engine", "cat"])
  assert found.tolist() == [[True, True, False], [False, False, False], [False, False, True]]


def test_what_stands_out_is_counted():
  """A bright square of two patches on grey; half of it lies in the rectangle."""
  frame = np.full([4, 4, 12], 120, np.uint8)
  frame[1, 1:3] = 250
  patches = np.tile(frame.reshape(1, 16, 12), (1, 2, 1))
  thing = entities.things(patches, (2, 4, 4))
  assert thing.reshape(4, 4).nonzero()[0].tolist() == [1, 1] and thing.sum() == 2
  inside = np.zeros([1, 16], bool)
  inside[0, [0, 5]] = True
  assert entities.covered(thing, inside) == 0.5
  assert entities.covered(np.zeros([1, 16]), inside) == 2 / 16  # Nothing stands out: the area.


def test_right_answers_are_counted_by_how_much_is_covered():
  rng = np.random.default_rng(0)
  n, total = 60, 12
  rectangle, picture = rng.dirichlet(np.ones(total), n), rng.dirichlet(np.ones(total), n)
  share, right = rng.uniform(size=n), rng.uniform(size=(n, total)) < 0.2
  found = entities.measure(rectangle, picture, share, right, 0.3)
  asked = [i for i in range(n) if right[i].any()]
  hit = lambda values, i, k: any(right[i][j] for j in sorted(range(total), key=lambda j: -values[i][j])[:k])
  mean = lambda values: sum(values) / len(values)
  for k in (1, 5):
    assert found[f"top_{k}"] == pytest.approx(mean([hit(rectangle, i, k) for i in asked]))
    assert found[f"picture/top_{k}"] == pytest.approx(mean([hit(picture, i, k) for i in asked]))
    misses = [math.prod((total - right[i].sum() - j) / (total - j) for j in range(k)) for i in asked]
    assert found[f"chance/top_{k}"] == pytest.approx(1 - mean(misses))
    assert found[f"frequent/top_{k}"] == pytest.approx(mean([right[i][:k].any() for i in asked]))
    named = [[i for i in asked if right[i][j]] for j in range(total)]
    top = [sorted(range(total), key=lambda j, i=i: -rectangle[i][j])[:k] for i in range(n)]
    each = [mean([j in top[i] for i in rows]) for j, rows in enumerate(named) if rows]
    assert found[f"balanced/top_{k}"] == pytest.approx(mean(each))
    well = [i for i in asked if 0.75 <= share[i]]
    assert found[f"covers_75_100/top_{k}"] == pytest.approx(mean([hit(rectangle, i, k) for i in well]))
  assert found["dropped/paper"] == mean([max(row) < 0.3 for row in rectangle])
  assert found["dropped/official"] == mean([row[0] == max(row) for row in rectangle])
  with pytest.raises(NothingToCompare):
    entities.measure(rectangle, picture, share, np.zeros_like(right), 0.3)
  shown = prompted.Example(
      b"", "<b>a cat", "a dog", [("cat", 0.5)], [("dog", 0.4)], 0.9, 0.1, [(" a", ""), (" cat", " cat"), (" x", " y")],
  )  # fmt: skip
  html = prompted.body([shown], found)
  assert "&lt;b&gt;a cat" in html and "75 to 100 %" in html and "own caption 0.90" in html and "cat ✓" in html
