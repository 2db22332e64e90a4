"""Encoders as serialized functions: each loads with JAX alone, on CPU, GPU and TPU, for any number of rows.

encode = jax.export.deserialize(open("video.jax_export", "rb").read())
out = encode.call(safetensors.numpy.load_file("model.safetensors"), frames)
"""

from collections.abc import Callable
import json
import math

import jax
from jax import export
import jax.numpy as jnp

from vatt_jax import jobs
from vatt_jax.training import checkpoints

PLATFORMS = ("cpu", "cuda", "tpu")
DESCRIPTION = "encoders.json"
ENDING = ".jax_export"
MEANING = {
  "video": "frames, 0 to 255, {frames_per_second:g} of a second",
  "audio": "samples in [-1, 1], mono, {sample_rate_hz} Hz",
  "audio spectrogram": "patches of log-mel spectrograms, as vatt_jax.data.audio makes them",
  "text": "ids of tokens, 0 = padding, as the vocabulary in tokenizer/ has them",
}


def files(trained: jobs.Trained) -> dict[str, bytes]:
  """File name -> content: `<modality>.jax_export` of each modality that the model reads, and `encoders.json`.

  A function takes all arrays of model.safetensors by their names, and the input (batch, ...); it returns a dict of float32
  arrays, the outputs of `vatt_jax.load(...).encode`. Only the weights that it uses go to the device.
  """
  arrays = checkpoints.flat(trained.variables)
  weights = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in arrays.items()}
  (batch,) = export.symbolic_shape("batch")
  written, described = {}, {}
  for modality, (shape, dtype, meaning) in _inputs(trained.options).items():
    function = jax.jit(_encoder(trained, modality))
    exported = export.export(function, platforms=PLATFORMS)(weights, jax.ShapeDtypeStruct((batch, *shape), dtype))
    outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    written[modality + ENDING] = bytes(exported.serialize())
    described[modality] = {
      "file": modality + ENDING,
      "input": {**_described(["batch", *shape], jnp.dtype(dtype).name), "meaning": meaning},
      "outputs": {name: _described(value.shape, value.dtype.name) for name, value in outputs.items()},
    }
  content = {"weights": checkpoints.SAFETENSORS, "platforms": PLATFORMS, "jax": jax.__version__, "encoders": described}
  return {**written, DESCRIPTION: (json.dumps({"use": __doc__, **content}, indent=2) + "\n").encode()}


def _described(shape, dtype: str) -> dict:
  return {"dtype": dtype, "shape": [n if isinstance(n, int) else str(n) for n in shape]}


def _inputs(options) -> dict[str, tuple[tuple[int, ...], type, str]]:
  """Modality -> shape of a row, dtype, and what it is."""
  found = {}
  if video := options.video:
    meaning = MEANING["video"].format(frames_per_second=video.frames_per_second)
    found["video"] = (video.frames, *video.pixels, 3), jnp.uint8, meaning
  if (audio := options.audio) and audio.spectrogram:
    found["audio"] = (math.prod(audio.grid), audio.patch_values), jnp.float32, MEANING["audio spectrogram"]
  elif audio:
    meaning = MEANING["audio"].format(sample_rate_hz=audio.sample_rate_hz)
    found["audio"] = (audio.samples,), jnp.float32, meaning
  if options.text:
    found["text"] = (options.text.length,), jnp.int32, MEANING["text"]
  return found


def _encoder(trained: jobs.Trained, modality: str) -> Callable[[dict, jax.Array], dict]:
  objective = trained.objective
  outputs = getattr(objective, "tokens", objective.encode)  # ALPRO's tokens too.

  def encode(weights, given):
    out = outputs(checkpoints.nested(weights), _batch(given, modality, trained.options))
    return {name: value[:, 0] if name.startswith("text/") else value for name, value in out.items()}

  return encode


def _batch(given: jax.Array, modality: str, options) -> dict[str, jax.Array]:
  """The batch that the model takes, of rows as they are."""
  if modality == "text":
    return {"text/ids": given[:, None], "text/mask": given[:, None] != 0}
  rows = given.shape[0]
  if modality == "video":
    (T, H, W), (t, h, w) = options.video.grid, options.video.patch
    cut = given.reshape(rows, T, t, H, h, W, w, 3).transpose(0, 1, 3, 5, 2, 4, 6, 7)
    patches = cut.reshape(rows, T * H * W, t * h * w * 3)
  elif options.audio.spectrogram:
    patches = given
  else:
    patches = given.reshape(rows, *options.audio.grid, options.audio.patch)
  positions = jnp.broadcast_to(jnp.arange(patches.shape[1], dtype=jnp.int32)[None], patches.shape[:2])
  return {f"{modality}/patches": patches, f"{modality}/positions": positions}
