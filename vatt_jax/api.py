"""Trained encoders in Python.

import vatt_jax
model = vatt_jax.load("runs/first")            # a workdir, a checkpoint, or a converted directory
out = model.encode(video=frames, audio=waveform, text=["a dog barks"])
"""

from collections.abc import Sequence

import jax
import ml_collections
import numpy as np

from vatt_jax import jobs, objectives
from vatt_jax.data import audio as audio_lib, text as text_lib
from vatt_jax.errors import UserError
from vatt_jax.models import positions
from vatt_jax.training import checkpoints


def load(place: str) -> "Model":
  """The model of a workdir (its newest checkpoint), of one `checkpoints/<step>`, or of a converted directory.

  Raises:
    UserError: where there is no checkpoint.
  """
  checkpoint = checkpoints.find(place)
  home = checkpoint.parent.parent if checkpoint.parent.name == checkpoints.FOLDER else checkpoint
  config = ml_collections.ConfigDict(checkpoints.manifest(checkpoint)["config"], convert_dict=True)
  kept = home / jobs.LABELS
  options = jobs.input_options(config.data, tuple(kept.read_text().splitlines()) if kept.exists() else ())
  tokenizer = text_lib.load_tokenizer(home)
  objective = objectives.build(config, options, tokenizer.vocabulary_size if tokenizer else 0)
  return Model(config, objective, options, tokenizer, checkpoints.restore_variables(checkpoint))


class Model:
  """Encoders with their weights.

  Attributes:
    config: what the model is: `audio.sample_rate_hz`, `video.size` and so on, beside the run's `model` and `objective`.
    tokenizer: strings to ids, or None.
    labels: names of a classifier's classes, in the order of its logits; empty where they are unknown.
  """

  def __init__(self, config, objective, options, tokenizer, variables):
    self.config = ml_collections.FrozenConfigDict({**config.to_dict(), **config.data.to_dict()})
    self.tokenizer = tokenizer
    self.labels = options.label.names if options.label else ()
    self._objective, self._options = objective, options
    self._variables = variables
    self._encoders = {}  # grids -> a compiled encoder and its variables on the device

  def encode(
    self,
    video: np.ndarray | None = None,
    audio: np.ndarray | None = None,
    text: Sequence[str] | np.ndarray | None = None,
  ) -> dict[str, np.ndarray]:
    """Embeds what is given; no DropToken, batch statistics as learned.

    Args:
      video: uint8 (B, T, H, W, 3), or float32 in [-1, 1]. Another T, H or W than in training resizes the position
        tables; they must divide by the patch.
      audio: float32 (B, S) in [-1, 1] or int16, at `config.audio.sample_rate_hz`; another S is fine too.
      text: strings, which are cut at the length of training, or int32 ids (B, L) with 0 for padding, of any length.

    Returns:
      name -> float32 (B, ...): `video/pooled`, `audio/pooled`, `text/pooled`, and the unnormalised outputs of the heads
      (`video/va`, `audio/va`, `video/vt`, `text/vt`, `audio/vt`, ...), or `logits` of a classifier.

    Raises:
      UserError: for shapes that cannot be encoded, and strings without a vocabulary.
    """
    batch, grids = {}, {}
    if video is not None:
      batch["video/patches"], grids["video"] = _video_patches(np.asarray(video), self._track("video").patch)
    if audio is not None:
      batch["audio/patches"], grids["audio"] = _audio_patches(np.asarray(audio), self._track("audio"))
    for modality, grid in grids.items():  # Not of text: it comes later.
      rows = len(batch[f"{modality}/patches"])
      places = np.arange(np.prod(grid), dtype=np.int32)
      batch[f"{modality}/positions"] = np.broadcast_to(places, (rows, len(places)))
    if text is not None:
      ids = self._ids(text)
      grids["text"] = ids.shape[1:]
      batch["text/ids"], batch["text/mask"] = ids[:, None], ids[:, None] != 0
    if not batch:
      raise UserError("encode needs video, audio or text.")
    encoder, variables = self._encoder(grids)
    out = jax.device_get(encoder(variables, batch))
    return {name: value[:, 0] if name.startswith("text/") else value for name, value in out.items()}

  def _encoder(self, grids):
    key = tuple(sorted(grids.items()))
    if key not in self._encoders:
      encoder = jax.jit(self._objective.with_grids(grids).encode)
      self._encoders[key] = encoder, jax.device_put(_resized(self._variables, grids))
    return self._encoders[key]

  def _track(self, modality):
    track = getattr(self._options, modality)
    if track is None:
      raise UserError(f"this model has no encoder for {modality}.")
    return track

  def _ids(self, text) -> np.ndarray:
    length = self._track("text").length
    if not isinstance(text, np.ndarray | jax.Array) and any(isinstance(line, str) for line in text):
      if self.tokenizer is None:
        raise UserError(
          "this model carries no vocabulary, so it cannot read strings: pass ids, or convert it with --vocabulary=FILE."
        )
      rows, _ = text_lib.encode_captions(
        list(text), self.tokenizer, text_lib.TextOptions(length, len(text), self._options.text.lower_case)
      )
      return rows
    ids = np.asarray(text, np.int32)
    if ids.ndim != 2:
      raise UserError(f"text ids must be (B, L), not {ids.shape}.")
    return np.pad(ids, [(0, 0), (0, max(0, length - ids.shape[1]))])


def _video_patches(video: np.ndarray, patch: tuple[int, int, int]) -> tuple[np.ndarray, tuple[int, int, int]]:
  if video.ndim != 5 or video.shape[-1] != 3:
    raise UserError(f"video must be (B, T, H, W, 3), not {video.shape}.")
  if any(n < p or n % p for n, p in zip(video.shape[1:4], patch)):
    raise UserError(f"video of {video.shape[1:4]} (T, H, W) does not divide into patches of {tuple(patch)}.")
  video = video if video.dtype == np.uint8 else video.astype(np.float32)
  grid = tuple(n // p for n, p in zip(video.shape[1:4], patch))
  (T, H, W), (t, h, w) = grid, patch
  cut = video.reshape(-1, T, t, H, h, W, w, 3).transpose(0, 1, 3, 5, 2, 4, 6, 7)
  return cut.reshape(len(video), T * H * W, -1), grid


def _audio_patches(audio: np.ndarray, options: audio_lib.AudioOptions) -> tuple[np.ndarray, tuple[int, ...]]:
  if audio.ndim == 3 and audio.shape[-1] == 1:
    audio = audio[..., 0]
  if audio.ndim != 2:
    raise UserError(f"audio must be (B, S), not {audio.shape}.")
  if options.spectrogram:
    return audio_lib.spectrograms(audio, options)
  if audio.shape[1] < options.patch or audio.shape[1] % options.patch:
    raise UserError(f"audio of {audio.shape[1]} samples does not divide into patches of {options.patch}.")
  audio = audio if audio.dtype == np.int16 else audio.astype(np.float32)
  return audio.reshape(len(audio), -1, options.patch), (audio.shape[1] // options.patch,)


def _resized(variables: dict, grids: dict[str, tuple[int, ...]]) -> dict:
  """The variables with position tables for these grids."""

  def fit(path, value):
    name = [getattr(key, "key", "") for key in path]
    if len(name) > 3 and name[1] in grids and name[2] == "positions" and name[3].startswith("axis_"):
      return positions.resize_table(value, grids[name[1]][int(name[3].removeprefix("axis_"))])
    return value

  return jax.tree_util.tree_map_with_path(fit, variables)
