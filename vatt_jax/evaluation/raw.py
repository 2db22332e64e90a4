"""What can be told from pixels and samples without any encoder: the baseline that features are held against."""

import dataclasses

import numpy as np

from vatt_jax.data import audio as audio_lib, pipeline

SECTIONS = 16  # of a sound, each the mean of its spectra
BANDS = 40


def raw(modality: str, batch: dict[str, np.ndarray], options: pipeline.InputOptions) -> np.ndarray:
  """Float32 (B, D) of a host batch in which every patch is kept.

  A video is its mean picture, each patch as 2 x 2 mean colours; a sound its log-mel spectrum, `BANDS` in `SECTIONS`.
  """
  patches = batch[f"{modality}/patches"]
  if modality == "video":
    (steps, rows, columns), (frames, height, width) = options.video.grid, options.video.patch
    shape = (steps, rows * columns, frames, 2, height // 2, 2, width // 2, 3)
    return np.mean(patches.reshape(len(patches), *shape), axis=(1, 3, 5, 7), dtype=np.float32).reshape(len(patches), -1)
  if options.audio.spectrogram:
    return patches.reshape(len(patches), -1)
  mels = dataclasses.replace(options.audio, spectrogram=True, spectrogram_patch=(1, BANDS), mels=BANDS)
  spectra, _ = audio_lib.spectrograms(patches.reshape(len(patches), -1), mels)
  sections = np.array_split(spectra, min(SECTIONS, spectra.shape[1]), axis=1)
  return np.concatenate([section.mean(axis=1) for section in sections], axis=1)
