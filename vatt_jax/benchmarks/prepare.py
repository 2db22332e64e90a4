"""How fast media become clips, against decoding the same files and nothing else."""

from collections.abc import Sequence
import os
import pathlib
import statistics
import tempfile
import time

import av
import numpy as np

from vatt_jax import jobs
from vatt_jax.benchmarks import measuring
from vatt_jax.preparation import dataset, folder
from vatt_jax.preparation.digests import Digests
from vatt_jax.preparation.units import Options

SIZES = ((1280, 720), (320, 240))
FRAMES_PER_SECOND, SAMPLE_RATE_HZ = 25, 48_000


def run(source: str | None, repetitions: int) -> dict:
  """Times `prepare` in turns with bare decoding, on the media of a folder or on films made for it; prints and returns the report."""
  report = {}
  with tempfile.TemporaryDirectory() as made:
    places = [source] if source else [make_films(made, size, 2, seconds=20) for size in SIZES]
    for place in places:
      figures = report[os.path.basename(os.path.abspath(place))] = measure(place, repetitions)
      print(
        f"{place if source else os.path.basename(place)}: {figures['clips_per_second_per_core']:.3g} clips/s per core, "
        f"{100 * figures['share_of_bare']:.0f} % of decoding alone ({figures['bare_clips_per_second_per_core']:.3g})"
      )
  return report | {"repetitions": repetitions, "machine": measuring.machine(), "versions": jobs.versions()}


def measure(source: str, repetitions: int) -> dict[str, float]:
  """Clips by second of processor time of `prepare` and of bare decoding, in turns, after one run that is not counted.

  Args:
    source: a folder of media.
    repetitions: how often both are timed; the medians count.

  Returns:
    `clips_per_second_per_core`, `bare_clips_per_second_per_core`, and the first by the second, `share_of_bare`.
  """
  units, problems = folder.units(source, Options(), Digests())
  seconds, bare_seconds, clips = [], [], 0
  for _ in range(repetitions + 1):
    with tempfile.TemporaryDirectory() as output:
      began = time.process_time()
      outcome = dataset.prepare(units, output, source=source, options={}, problems=problems, workers=0, progress=False)
      seconds.append(time.process_time() - began)
      clips = outcome.preparation["accepted"]
    began = time.process_time()
    for path in [path for unit in units for path in (unit.video, unit.audio) if path]:
      decode_everything(path)
    bare_seconds.append(time.process_time() - began)
  ours, bare = (clips / statistics.median(values[1:]) for values in (seconds, bare_seconds))
  return {
    "clips_per_second_per_core": ours,
    "bare_clips_per_second_per_core": bare,
    "share_of_bare": ours / bare,
  }


def decode_everything(path: str) -> int:
  """Decodes every frame of picture and sound on one thread, keeps none, and returns how many there were."""
  with av.open(path) as container:
    streams = [stream for stream in container.streams if stream.type in ("video", "audio")]
    for stream in streams:
      stream.codec_context.thread_count = 1
    return sum(1 for packet in container.demux(streams) for _ in packet.decode())


def make_films(directory: str, size: Sequence[int], count: int, seconds: int) -> str:
  """Films of H.264 and AAC at usual settings: waves that move, under grain that stays.

  Returns:
    The folder that they are in.
  """
  place = pathlib.Path(directory) / "x".join(map(str, size))
  place.mkdir()
  for number in range(count):
    with av.open(str(place / f"{number}.mp4"), "w") as container:
      picture = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "23", "preset": "veryfast"})
      picture.width, picture.height, picture.pix_fmt = *size, "yuv420p"
      sound = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
      for stream, frames in ((picture, _pictures(size, number, seconds)), (sound, _sounds(number, seconds))):
        for frame in [*frames, None]:
          container.mux(stream.encode(frame))
  return str(place)


def _pictures(size, number, seconds):
  width, height = size
  random = np.random.default_rng(number)
  grain = np.kron(random.normal(0, 9, (height // 2, width // 2, 3)), np.ones((2, 2, 1))).astype(np.float32)
  y, x = np.mgrid[:height, : 2 * width].astype(np.float32)
  waves = np.stack([128 + 70 * np.sin(x / (7 + 5 * a) + y / (13 + a + number)) for a in (1, 2, 3)], -1)
  for i in range(seconds * FRAMES_PER_SECOND):
    first = 2 * i % width
    pixels = waves[:, first : first + width] + grain
    yield av.VideoFrame.from_ndarray(np.clip(pixels, 0, 255).astype(np.uint8), "rgb24")


def _sounds(number, seconds):
  samples = np.random.default_rng(number).normal(0, 3000, seconds * SAMPLE_RATE_HZ).astype(np.float32) / 32768
  for first in range(0, len(samples), 1024):
    frame = av.AudioFrame.from_ndarray(samples[None, first : first + 1024], "fltp", "mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, first
    yield frame
