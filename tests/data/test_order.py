"""The order of examples: a function of (seed, step), visiting everything once an epoch."""

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from vatt_jax.data.order import Interleaving, grouped, mixture, plain


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


SETS = (range(0, 50), range(50, 70), range(70, 170))


@pytest.mark.parametrize("mixed", [True, False])
def test_a_mixture_follows_its_weights(mixed):
  """Never off by more than one example, or one batch, of each set; each set has epochs of its own."""
  order = mixture(SETS, (2, 1, 1), batch_size=8, seed=3, mixed=mixed)
  counts, visits = np.zeros(3), [[], [], []]
  for step in range(100):
    epochs, numbers = order.batch(step)
    sets = np.digitize(numbers, [50, 70])
    for epoch, number, which in zip(epochs, numbers, sets):
      visits[which].append((int(epoch), int(number)))
    counts += np.bincount(sets, minlength=3)
    assert np.abs(counts - (step + 1) * 8 * np.array([0.5, 0.25, 0.25])).max() <= (1 if mixed else 8)
    assert mixed or len(set(sets)) == 1
  for own, found in zip(SETS, visits):
    for epoch in range(len(found) // len(own)):
      assert sorted(n for e, n in found if e == epoch) == list(own)
    assert [epoch for epoch, _ in found] == [i // len(own) for i in range(len(found))]


@pytest.mark.parametrize("mixed", [True, False])
def test_hosts_share_the_batches_of_a_mixture(mixed):
  order = mixture(SETS, (3, 1, 2), batch_size=12, seed=1, mixed=mixed)
  for step in (0, 7, 10**6):
    for hosts in (1, 2, 4):
      rows = 12 // hosts
      parts = [order.batch(step, host * rows, rows) for host in range(hosts)]
      for whole, found in zip(order.batch(step), zip(*parts)):
        np.testing.assert_array_equal(np.concatenate(found), whole)
