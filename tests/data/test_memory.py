"""Memory that spares a copy."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from vatt_jax.data import memory


@pytest.mark.parametrize("shape, dtype", [((7, 3), np.uint8), ((5,), "V48"), ((0, 4), np.float32)])
def test_aligned_memory_is_taken_over(shape, dtype):
  array = memory.aligned(shape, dtype)
  assert array.shape == shape and array.dtype == np.dtype(dtype) and array.ctypes.data % 64 == 0


def test_tensorflow_takes_it_as_it_is():
  """What was true of TensorFlow when this was written; if it no longer is, `aligned` can go."""
  array = memory.aligned((1000,), np.uint8)
  array[:] = 1
  tensor = tf.function(lambda: tf.numpy_function(lambda: array, [], tf.uint8))()
  array[:] = 2
  assert set(tensor.numpy().tolist()) == {2}


def test_each_thread_has_scratch_memory_of_its_own():
  first = memory.scratch((4, 5))
  first[:] = 1
  assert np.shares_memory(memory.scratch((2, 3)), first)
  others = []
  thread = threading.Thread(target=lambda: others.append(memory.scratch((4, 5))))
  thread.start()
  thread.join()
  assert not np.shares_memory(others[0], first)
