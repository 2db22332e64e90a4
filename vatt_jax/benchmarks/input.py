"""How fast records become batches, against a pipeline that does the obvious thing in float32."""

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import functools
import glob
import io
import resource
import statistics
import tempfile
import threading
import time

import numpy as np
from PIL import Image
import tensorflow as tf

from vatt_jax import jobs, objectives
from vatt_jax.benchmarks import float_pipeline, measuring
from vatt_jax.data import order as order_lib, pipeline, records as records_lib
from vatt_jax.preparation import dataset
from vatt_jax.preparation.clips import Caption, Clip
from vatt_jax.preparation.units import Decoded

_OURS, _OTHER = "clips_per_second_per_core", "baseline_clips_per_second_per_core"
_KINDS = ("", "_with_colour_jitter", "_with_rand_augment")  # Of streams, each with what those before it have.


def run(configs: Sequence, repetitions: int, rows: int = 8, batches_each: int = 3, turns: bool = True) -> dict:
  """Times the input of each config in turns with a pipeline in float32.

  Colour jitter is left out of both, and then reported with both, where the config has it; RandAugment, which the other
  pipeline does not have, is left out too, and then reported for ours alone.

  Args:
    rows: of a batch.
    batches_each: how many are read between two looks at the clock.

  Returns:
    `configs`, the report of each, and beside it what holds for all of them.
  """
  tf.config.set_visible_devices([], "GPU")
  with tempfile.TemporaryDirectory() as made:
    clips = functools.cache(lambda: _make_clips(made))
    for config in configs:
      config.data.directory = config.data.directory or clips()
    makers = [functools.partial(_Input, config, made, rows, batches_each) for config in configs]
    found = measuring.reports(makers, repetitions, turns)
  return {
    "configs": found,
    "repetitions": repetitions,
    "machine": measuring.machine(),
    "versions": jobs.versions(),
  }


def say(report: dict) -> None:
  """Prints what was found for one config."""
  share = lambda name: f"({100 * report['kernel_share'][name]:.0f} % of the time in the kernel)"
  for kind in _KINDS:
    ours, other = f"{_OURS}{kind}", f"{_OTHER}{kind}"
    if ours in report:
      line = f"{report[ours]:.1f} clips/s per core{kind.replace('_', ' ') or ' without colour jitter'} {share(ours)}"
      if other in report:
        ratio = report[ours] / report[other]
        line += f"; in float32 {report[other]:.1f} {share(other)}: {ratio:.2f} times as fast"
      print(line)
  ratio = report["baseline_bytes_per_clip"] / report["bytes_per_clip"]
  print(f"{report['bytes_per_clip'] / 1e6:.2f} MB a clip to the device, in float32 {ratio:.2f} times as much")


class _Input:
  """The input of one config and the pipeline in float32; a `measuring.Timed`."""

  def __init__(self, config, made: str, rows: int, batches_each: int):
    objectives.inherit(config, None)
    inputs = jobs.open_inputs(config, made)
    records = records_lib.Records(inputs.directory, "train")
    self._rows, self._batches_each, self._streams = rows, batches_each, {}
    for kind, options in _kinds(inputs.options).items():
      order = order_lib.plain(len(records), rows, config.seed)
      self._streams[_OURS + kind] = pipeline.training_batches(
        records, order, options, inputs.tokenizer, end_step=10**9, threads=1
      )
      self._last = _OURS + kind
      if not (options.video and options.video.rand_augment):
        self._streams[_OTHER + kind] = float_pipeline.batches(records, options, inputs.tokenizer, rows)
    size = lambda batch: sum(array.nbytes for array in batch.values()) // rows
    self._bytes = {name: size(next(batches)) for name, batches in self._streams.items()}
    self._seconds, self._kernel = ({name: [] for name in self._streams} for _ in range(2))

  def measure(self) -> None:
    for name, batches in self._streams.items():
      whole, part = _processor_seconds(batches, self._batches_each)
      self._seconds[name].append(whole / (self._batches_each * self._rows))
      self._kernel[name].append(part / whole)

  def report(self) -> dict:
    rates = lambda name: measuring.spread([1.0 / seconds for seconds in self._seconds[name]])
    return {name: 1.0 / statistics.median(values) for name, values in self._seconds.items()} | {
      "bytes_per_clip": self._bytes[_OURS],
      "baseline_bytes_per_clip": self._bytes[_OTHER],
      "processor_seconds_spread": {name: measuring.spread(values) for name, values in self._seconds.items()},
      "kernel_share": {name: statistics.median(values) for name, values in self._kernel.items()},
      "figures": {
        "clips a second on a core": rates(self._last),
        "clips a second on a core, colours as they are": rates(_OURS),
        "clips a second on a core, colours as they are, float32": rates(_OTHER),
        "MB a clip to the device": measuring.spread([self._bytes[_OURS] / 1e6]),
      },
    }


def _kinds(options: pipeline.InputOptions) -> dict[str, pipeline.InputOptions]:
  """What is added to a name -> options; only what the config has is added."""
  if options.video is None:
    return {"": options}
  jitter, augment = options.video.colour_jitter, options.video.rand_augment
  only = lambda **fields: dataclasses.replace(options, video=dataclasses.replace(options.video, **fields))
  found = {"": only(colour_jitter=0.0, rand_augment="")}
  found |= {"_with_colour_jitter": only(rand_augment="")} if jitter else {}
  return found | ({"_with_rand_augment": options} if augment else {})


def _processor_seconds(batches: Iterator, count: int) -> tuple[float, float]:
  """Of all threads, for so many batches, and those of them in the kernel, which clears memory that is new to a process.

  What was read ahead is made up for before the clock is stopped.
  """

  def settled():
    """Processor seconds once the threads that read ahead have nothing left to do."""
    quiet = 0
    while quiet < 4:
      before = time.process_time()
      time.sleep(0.05)
      quiet = quiet + 1 if time.process_time() - before < 0.002 and not _threads_at_work() else 0
    return np.array([time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_stime])

  began = settled()
  for _ in range(count):
    next(batches)
  return tuple((settled() - began).tolist())


def _threads_at_work() -> bool:
  """Whether another thread of this process computes, or waits for a core that another program has; only Linux tells."""
  own = str(threading.get_native_id())
  for place in glob.glob("/proc/self/task/*/stat"):
    with contextlib.suppress(OSError):  # It has ended.
      with open(place) as file:
        state = file.read().rpartition(")")[2].split()[0]
      if state == "R" and place.split("/")[-2] != own:
        return True
  return False


@dataclasses.dataclass(frozen=True)
class _NoisyClip:
  """4 s of moving waves and noise, some 29 KiB a frame: as many as Big Buck Bunny at this size."""

  number: int

  @property
  def name(self) -> str:
    return f"{self.number:03d}"

  def identity(self) -> str:
    return self.name

  def decode(self) -> Decoded:
    random = np.random.default_rng(self.number)
    words = lambda: " ".join(random.choice(("red", "dog", "runs", "to", "the", "sea", "and", "sings"), 12))
    return Decoded(
      [
        Clip(
          key=self.name,
          split="train",
          frames=tuple(self._frame(i, random) for i in range(40)),
          timestamps=tuple(i / 10 for i in range(40)),
          samples=random.normal(0, 3000, 4 * 48_000).astype(np.int16),
          captions=tuple(Caption(words(), i, i + 1) for i in range(5)),
        )
      ]
    )

  def _frame(self, i, random):
    y, x = np.mgrid[:256, :340]
    waves = [np.sin((x + a * i) / (7 + 5 * a) + y / (13 + a + self.number)) for a in (1, 2, 3)]
    pixels = 128 + 70 * np.stack(waves, -1) + np.kron(random.normal(0, 9, (128, 170, 3)), np.ones((2, 2, 1)))
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _make_clips(directory: str) -> str:
  units = [_NoisyClip(i) for i in range(8)]
  dataset.prepare(units, directory, source="benchmark", options={"vocabulary_size": 0}, progress=False)
  return directory
