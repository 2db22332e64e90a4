"""Several processes, one run: how they find each other, who writes, and how they agree."""

from collections.abc import Callable
import contextlib
import glob
import importlib.util
import os

import jax
from jax.experimental import multihost_utils
import numpy as np

from vatt_jax.errors import UserError

_EXPLICIT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def start() -> None:
  """Joins the other processes of the run, if there are any; before anything else is asked of JAX.

  Where JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID are set they say who there
  is; a process has all accelerators of its host. Otherwise SLURM (several tasks) and TPU hosts are asked. Nothing is done
  when a run has one process.

  Raises:
    UserError: when only some of the three variables are set, or they make no sense.
  """
  given = {name: os.environ[name] for name in _EXPLICIT if os.environ.get(name)}
  if given:
    try:
      count, index = int(given["JAX_NUM_PROCESSES"]), int(given["JAX_PROCESS_ID"])
      if not 0 <= index < count:
        raise ValueError("the id must be from 0 to the number of processes, without it")
    except (KeyError, ValueError) as error:
      shown = ", ".join(f"{name}={given.get(name, '(not set)')}" for name in _EXPLICIT)
      raise UserError(f"{shown} do not say which process of how many this is: {error}.") from error
    if count > 1:
      address = given["JAX_COORDINATOR_ADDRESS"]
      jax.distributed.initialize(address, count, index, cluster_detection_method="deactivate")
  elif int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 or _has_tpu():
    jax.distributed.initialize()


def _has_tpu() -> bool:
  """Whether this is a TPU host that JAX would use; a host alone is a pod of one."""
  wanted = os.environ.get("JAX_PLATFORMS", "tpu")
  chips = glob.glob("/dev/accel[0-9]*") + glob.glob("/dev/vfio/[0-9]*")
  return "tpu" in wanted and bool(chips) and importlib.util.find_spec("libtpu") is not None


def is_first() -> bool:
  """Whether this process is the one that prints, and writes what all share."""
  return jax.process_index() == 0


def say(line: str) -> None:
  """Prints, once for all processes; a log that cannot be written (a full disk) is no reason to stop."""
  if is_first():
    with contextlib.suppress(OSError):
      print(line, flush=True)


def wait_for_all(what: str) -> None:
  """Returns when every process has come here. Two places in the code need two names."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)


def first_then_others(function: Callable[[], object]):
  """function() in the first process, then in the others, which find what it left on the shared file system."""
  result = function() if is_first() else None
  wait_for_all(f"first: {getattr(function, '__name__', 'function')}")
  return result if is_first() else function()


def first_decides(function: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
  """What function(), whole numbers, returns in the first process, in every process; only there it is called."""
  if jax.process_count() == 1:
    return function()
  mine = np.array(function() if is_first() else (), np.int32)
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(mine))))
  return tuple(multihost_utils.broadcast_one_to_all(mine if is_first() else np.zeros([size], np.int32)).tolist())


def all_agree(here: bool) -> bool:
  """Whether it is true in every process."""
  if jax.process_count() == 1:
    return here
  return bool(np.all(multihost_utils.process_allgather(np.array(here))))


def in_any(here: np.ndarray) -> np.ndarray:
  """Where it is true in one process or more; bool of any shape."""
  if jax.process_count() == 1:
    return here
  return np.any(multihost_utils.process_allgather(here), axis=0)


def to_host(x: jax.Array) -> np.ndarray:
  """A global array as NumPy, in every process, whoever holds its pieces."""
  if isinstance(x, jax.Array) and not x.is_fully_addressable and not x.is_fully_replicated:
    return np.asarray(multihost_utils.process_allgather(x, tiled=True))
  return np.asarray(jax.device_get(x))
