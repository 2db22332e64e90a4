"""Records of one modality to embeddings, on all devices, exactly as evaluation computes them."""

from collections.abc import Sequence
import dataclasses

import jax
import numpy as np
import tensorflow as tf

from vatt_jax import jobs
from vatt_jax.data import pipeline, records
from vatt_jax.errors import UserError
from vatt_jax.evaluation.embeddings import MODALITIES
from vatt_jax.preparation.units import Options
from vatt_jax.training import mesh as mesh_lib, sharding

SHORT_SIDE = 256  # of decoded frames, as `prepare` has it
LONG_SECONDS = 10.0  # windows for models that look at clips of any length


class Encoder:
  """The encoders of a checkpoint.

  Args:
    trained: the checkpoint.
    batch_size: how many records the devices take at once; rounded up to a multiple of the devices.

  Attributes:
    batch_size: as it is used.
    modalities: that the model reads.
  """

  def __init__(self, trained: jobs.Trained, batch_size: int):
    options, objective = trained.options, trained.objective
    if options.text:
      # A sentence is read as a caption, whatever was an example in training.
      text = dataclasses.replace(options.text, candidates=1, kinds=(), examples="clips")
      options = dataclasses.replace(options, text=text)
    self.modalities = tuple(name for name in MODALITIES if getattr(options, name) is not None)
    self._options, self._reads_words = options, trained.tokenizer is not None
    self._mesh = mesh_lib.make_mesh((1, -1, 1))
    self.batch_size = -(-batch_size // self._mesh.size) * self._mesh.size
    placed = sharding.on_mesh(objective.on_mesh(self._mesh).encode, objective.partition_rules, self._mesh, False)
    self._encode = jax.jit(placed, out_shardings=mesh_lib.replicated(self._mesh))
    self._variables = jobs.on_devices(trained.variables, self._mesh)
    self._examples = {name: self._example(name, trained.tokenizer) for name in self.modalities}

  def decoding(self, clip_seconds: float | None = None) -> Options:
    """How media are decoded for this model.

    Args:
      clip_seconds: length of the windows; None: what the model sees at once.
    """
    video, audio = self._options.video, self._options.audio
    seen = self._options.seconds
    return Options(
      clip_seconds=clip_seconds or (seen if 0 < seen < float("inf") else LONG_SECONDS),
      frames_per_second=max(10.0, video.frames_per_second) if video else 10.0,
      short_side=max(SHORT_SIDE, *video.pixels) if video else SHORT_SIDE,
      sample_rate_hz=audio.sample_rate_hz * audio.stride if audio else 48_000,
    )

  def __call__(self, modality: str, features: Sequence[dict]) -> dict[str, np.ndarray]:
    """Output -> float32 (n, E) of every output that is one vector a record, such as "video/va".

    Args:
      modality: what is looked at; every record has to have it.
      features: of records, at least one.

    Raises:
      UserError: where the model has no vectors for this modality, or no vocabulary for text.
    """
    if modality == "text" and not self._reads_words:
      raise UserError(
        "this model carries no vocabulary, so it cannot read sentences: convert it with --vocabulary=FILE."
      )
    zero = tf.constant(0, tf.int64)
    examples = [self._examples[modality](records.encode(each), zero, zero) for each in features]
    parts = []
    for start in range(0, len(examples), self.batch_size):
      rows = np.resize(np.arange(start, min(start + self.batch_size, len(examples))), self.batch_size)
      batch = {key: np.stack([examples[i][key].numpy() for i in rows]) for key in examples[0]}
      parts.append(jax.device_get(self._encode(self._variables, mesh_lib.whole_to_devices(batch, self._mesh))))
    found = {}
    for key in parts[0]:
      value = np.concatenate([part[key] for part in parts])[: len(examples)].astype(np.float32)
      value = value[:, 0] if key.startswith("text/") and value.ndim == 3 else value
      if value.ndim == 2:
        found[key if "/" in key else f"{modality}/{key}"] = value
    if not found:
      raise UserError(f"this checkpoint has no embeddings of {modality} alone: it looks at video and text together.")
    return found

  def _example(self, modality: str, tokenizer):
    only = pipeline.InputOptions(**{modality: getattr(self._options, modality)})
    return pipeline.example_function(only, tokenizer, seed=0, train=False)
