"""Trained encoders in Python.

import vatt_jax
model = vatt_jax.load("runs/first")            # a workdir, a checkpoint, or a converted or exported directory
out = model.encode(video=frames, audio=waveform, text=["a dog barks"])
out["video/vt"] @ out["text/vt"].T             # after dividing by their norms: similarity
"""

from collections.abc import Sequence
import dataclasses
import math

import jax
import ml_collections
import numpy as np

from vatt_jax import jobs
from vatt_jax.data import audio as audio_lib, patches, text as text_lib
from vatt_jax.errors import UserError
from vatt_jax.models import positions
from vatt_jax.objectives.alpro import AlproEncoders


def load(place: str) -> "Model | AlproModel":
  """The model of a workdir (its newest checkpoint), of one `checkpoints/<step>`, or of a converted directory.

  Raises:
    UserError: where there is no checkpoint.
  """
  trained = jobs.open_checkpoint(place)
  kind = AlproModel if isinstance(trained.objective, AlproEncoders) else Model
  return kind(trained.config, trained.objective, trained.options, trained.tokenizer, trained.variables)


class Model:
  """Encoders with their weights.

  Attributes:
    config: what the model is: `audio.sample_rate_hz`, `video.size` and so on, beside the run's `model` and `objective`.
    tokenizer: strings to ids, or None.
    labels: names of a classifier's classes, in the order of its logits; empty where they are unknown.
  """

  _pads_ids = True  # Fewer ids than in training are filled up.

  def __init__(self, config, objective, options, tokenizer, variables):
    names = list(options.label.names) if options.label else []
    said = {**config.to_dict(), **config.data.to_dict(), "answers": names}
    self.config = ml_collections.FrozenConfigDict(_with_tuples(said))
    self.tokenizer = tokenizer
    self.labels = options.label.names if options.label else ()
    self._objective, self._options = objective, options
    self._variables = variables
    self._encoders = {}  # grids -> a compiled encoder and its variables on the device

  @property
  def spaces(self) -> dict[tuple[str, str], tuple[str, str]]:
    """Two modalities -> the outputs of `encode` by which they are compared."""
    return self._objective.spaces

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
    if video is None and audio is None and text is None:
      raise UserError("encode needs video, audio or text.")
    batch, grids = self._batch(video, audio, text)
    encoder, variables = self._encoder(grids)
    out = jax.device_get(encoder(variables, batch))
    return {name: value[:, 0] if name.startswith("text/") else value for name, value in out.items()}

  def __getattr__(self, name: str):
    if name in ("match", "answer", "caption", "entities"):
      raise _NotThere(f"this model has no {name}: ALPRO's models have, which look at video and text together.")
    raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

  def _batch(self, video=None, audio=None, text=None) -> tuple[dict, dict]:
    """A batch as the data pipeline makes it, and the grids of its patches."""
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
    return batch, grids

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
    length = self._track("text").length if self._pads_ids else 0
    if isinstance(text, str):  # Else each of its letters were a caption.
      raise UserError(f"text must be a list of strings, such as [{text[:40]!r}].")
    if not isinstance(text, np.ndarray | jax.Array) and any(isinstance(line, str) for line in text):
      if self.tokenizer is None:
        raise UserError(
          "this model carries no vocabulary, so it cannot read strings: pass ids, or convert it with --vocabulary=FILE."
        )
      rows, _ = text_lib.encode_captions(
        list(text), self.tokenizer, dataclasses.replace(self._options.text, candidates=len(text))
      )
      return rows
    try:
      ids = np.asarray(text, np.int32)
    except ValueError:
      raise UserError("text ids must be (B, L): rows of one length, padded with 0.") from None
    if ids.ndim != 2:
      raise UserError(f"text ids must be (B, L), not {ids.shape}.")
    known = self._objective.model.vocabulary_size
    if ids.size and not 0 <= ids.min() <= ids.max() < known:
      raise UserError(f"text ids must be from 0 to {known - 1}, not {ids.min()} to {ids.max()}.")
    return np.pad(ids, [(0, 0), (0, max(0, length - ids.shape[1]))])


class AlproModel(Model):
  """A model that also looks at video and text together.

  `encode` gives `video/tokens` (B, 1 + N, D), the class token first, `text/tokens` (B, L, D), and of unit length
  `video/vtc` and `text/vtc` (B, E). Clips must have the T, H and W of training. `config.answers` and
  `config.entities` name the answers and the entities, in the order of their figures, where they are known.
  """

  _pads_ids = False

  def match(self, video: np.ndarray, text: Sequence[str] | np.ndarray) -> np.ndarray:
    """How probable it is that clip i and text i belong together.

    Args:
      video: clips (B, T, H, W, 3), as in `encode`.
      text: as many strings, or ids (B, L).

    Returns:
      float32 (B,), from 0 to 1.

    Raises:
      UserError: of a model that was not trained to match, or where clips and texts are no pairs.
    """
    self._need("vtm", "was not trained to match video and text")
    return self._both(self._objective.match, video, text)

  def answer(self, video: np.ndarray, question: Sequence[str] | np.ndarray) -> np.ndarray:
    """How likely each answer to question i about clip i is.

    Args:
      video: clips (B, T, H, W, 3), as in `encode`.
      question: as many strings, or ids (B, L).

    Returns:
      Logits float32 (B, answers), in the order of `config.answers`.

    Raises:
      UserError: of a model that was not fine-tuned on questions, or where clips and questions are no pairs.
    """
    self._need("qa", "was not trained to answer questions")
    return self._both(self._objective.answer, video, question)

  def caption(self, video: np.ndarray) -> list[str]:
    """What a model that was fine-tuned on captions (configs/finetune/captioning.py) writes of each clip.

    Args:
      video: clips (B, T, H, W, 3), as in `encode`.

    Raises:
      UserError: of another model.
    """
    if not hasattr(self._objective, "generate"):
      raise UserError("this model was not trained to write captions.")
    batch, _ = self._batch(video)
    return [text_lib.sentence(ids, self.tokenizer) for ids in self._run(self._objective.generate, batch, "generate")]

  def entities(self, video: np.ndarray) -> np.ndarray:
    """What the prompter sees, by its prompts for videos.

    Args:
      video: clips (B, T, H, W, 3), as in `encode`.

    Returns:
      Probabilities float32 (B, entities) that sum to 1, in the order of `config.entities`.

    Raises:
      UserError: of a model without a prompter.
    """
    if "video_prompts" not in self._variables.get("prompter", {}):
      raise UserError("this model has no prompter with entity prompts.")
    batch, _ = self._batch(video)
    run = lambda variables, batch: self._objective.entities(variables, batch["video/patches"])
    return self._run(run, batch, "entities")

  def _need(self, part: str, lack: str) -> None:
    if part not in self._objective.model.parts:
      raise UserError(f"this model {lack}.")

  def _both(self, function, video, text) -> np.ndarray:
    batch, _ = self._batch(video, None, text)
    if len(batch["video/patches"]) != len(batch["text/ids"]):
      raise UserError(
        f"{len(batch['video/patches'])} clips and {len(batch['text/ids'])} texts make no pairs: give as many of both."
      )
    return self._run(function, batch, function.__name__)

  def _run(self, function, batch, name):
    if name not in self._encoders:
      self._encoders[name] = jax.jit(function)
    return jax.device_get(self._encoders[name](self._on_device(), batch))

  def _encoder(self, grids):
    if "tokens" not in self._encoders:
      self._encoders["tokens"] = jax.jit(self._objective.tokens)
    return self._encoders["tokens"], self._on_device()

  def _on_device(self) -> dict:
    if "variables" not in self._encoders:
      self._encoders["variables"] = jax.device_put(self._variables)
    return self._encoders["variables"]

  def _batch(self, video=None, audio=None, text=None):
    batch, grids = super()._batch(video, audio, text)
    if (
      (trained := self._options.video)
      and "video" in grids
      and tuple(np.shape(video)[1:4]) != (trained.frames, *trained.pixels)
    ):
      raise UserError(
        f"this model takes clips of (T, H, W) = {(trained.frames, *trained.pixels)}, not {tuple(np.shape(video)[1:4])}; "
        "convert or fine-tune it for another number of frames."
      )
    longest = self._objective.model.max_length
    if text is not None and batch["text/ids"].shape[-1] > longest:
      raise UserError(
        f"texts of {batch['text/ids'].shape[-1]} tokens are longer than the {longest} positions there are."
      )
    return batch, grids


class _NotThere(UserError, AttributeError):
  """For users a sentence, for `hasattr` an attribute that is missing."""


def _with_tuples(value):
  """Frozen configs cannot hold two empty lists."""
  if isinstance(value, dict):
    return {name: _with_tuples(each) for name, each in value.items()}
  return tuple(map(_with_tuples, value)) if isinstance(value, list | tuple) else value


def _video_patches(video: np.ndarray, patch: tuple[int, int, int]) -> tuple[np.ndarray, tuple[int, int, int]]:
  if video.ndim != 5 or video.shape[-1] != 3:
    raise UserError(f"video must be (B, T, H, W, 3), not {video.shape}.")
  if any(n < p or n % p for n, p in zip(video.shape[1:4], patch)):
    raise UserError(f"video of {video.shape[1:4]} (T, H, W) does not divide into patches of {tuple(patch)}.")
  video = video if video.dtype == np.uint8 else _floats(video, "video", "uint8", "x / 127.5 - 1")
  grid = tuple(n // p for n, p in zip(video.shape[1:4], patch))
  one_film = video.reshape(-1, *video.shape[2:])  # Its patches are those of one clip after the other.
  return patches.video_patches(one_film, patch).reshape(len(video), math.prod(grid), -1), grid


def _audio_patches(audio: np.ndarray, options: audio_lib.AudioOptions) -> tuple[np.ndarray, tuple[int, ...]]:
  if audio.ndim == 3 and audio.shape[-1] == 1:
    audio = audio[..., 0]
  if audio.ndim != 2:
    raise UserError(f"audio must be (B, S), not {audio.shape}.")
  audio = audio if audio.dtype == np.int16 else _floats(audio, "audio", "int16", "x / 32768")
  if options.spectrogram:
    return audio_lib.spectrograms(audio, options)
  if audio.shape[1] < options.patch or audio.shape[1] % options.patch:
    raise UserError(f"audio of {audio.shape[1]} samples does not divide into patches of {options.patch}.")
  return audio.reshape(len(audio), -1, options.patch), (audio.shape[1] // options.patch,)


_FAR_OUT = 10.0  # Whatever overshoots [-1, 1] stays below; pixels and samples as whole numbers do not.


def _floats(signal: np.ndarray, what: str, whole: str, scaled: str) -> np.ndarray:
  """A signal in [-1, 1]; UserError where whole numbers were only made floats of, or are of another width."""
  largest = np.abs(signal.astype(np.float32)).max(initial=0)
  if not jax.numpy.issubdtype(signal.dtype, jax.numpy.floating) or largest > _FAR_OUT:
    raise UserError(f"{what} must be {whole}, or floats in [-1, 1] ({scaled}), not {signal.dtype} up to {largest:g}.")
  return signal.astype(np.float32)


def _resized(variables: dict, grids: dict[str, tuple[int, ...]]) -> dict:
  """The variables with position tables for these grids."""

  def fit(path, value):
    name = [getattr(key, "key", "") for key in path]
    if len(name) > 3 and name[1] in grids and name[2] == "positions" and name[3].startswith("axis_"):
      return positions.resize_table(value, grids[name[1]][int(name[3].removeprefix("axis_"))])
    return value

  return jax.tree_util.tree_map_with_path(fit, variables)
