"""Batches: the contract of keys and shapes, order as a function of the step, and broken records."""

import numpy as np
import pytest

from vatt_jax.data import audio, order as order_lib, pipeline, records as records_lib, text, video
from vatt_jax.errors import UserError

OPTIONS = pipeline.InputOptions(
  video.VideoOptions(frames=4, frames_per_second=10.0, size=32, patch=(2, 16, 16), drop_rate=0.5, colour_jitter=0.8),
  audio.AudioOptions(samples=3_200, sample_rate_hz=8_000, patch=160, drop_rate=0.75),
  text.TextOptions(length=8, candidates=3),
)


@pytest.fixture(scope="module")
def data(miniature):
  records = records_lib.Records(miniature, "train")
  return (
    records,
    order_lib.plain(len(records), 8, seed=5),
    text.SentencePiece(f"{miniature}/tokenizer/sentencepiece.model"),
  )


def batches(data, start, end, **changes):
  records, order, tokenizer = data
  return list(pipeline.training_batches(records, order, OPTIONS, tokenizer, start_step=start, end_step=end, **changes))


def equal(a, b):
  assert a.keys() == b.keys()
  for key in a:
    np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_the_contract(data):
  batch = batches(data, 0, 1)[0]
  assert {key: (value.dtype.name, value.shape) for key, value in batch.items()} == {
    "video/patches": ("uint8", (8, 4, 2 * 16 * 16 * 3)),
    "video/positions": ("int32", (8, 4)),
    "video/present": ("bool", (8,)),
    "audio/patches": ("int16", (8, 5, 160)),
    "audio/positions": ("int32", (8, 5)),
    "audio/present": ("bool", (8,)),
    "text/ids": ("int32", (8, 3, 8)),
    "text/mask": ("bool", (8, 3, 8)),
    "text/present": ("bool", (8,)),
  }
  spec = pipeline.batch_spec(OPTIONS, 8)
  assert {key: (s.dtype.name, s.shape) for key, s in spec.items()} == {
    key: (v.dtype.name, v.shape) for key, v in batch.items()
  }
  assert batch["video/positions"].max() < 8 and batch["audio/positions"].max() < 20
  np.testing.assert_array_equal(batch["text/mask"], batch["text/ids"] != 0)


def test_starting_at_a_step_gives_the_batch_of_that_step(data):
  """No state: batch 9 is the same after nine batches, after none, and on any number of threads."""
  whole = batches(data, 0, 10)
  equal(whole[9], batches(data, 9, 10)[0])
  equal(whole[9], batches(data, 9, 10, threads=1)[0])


def test_hosts_share_a_batch_by_rows(data):
  whole = batches(data, 3, 4)[0]
  parts = [batches(data, 3, 4, host=host, hosts=2)[0] for host in range(2)]
  equal(whole, {key: np.concatenate([part[key] for part in parts]) for key in whole})
  with pytest.raises(ValueError, match="does not divide by 3"):
    batches(data, 0, 1, hosts=3)


def test_a_second_visit_of_a_clip_is_cut_differently(data):
  records, order, _ = data
  (first, second), where = batches(data, 0, 12)[0:12:6], [order.batch(step)[1].tolist() for step in (0, 6)]
  both = set(where[0]) & set(where[1])
  assert both or len(records) != 48  # epochs are 6 batches long
  for number in both:
    a, b = first["video/patches"][where[0].index(number)], second["video/patches"][where[1].index(number)]
    assert np.any(a != b) or not first["video/present"][where[0].index(number)]


def test_absent_modalities_are_zero_and_marked(data):
  records, order, tokenizer = data
  rows = [records_lib.decode(records[i]) for i in range(len(records))]
  found = list(pipeline.evaluation_batches(records, 8, OPTIONS, tokenizer))
  present = {m: np.concatenate([b[f"{m}/present"] for b in found]) for m in ("video", "audio", "text")}
  assert present["video"].tolist() == [bool(row["video/frames"]) for row in rows]
  assert present["audio"].tolist() == [len(row["audio/samples"]) > 0 for row in rows]
  assert present["text"].tolist() == [bool(row["captions/text"]) for row in rows]
  patches = np.concatenate([b["video/patches"] for b in found])
  assert not patches[~present["video"]].any() and 0 < (~present["video"]).sum() < 48


def test_evaluation_sees_every_record_once_and_marks_the_padding(data):
  records, _, tokenizer = data
  found = list(pipeline.evaluation_batches(records, 20, OPTIONS, tokenizer))
  assert [batch["valid"].sum() for batch in found] == [20, 20, 8]
  assert found[0]["video/patches"].shape[1] == 8  # nothing is dropped


class Damaged:
  """Records of which some cannot be decoded."""

  def __init__(self, records, bad):
    self._records, self._bad = records, bad

  def __len__(self):
    return len(self._records)

  def __getitem__(self, number):
    return b"\xff\xff broken" if number in self._bad else self._records[number]

  def after(self, number):
    return self._records.after(number)

  def name(self, number):
    return self._records.name(number)


def test_a_broken_record_is_replaced_by_the_next_and_named(data):
  records, order, tokenizer = data
  bad = {int(order.batch(1)[1][2]), int(order.batch(2)[1][0])}
  named = {}
  got = list(
    pipeline.training_batches(Damaged(records, bad), order, OPTIONS, tokenizer, end_step=3, on_broken=named.__setitem__)
  )
  assert set(named) == bad and len(got) == 3
  whole = batches(data, 0, 3)
  same = [np.array_equal(got[1]["audio/patches"][row], whole[1]["audio/patches"][row]) for row in range(8)]
  assert same.count(False) <= len(bad) and not np.any(
    [i for i in range(8) if i != 2 and not same[i] and order.batch(1)[1][i] not in bad]
  )
  equal(got[0], whole[0])


def test_in_evaluation_a_broken_record_is_masked(data):
  records, _, tokenizer = data
  found = list(pipeline.evaluation_batches(Damaged(records, {3, 47}), 8, OPTIONS, tokenizer))
  valid = np.concatenate([batch["valid"] for batch in found])
  assert np.flatnonzero(~valid).tolist() == [3, 47]


def test_a_missing_data_set_says_what_to_do(tmp_path, miniature):
  with pytest.raises(UserError, match="vatt_jax.prepare"):
    records_lib.Records(str(tmp_path), "train")
  with pytest.raises(UserError, match="it has train, validation, test|it has"):
    records_lib.Records(miniature, "nonsense")
