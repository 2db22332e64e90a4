"""What the modes share: the clock, the spread of what it showed, and what it was measured on."""

from collections.abc import Callable, Sequence
import os
import platform
import resource
import sys
import time
from typing import Protocol

import jax
import numpy as np
import tqdm


class Timed(Protocol):
  """What is timed of one config, compiled and warm: `measure` times it once more, `report` says what all times gave.

  The report's `figures`, name -> `spread`, are what configs are compared by.
  """

  def measure(self) -> None: ...

  def report(self) -> dict: ...


def reports(makers: Sequence[Callable[[], Timed]], repetitions: int, turns: bool = True) -> list[dict]:
  """The report of each config, after so many times.

  Args:
    makers: each makes what is timed of a config.
    repetitions: how often each is timed.
    turns: whether they take turns, so that whatever else slows the machine down slows all alike; all are in memory then.
      Otherwise one comes after the other, and what it held is freed.
  """
  found = []
  for group in [makers] if turns else [[make] for make in makers]:
    timed = [make() for make in group]
    for _ in tqdm.trange(repetitions, desc="timing", unit="repetition", disable=not sys.stderr.isatty()):
      for each in timed:
        each.measure()
    found += [each.report() for each in timed]
    del timed
  return found


def seconds_of(function: Callable) -> float:
  """Of one call of `function`, until the arrays that it returns are there."""
  began = time.perf_counter()
  jax.block_until_ready(function())
  return time.perf_counter() - began


def spread(values: Sequence[float]) -> dict[str, float]:
  """`minimum`, `first_quartile`, `median`, `third_quartile` and `maximum`."""
  names = ("minimum", "first_quartile", "median", "third_quartile", "maximum")
  return dict(zip(names, np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist()))


def peak_memory_bytes() -> int:
  """The most that a device has held, or, where devices do not tell (CPU), that this process has."""
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  known = [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]
  return max(known) if known else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine() -> dict[str, str | int]:
  """What the figures were measured on."""
  cpu = platform.processor() or platform.machine()
  if os.path.exists("/proc/cpuinfo"):
    with open("/proc/cpuinfo") as file:
      names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    cpu = names[0] if names else cpu
  device = jax.devices()[0]
  return {
    "cpu": cpu,
    "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    "platform": device.platform,
    "device": device.device_kind,
    "devices": jax.device_count(),
  }
