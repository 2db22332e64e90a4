"""Encoders for raw video, sound and text: VATT and what follows from it, in JAX."""

from __future__ import annotations

import os
import typing

if typing.TYPE_CHECKING:
  from vatt_jax import api

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reads the files; its start-up messages help nobody.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def load(place: str) -> api.Model | api.AlproModel:
  """A trained model: `encode(video=, audio=, text=)`, and of ALPRO `match`, `answer` and `entities` too.

  Args:
    place: a workdir of `train` (its newest checkpoint), one of its `checkpoints/<step>`, or a converted or exported directory.

  Raises:
    vatt_jax.errors.UserError: where there is no checkpoint.
  """
  from vatt_jax import api  # JAX and TensorFlow start only when they are wanted.

  return api.load(place)
