"""What the input promises, whatever the options: the same batches always, everything once, picture and sound in step."""

import dataclasses
import glob
import io
import os
import resource
import shutil
import threading
import time

import numpy as np
from PIL import Image
import pytest

from tests.data import clips
from vatt_jax.data import audio, order as order_lib, pipeline, records as records_lib, text, video
from vatt_jax.errors import UserError
from vatt_jax.evaluation import evaluators, views


class Letters:
  """A token for each letter."""

  vocabulary_size, file, content, end = 256, "", b"", None

  def encode(self, text):
    return [ord(letter) % 256 for letter in text if letter.isalpha()]


# One patch is one frame.
VIDEO = video.VideoOptions(4, 5.0, 16, (1, 16, 16), drop_rate=0.0, crop="whole", flip=False)
AUDIO = audio.AudioOptions(samples=3_200, sample_rate_hz=clips.RATE, patch=160, drop_rate=0.0, noise=0.0)
TIMED = pipeline.InputOptions(VIDEO, AUDIO, text.TextOptions(6, 1))
ALL = pipeline.InputOptions(  # every draw there is
  dataclasses.replace(
    VIDEO, crop="inception", flip=True, colour_jitter=0.8, drop_rate=0.5, sampling="rand", rand_augment="image"
  ),
  dataclasses.replace(AUDIO, drop_rate=0.5, noise=0.1, speed=0.1, gain_db=6.0),
  text.TextOptions(6, 3),
  spans=True,
)


def train(records, order, options=TIMED, start=0, end=1, **changes):
  stream = pipeline.training_batches(records, order, options, Letters(), start_step=start, end_step=end, **changes)
  return list(stream)


def equal(a, b):
  assert a.keys() == b.keys()
  for key in a:
    np.testing.assert_array_equal(a[key], b[key], err_msg=key)


# ---- The same batches


@pytest.fixture(scope="module")
def mixed(miniature):
  """Two data sets, one of them twice as often."""
  records = records_lib.Joined([records_lib.Records(miniature, "train"), records_lib.Records(miniature, "test")])
  return records, order_lib.mixture(records.ranges, (2, 1), batch_size=4, seed=1, mixed=True)


@pytest.mark.parametrize("step", [2, 10**6])
def test_a_batch_is_the_same_however_it_is_reached(mixed, step):
  alone = train(*mixed, ALL, step, step + 1)[0]
  equal(alone, train(*mixed, ALL, step - 2, step + 1, threads=4)[-1])
  equal(alone, train(*mixed, ALL, step, step + 1, threads=1)[0])
  for hosts in (2, 4):
    parts = [train(*mixed, ALL, step, step + 1, host=host, hosts=hosts)[0] for host in range(hosts)]
    equal(alone, {key: np.concatenate([part[key] for part in parts]) for key in alone})


def test_seeking_costs_the_same_everywhere():
  costs = []
  for step in (10, 10**6):
    records = clips.Memory([clips.record(1.0)] * 16)
    order = order_lib.mixture((range(4), range(4, 16)), (1, 2), 4, 0, mixed=True)
    began = time.process_time()
    for _ in range(20):
      order.batch(step)
    seconds = time.process_time() - began
    train(records, order, start=step, end=step + 1)
    costs.append((records.reads, seconds))
  (few, quick), (many, slow) = costs
  assert few == many == 4 and slow < 5 * quick + 0.1


# ---- Everything once


def test_an_epoch_shows_each_clip_once():
  """Clip i begins i frames late, so that its picture tells its number."""
  records = clips.Memory([clips.record(1.0, frames=[clips.jpeg(8 + 4 * i)] * 10) for i in range(10)])
  batches = train(records, order_lib.plain(10, 4, 0), end=5)
  shown = np.concatenate([clips.frame_seconds(batch["video/patches"][:, 0]) for batch in batches]) * 10
  for epoch in shown.reshape(2, 10):
    assert sorted(epoch.round().astype(int)) == list(range(10))
  found = list(pipeline.evaluation_batches(records, 4, TIMED, Letters()))
  shown = np.concatenate([clips.frame_seconds(batch["video/patches"][:, 0])[batch["valid"]] for batch in found]) * 10
  assert shown.round().astype(int).tolist() == list(range(10))


# ---- Picture and sound in step


def times(batch, row):
  """Seconds of the frames and of the first and last sample."""
  samples = batch["audio/patches"][row].reshape(-1)
  return clips.frame_seconds(batch["video/patches"][row]), samples[0] / clips.RATE, samples[-1] / clips.RATE


def visits(options, start_seconds=5.0):
  records = clips.Memory([clips.record(start_seconds)])
  yield from (times(batch, 0) for batch in train(records, order_lib.plain(1, 1, 0), options, end=12))
  for offset in (0.0, 0.4, 1.0):
    yield times(next(pipeline.evaluation_batches(records, 1, options, Letters(), offset=offset)), 0)


def test_equal_windows_begin_at_the_same_time():
  starts = []
  for frames, first, _ in visits(TIMED):
    wanted = first + np.arange(4) / 5.0
    assert np.all(frames <= wanted + 1e-2) and np.all(wanted - frames <= 0.1 + 1e-2)
    starts.append(first)
  assert max(starts[:12]) - min(starts[:12]) > 1.0 and starts[-3] == 0.0 and starts[-1] == pytest.approx(4.2, abs=0.01)


@pytest.mark.parametrize("samples", [1_600, 12_800])
def test_of_two_windows_the_shorter_lies_in_the_longer(samples):
  options = dataclasses.replace(TIMED, audio=dataclasses.replace(AUDIO, samples=samples))
  for frames, first, last in visits(options):
    inner, outer = sorted([(frames[0], frames[-1]), (first, last)], key=lambda span: span[1] - span[0])
    assert outer[0] - 0.11 <= inner[0] and inner[1] <= outer[1] + 0.31


@pytest.mark.parametrize("stride, speed", [(2, 0.0), (1, 0.1)])
def test_decimated_and_stretched_sound_begins_with_the_picture(stride, speed):
  sound = dataclasses.replace(AUDIO, stride=stride, sample_rate_hz=clips.RATE // stride, samples=1_600, speed=speed)
  options = dataclasses.replace(TIMED, audio=sound, video=dataclasses.replace(VIDEO, frames=sound.samples // 400))
  for frames, first, _ in visits(options):
    assert -1e-2 <= first - frames[0] <= 0.51


@pytest.mark.parametrize("sampling", ["headtail", "rand", "uniform"])
def test_frames_of_the_whole_clip_surround_its_sound(sampling):
  options = dataclasses.replace(TIMED, video=dataclasses.replace(VIDEO, sampling=sampling))
  for frames, first, last in visits(options):
    assert np.all(np.diff(frames) > 0) and 0.0 <= frames[0] and frames[-1] < 5.0 and 0.0 <= first < last < 5.0
    if sampling == "headtail":
      assert frames[1] < 2.5 <= frames[2]
    if sampling == "uniform":
      np.testing.assert_allclose(frames, np.arange(4) * 1.2)


def test_twelve_views_are_four_windows_by_three_crops():
  """From the clip's start to its end, from left to right; the third of the picture tells the place, its level the time."""

  def jpeg(i):
    file = io.BytesIO()
    levels = np.repeat(8 + 4 * i + np.array([0, 15, 30], np.uint8), 24)
    Image.fromarray(np.broadcast_to(levels[None, :, None], (24, 72, 3)).astype(np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()

  records = clips.Memory([clips.record(5.0, frames=[jpeg(i) for i in range(50)])])
  options = pipeline.InputOptions(dataclasses.replace(VIDEO, crop="inception"))
  setting = evaluators.Setting(None, {}, "", options, Letters())
  views = evaluators.Views(records, setting, 1, windows=4, crops=3)
  assert views.count == 12
  shown = np.array([batch["video/patches"][0, 0].mean() for _, batch in views]).reshape(3, 4)
  starts = np.linspace(0.0, 5.0 - 0.8, 4)
  expected = 8 + 4 * np.floor(starts * 10 + 1e-3)[None] + np.array([0, 15, 30])[:, None]
  np.testing.assert_allclose(shown, expected, atol=1.0)


def test_short_clips_are_looped_together():
  for frames, first, _ in visits(TIMED, start_seconds=0.5):
    wanted = (first + np.arange(4) / 5.0) % 0.5
    assert np.all(np.abs((frames - wanted + 0.3) % 0.5 - 0.25) <= 0.11)


def test_windows_around_a_caption_lie_back_to_back_and_have_draws_of_their_own():
  """The first is the one that there is without this option, in step with the sound; a clip of one window repeats it."""
  three = dataclasses.replace(TIMED, video=dataclasses.replace(VIDEO, windows=3), spans=True)
  records, order = clips.Memory([clips.record(5.0)]), order_lib.plain(1, 1, 0)
  for batch, plain in zip(train(records, order, three, end=8), train(records, order, TIMED, end=8), strict=True):
    first = batch["audio/patches"][0].reshape(-1)[0] / clips.RATE
    np.testing.assert_array_equal(batch["video/patches"][:, 0], plain["video/patches"])
    shown = np.array([clips.frame_seconds(window)[0] for window in batch["video/patches"][0]])
    room = [first + 0.8 * step for step in range(-7, 8) if 0 <= first + 0.8 * step <= 5.0 - 0.8]
    nearest = sorted(room, key=lambda start: (abs(round(start - first, 3)), start < first))[:3]
    assert np.all((-1e-2 <= nearest - shown) & (nearest - shown <= 0.1 + 1e-2))
    np.testing.assert_allclose(batch["clip/span"][0], [100 + min(nearest), 100.8 + max(nearest)], atol=2e-3)
  spec = pipeline.batch_spec(three, 1)
  assert {k: (v.shape, v.dtype) for k, v in spec.items()} == {k: (v.shape, v.dtype) for k, v in batch.items()}
  short = train(clips.Memory([clips.record(1.0)]), order, three)[0]["video/patches"][0]
  assert np.all(short == short[0])
  every = dataclasses.replace(ALL.video, sampling="window", windows=3)
  short = train(clips.Memory([clips.record(1.0)]), order, dataclasses.replace(ALL, video=every))[0]
  assert len(np.unique(short["video/positions"][0], axis=0)) > 1  # One window's seconds, but cut and dropped apart.
  evaluated = next(pipeline.evaluation_batches(records, 1, three, Letters()))
  assert evaluated["video/patches"].shape == (1, 4, 16 * 16 * 3)
  with pytest.raises(ValueError, match="windows 3"):
    dataclasses.replace(ALL.video, windows=3)


def test_pictures_are_augmented_in_their_own_way():
  """ALPRO's: what a record of one frame becomes is that of the options for pictures; a film's frames stay a film's."""
  base = dataclasses.replace(VIDEO, crop="squash", sampling="headtail", rand_augment="video")
  wave = np.add.outer(np.arange(24), np.arange(32))[..., None] * [4, 3, 2]
  file = io.BytesIO()
  Image.fromarray(wave.astype(np.uint8)).save(file, "JPEG", quality=95)
  still = clips.record(0.1, frames=[file.getvalue()])
  order = order_lib.plain(1, 1, 0)
  seen = lambda record, options: [
    batch["video/patches"] for batch in train(clips.Memory([record]), order, pipeline.InputOptions(options), end=4)
  ]
  alpro = dataclasses.replace(base, stills="alpro")
  np.testing.assert_array_equal(seen(still, alpro), seen(still, alpro.for_stills))
  assert np.any(np.array(seen(still, alpro)) != seen(still, base))
  np.testing.assert_array_equal(seen(clips.record(5.0), alpro), seen(clips.record(5.0), base))
  assert all(np.all(batch[0] == batch[0, 0]) for batch in seen(still, alpro))  # A static video.
  options = alpro.for_stills
  assert (options.crop, options.min_area, options.interpolation, options.rand_augment) == (
    "inception", 0.2, "bicubic", "image",
  )  # fmt: skip


def test_captions_come_by_kind():
  """Two of each kind, the nearest of its own; what a clip has none of is absent. A data set may know no kinds."""
  words = [("heard a", 0.0, 1.0), ("seen", 0.0, 5.0), ("heard b", 4.0, 5.0)]
  known = clips.record(5.0, captions=words, **{"captions/kind": ["sound", "picture", "sound"]})
  records = clips.Memory([known, clips.record(5.0, captions=words)])
  kinds = ("picture", "sound", "smell", "")
  options = dataclasses.replace(TIMED, text=text.TextOptions(length=7, candidates=2, kinds=kinds))
  (batch,) = pipeline.evaluation_batches(records, 2, options, Letters())
  shapes = {name: (batch[name].shape, batch[name].dtype) for name in batch if name.startswith("text/")}
  assert shapes == {n: (s.shape, s.dtype) for n, s in pipeline.batch_spec(options, 2).items() if n in shapes}
  said = [["".join(chr(i) for i in ids if i) for ids in rows] for rows in batch["text/ids"]]
  assert said[0] == ["seen", "seen", "hearda", "heardb", "", "", "seen", "hearda"]
  assert said[1] == ["", "", "", "", "", "", "seen", "hearda"]
  assert batch["text/kinds"].tolist() == [[True, True, False, True], [False, False, False, True]]
  assert batch["text/present"].all()
  each = [records_lib.decode(record) for record in (known, records_lib.Each(records, "captions")[1])]
  assert each[1]["captions/kind"] == [b"picture"] and views.middle_caption(each[0], "sound") == "heard a"
  assert views.middle_caption(each[0]) == "seen" and views.middle_caption(each[1], "sound") == ""


def test_captions_are_those_around_the_window():
  words = [(chr(97 + i) * 3, float(i), i + 1.0) for i in range(5)]
  records = clips.Memory([clips.record(5.0, captions=words)])
  for batch in train(records, order_lib.plain(1, 1, 0), end=8):
    middle = batch["audio/patches"][0].reshape(-1)[0] / clips.RATE + 0.4
    assert chr(batch["text/ids"][0, 0, 0]) == chr(97 + int(middle))


def test_spans_tell_where_a_clip_comes_from():
  strings = [{"source": "a"}, {"source": "b"}, {"source": "a"}, {}]
  records = clips.Memory([clips.record(5.0, **each) for each in strings])
  batch = next(pipeline.evaluation_batches(records, 4, dataclasses.replace(TIMED, spans=True), Letters(), offset=0.0))
  a, b, again, unknown = batch["clip/source"]
  assert a == again != b and unknown == -1 and min(a, b) >= 0
  np.testing.assert_allclose(batch["clip/span"], [[100.0, 100.8]] * 4, rtol=1e-6)
  spec = pipeline.batch_spec(dataclasses.replace(TIMED, spans=True), 4)
  assert {key: (value.shape, value.dtype) for key, value in spec.items()} == {
    key: (batch[key].shape, batch[key].dtype) for key in spec
  }


# ---- Broken records

BROKEN = {
  "flipped bytes": bytes(255 - byte for byte in clips.record(1.0)[:400]) + clips.record(1.0)[400:],
  "cut off": clips.record(1.0)[:700],
  "no JPEG": clips.record(1.0, frames=[b"no picture"] * 10),
  "empty caption": clips.record(1.0, captions=[("", 0.0, 1.0), (" ", 0.0, 1.0)]),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_record_is_replaced_or_masked_and_named(kind):
  good = [clips.record(1.0, frames=[clips.jpeg(8 + 4 * i)] * 10) for i in range(8)]
  records = clips.Memory([*good[:3], BROKEN[kind], *good[4:]])
  named = {}
  batches = train(records, order_lib.plain(8, 4, 0), end=4, on_broken=named.__setitem__)
  shown = np.concatenate([clips.frame_seconds(b["video/patches"][:, 0]) for b in batches]) * 10
  assert list(named) == [3] and named[3]
  for epoch in shown.reshape(2, 8):
    assert sorted(epoch.round().astype(int)) == [0, 1, 2, 4, 4, 5, 6, 7]  # the next stands in
  equal(batches[3], train(records, order_lib.plain(8, 4, 0), start=3, end=4)[0])
  named.clear()
  found = list(pipeline.evaluation_batches(records, 3, TIMED, Letters(), on_broken=named.__setitem__))
  assert np.concatenate([b["valid"] for b in found]).tolist() == [n not in (3, 8) for n in range(9)]
  assert list(named) == [3]


def test_broken_records_of_a_mixture_are_replaced_from_their_own_set(miniature):
  class Damaged(records_lib.Records):
    def __getitem__(self, number):
      return b"\xff\xff broken" if number == len(self) - 1 else super().__getitem__(number)

  records = records_lib.Joined([Damaged(miniature, "test"), records_lib.Records(miniature, "validation")])
  assert records.after(11) == 0 and records.after(23) == 12 and records.after(12) == 13
  assert records.name(13) == f"record 1 of {miniature}"
  assert len(list(records)) == len(records) and records[13] == records_lib.Records(miniature, "validation")[1]
  named = []
  order = order_lib.mixture(records.ranges, (1, 1), 4, 0, mixed=True)
  list(pipeline.training_batches(records, order, TIMED, Letters(), end_step=6, on_broken=lambda n, _: named.append(n)))
  assert named == [11]


@pytest.mark.parametrize("good", [0, 4])
def test_a_data_set_that_is_mostly_broken_stops_with_a_sentence(good):
  records = clips.Memory([clips.record(1.0)] * good + [b"\xff\xff broken"] * 60)
  for run in (
    lambda: train(records, order_lib.plain(len(records), 4, 0), end=20),
    lambda: list(pipeline.evaluation_batches(records, 4, TIMED, Letters())),
  ):
    with pytest.raises(UserError, match="cannot be read.*record [0-9]+ of memory") as raised:
      run()
    assert "\n" not in str(raised.value)


def test_damaged_files_are_told(miniature, tmp_path):
  """A flipped bit costs the records of its block; a file cut off cannot be opened."""
  shutil.copytree(miniature, tmp_path / "data")
  file = glob.glob(f"{tmp_path}/data/clips/1.0.0/clips-train*")[0]
  with open(file, "r+b") as opened:
    opened.seek(os.path.getsize(file) // 2)
    opened.write(b"\x00" * 40)
  records, named = records_lib.Records(f"{tmp_path}/data", "train"), []
  options = dataclasses.replace(TIMED, video=None)
  found = list(pipeline.evaluation_batches(records, 16, options, Letters(), on_broken=lambda n, _: named.append(n)))
  assert len(named) == 1 and np.flatnonzero(~np.concatenate([b["valid"] for b in found])).tolist() == named
  os.truncate(file, os.path.getsize(file) * 3 // 4)
  with pytest.raises(UserError, match="train records at .* cannot be opened"):
    records_lib.Records(f"{tmp_path}/data", "train")


# ---- Waiting


@pytest.mark.slow
def test_a_model_slower_than_the_reader_does_not_wait():
  records, order = clips.Memory([clips.record(2.0)] * 16), order_lib.plain(16, 8, 0)
  stream = pipeline.training_batches(records, order, ALL, Letters(), end_step=60)
  batches, waited = pipeline.fetched_ahead(stream), []
  for _ in range(60):
    began = time.monotonic()
    next(batches)
    waited.append(time.monotonic() - began)
    time.sleep(0.2)
  assert sum(waited[10:]) / (50 * 0.2) < 0.01


# ---- Memory


def peak_growth(batches, warm):
  """MiB and threads that all but the first `warm` batches added."""
  order = order_lib.plain(16, 8, 0)
  records = clips.Memory([clips.record(2.0)] * 16)
  stream = pipeline.training_batches(records, order, ALL, Letters(), end_step=batches)
  for _ in range(warm):
    next(stream)
  before, running = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, threading.active_count()
  for _ in stream:
    pass
  return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, threading.active_count() - running


def test_memory_is_flat_over_150_batches():
  grown, threads = peak_growth(150, warm=50)
  assert grown < 40 and threads <= 2


@pytest.mark.slow
def test_memory_is_flat_over_5000_batches():
  grown, threads = peak_growth(5_000, warm=500)
  print(f"peak memory grew by {grown:.1f} MiB over 4,500 batches")
  assert grown < 60 and threads <= 2
