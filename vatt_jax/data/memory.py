"""Arrays in memory that spares a copy: at these sizes to fill memory for the first time costs as much as to copy it."""

import math
import threading

import numpy as np

_of_thread = threading.local()


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
  """As `np.empty`; it begins at a multiple of 64 bytes, which is memory that TensorFlow takes over as it is."""
  dtype = np.dtype(dtype)
  size = math.prod(shape) * dtype.itemsize
  memory = np.empty([size + 64], np.uint8)
  return memory[-memory.ctypes.data % 64 :][:size].view(dtype).reshape(shape)


def scratch(shape: tuple[int, ...]) -> np.ndarray:
  """uint8, the same memory at every call of a thread, with whatever was written there last."""
  size = math.prod(shape)
  if getattr(_of_thread, "memory", np.empty(0)).size < size:
    _of_thread.memory = np.empty([size], np.uint8)
  return _of_thread.memory[:size].reshape(shape)
