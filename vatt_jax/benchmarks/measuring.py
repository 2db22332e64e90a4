"""What the modes share: the clock, the spread of what it showed, and what it was measured on."""

from collections.abc import Callable, Sequence
import os
import platform
import resource
import time

import jax
import numpy as np


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
