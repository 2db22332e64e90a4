"""Encoders for raw video, sound and text: VATT and what follows from it, in JAX."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reads the files; its start-up messages help nobody.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def load(place: str):
  """The model of a workdir, a checkpoint or a converted directory; see `vatt_jax.api.load`."""
  from vatt_jax import api  # JAX and TensorFlow start only when they are wanted.

  return api.load(place)
