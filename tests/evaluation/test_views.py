"""Views of records in several processes: each decodes its own rows."""

import numpy as np

from configs.pretrain import vatt
from vatt_jax import jobs
from vatt_jax.data import records as records_lib, text
from vatt_jax.evaluation.views import Setting, Views


class Watched(records_lib.Records):
  """Records that remember which of them were read; number 3 is broken."""

  def __init__(self, *args):
    super().__init__(*args)
    self.seen = set()

  def __getitem__(self, number):
    self.seen.add(int(number))
    return b"\xff\xff broken" if number == 3 else super().__getitem__(number)


def batches(miniature, part):
  """What a process sees whose `gather` brings nothing, as if it was alone."""
  records = Watched(miniature, "train")
  options = jobs.input_options(vatt.get_config("bbs,smoke").data)
  setting = Setting(None, {}, miniature, options, text.load_tokenizer(miniature), part=part)
  views = Views(records, setting, 8)
  return list(views), records, views


def test_each_process_decodes_its_own_rows(miniature):
  """Together they have what one process has."""
  whole, records, views = batches(miniature, (0, 1))
  halves = [batches(miniature, (host, 2)) for host in range(2)]
  assert views.broken == {3} and [half[2].broken for half in halves] == [{3}, set()]
  for i, (rows, batch) in enumerate(whole):
    parts = [half[0][i] for half in halves]
    for (half_rows, half), own in zip(parts, (slice(4), slice(4, 8))):
      np.testing.assert_array_equal(half_rows, rows)
      assert {name: value.shape for name, value in half.items()} == {name: v.shape for name, v in batch.items()}
      for name, value in half.items():
        np.testing.assert_array_equal(value[own], batch[name][own])
        assert not np.delete(value, np.arange(8)[own], axis=0).any()
  first, second = (half[1].seen for half in halves)
  assert first | second == records.seen == set(range(len(records)))
  own = [n for n in range(len(records)) if n % 8 < 4]
  assert set(own) <= first <= {*own, 4}  # One that stands in for the broken one.


def test_what_is_small_is_gathered(miniature):
  """And nothing else."""
  asked = []
  options = jobs.input_options(vatt.get_config("bbs,smoke").data)
  setting = Setting(
    None, {}, miniature, options, text.load_tokenizer(miniature), part=(1, 2),
    gather=lambda batch: asked.append(set(batch)) or {name: np.full_like(value, 7) for name, value in batch.items()},
  )  # fmt: skip
  (_, batch), *_ = Views(records_lib.Records(miniature, "validation"), setting, 8)
  assert asked[0] == {"video/present", "audio/present", "text/ids", "text/mask", "text/present"}
  assert (batch["text/ids"] == 7).all() and batch["video/patches"].any()
