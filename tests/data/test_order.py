"""The order of examples: a function of (seed, step), visiting everything once an epoch."""

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from vatt_jax.data.order import Interleaving, grouped, plain


def visited(order, steps):
  return np.concatenate([order.batch(step)[1] for step in steps])


def test_an_epoch_visits_every_record_once():
  """10 records in batches of 4: epochs end inside batches, and still each is a permutation."""
  numbers = visited(plain(10, 4, seed=3), range(10)).reshape(4, 10)
  for epoch in numbers:
    assert sorted(epoch) == list(range(10))
  assert len({tuple(epoch) for epoch in numbers}) == 4


def test_epochs_are_told_with_the_numbers():
  order = plain(10, 4, seed=3)
  assert order.batch(2)[0].tolist() == [0, 0, 1, 1]


def test_order_depends_on_the_seed_and_on_nothing_else():
  assert visited(plain(50, 8, 1), range(5)).tolist() == visited(plain(50, 8, 1), range(5)).tolist()
  assert visited(plain(50, 8, 1), range(5)).tolist() != visited(plain(50, 8, 2), range(5)).tolist()


def test_hosts_read_disjoint_rows_of_the_same_batch():
  order = plain(100, 8, 0)
  parts = [order.batch(7, first_row=2 * host, rows=2)[1] for host in range(4)]
  assert np.concatenate(parts).tolist() == order.batch(7)[1].tolist()


def test_groups_do_not_mix_and_small_ones_form_one():
  keys = ["fr"] * 20 + ["el"] * 12 + ["en"] * 3 + ["nl"] * 3
  order = grouped(keys, batch_size=4, seed=0)
  languages = [{keys[i] for i in order.batch(step)[1]} for step in range(30)]
  assert all(names in ({"fr"}, {"el"}, {"en", "nl"}) or names <= {"en", "nl"} for names in languages)
  # One period is 5 batches of French, 3 of Greek, 1 of the rest.
  assert [names for names in languages[:9]].count({"fr"}) == 5
  french = [i for step in range(9) if languages[step] == {"fr"} for i in order.batch(step)[1]]
  assert sorted(french) == list(range(20))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_interleaving_is_never_off_by_more_than_one(weights):
  mix, counts = Interleaving(tuple(weights)), np.zeros(len(weights), int)
  for n in range(2 * sum(weights)):
    source, before = mix(n)
    assert before == counts[source]
    counts[source] += 1
    assert np.all(np.abs(counts - (n + 1) * np.asarray(weights) / sum(weights)) <= 1)


def test_weights_must_be_positive():
  with pytest.raises(ValueError, match="positive"):
    Interleaving((1, 0))
