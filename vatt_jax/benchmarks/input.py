"""How fast records become batches, against a pipeline that does the obvious thing in float32."""

from collections.abc import Iterator
import contextlib
import dataclasses
import glob
import io
import resource
import statistics
import sys
import tempfile
import threading
import time

import numpy as np
from PIL import Image
import tensorflow as tf
import tqdm

from vatt_jax import jobs
from vatt_jax.benchmarks import float_pipeline, measuring
from vatt_jax.data import order as order_lib, pipeline, records as records_lib
from vatt_jax.preparation import dataset
from vatt_jax.preparation.clips import Caption, Clip
from vatt_jax.preparation.units import Decoded

_ROWS = 8  # Of a batch.


def run(config, repetitions: int, batches_each: int = 3) -> dict:
  """Times the input of `config` in turns with a pipeline in float32; prints and returns the report.

  Colour jitter is left out of both, and then reported with both, where the config has it.
  """
  tf.config.set_visible_devices([], "GPU")
  with tempfile.TemporaryDirectory() as made:
    if not config.data.directory:
      config.data.directory = _make_clips(made)
    inputs = jobs.open_inputs(config, made)
    plain = inputs.options
    if plain.video:
      plain = dataclasses.replace(plain, video=dataclasses.replace(plain.video, colour_jitter=0.0))
    kinds = {"": plain} | ({"_with_colour_jitter": inputs.options} if plain != inputs.options else {})
    records = records_lib.Records(inputs.directory, "train")
    streams = {}
    for kind, options in kinds.items():
      batches = pipeline.training_batches(
        records, order_lib.plain(len(records), _ROWS, config.seed), options, inputs.tokenizer, end_step=10**9, threads=1
      )
      streams[f"clips_per_second_per_core{kind}"] = batches
      streams[f"baseline_clips_per_second_per_core{kind}"] = float_pipeline.batches(
        records, options, inputs.tokenizer, _ROWS
      )
    size = lambda batch: sum(array.nbytes for array in batch.values()) // _ROWS
    sizes = {name: size(next(batches)) for name, batches in streams.items()}
    seconds, kernel = {name: [] for name in streams}, {name: [] for name in streams}
    for _ in tqdm.trange(repetitions, desc="timing", unit="repetition", disable=not sys.stderr.isatty()):
      for name, batches in streams.items():
        whole, part = _processor_seconds(batches, batches_each)
        seconds[name].append(whole / (batches_each * _ROWS))
        kernel[name].append(part / whole)
  report = {name: 1.0 / statistics.median(values) for name, values in seconds.items()}
  report |= {
    "bytes_per_clip": sizes["clips_per_second_per_core"],
    "baseline_bytes_per_clip": sizes["baseline_clips_per_second_per_core"],
    "processor_seconds_spread": {name: measuring.spread(values) for name, values in seconds.items()},
    "kernel_share": {name: statistics.median(values) for name, values in kernel.items()},
    "repetitions": repetitions,
    "machine": measuring.machine(),
    "versions": jobs.versions(),
  }
  for kind in kinds:
    fast, slow = report[f"clips_per_second_per_core{kind}"], report[f"baseline_clips_per_second_per_core{kind}"]
    label = kind.replace("_", " ") or " without colour jitter"
    shares = [100 * report["kernel_share"][f"{name}clips_per_second_per_core{kind}"] for name in ("", "baseline_")]
    print(
      f"{fast:.1f} clips/s per core{label} ({shares[0]:.0f} % of the time in the kernel); "
      f"in float32 {slow:.1f} ({shares[1]:.0f} %): {fast / slow:.2f} times as fast"
    )
  ratio = report["baseline_bytes_per_clip"] / report["bytes_per_clip"]
  print(f"{report['bytes_per_clip'] / 1e6:.2f} MB a clip to the device, in float32 {ratio:.2f} times as much")
  return report


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
  """4 s of moving waves and noise, some 22 KiB a frame: about what real frames of this size take."""

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
