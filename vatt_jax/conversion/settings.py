"""The config that goes with converted weights: the fields that training, evaluation and `load` read.

Values are VATT's (sections 4.1 and A.2), written out: the files of `configs/` are the user's.
"""


def run(objective: dict, model: dict, data: dict) -> dict:
  """The whole config of a run that only evaluates."""
  return {
      "seed": 0, "batch_size": 64, "total_steps": 1, "log_every_steps": 1, "checkpoint_every_steps": 1,
      "evaluate_every_steps": 1, "keep_checkpoints": 3, "init_from": "", "init_ignore": "", "ema_decay": 0.0,
      "mesh": [1, -1, 1], "fsdp": False, "accumulate": 1, "deterministic": True, "stall_seconds": 300.0,
      "profile_steps": [0, 0], "overfit_clips": 0, "objective": objective, "model": model, "data": data, "evaluators": {},
  }  # fmt: skip


def vatt_objective() -> dict:
  """NCE between video and sound, MIL-NCE between video and text."""
  return {
      "name": "vatt", "loss": "asymmetric", "temperature": 0.07, "learned_temperature": False, "reduction": "mean",
      "groups": 1, "ring": False, "mask_overlaps": False, "overrides": {},
      "pairs": {
          "video_audio": 1.0, "video_text": 1.0, "audio_text": 0.0,
          "videoaudio_text": 0.0, "videotext_audio": 0.0, "audiotext_video": 0.0,
      },
  }  # fmt: skip


def vatt_model(**found) -> dict:
  """The fields of `models.vatt.Vatt`; `found` are those that the file told."""
  return {
      "video_size": "tiny", "audio_size": "tiny", "text_size": "tiny", "agnostic": False, "vocabulary_size": 0,
      "word_width": 300, "trainable_words": False, "word_projection": True, "text_form": "vatt",
      "text_aggregation": "token", "text_scaled": False, "post_width": 1024, "head": "fac", "va_width": 512,
      "vt_width": 256, "head_norms": "video", "va_to_vt": "mlp", "normalised_positions": True,
      "aggregation_position": False, "dropout": 0.1, "attention_dropout": -1.0, "attention": "auto", "dtype": "float32", "remat": "none", "scan": False, "audio_scale": 1.0, "video_projection_init": "conv_glorot",
      "audio_projection_init": "conv_glorot", **found,
  }  # fmt: skip


def classifier_objective(modality: str) -> dict:
  """Fine-tuning: one label for a video (A.2.5), several for a sound (A.3)."""
  video = modality == "video"
  return {
      "name": "classifier", "modality": modality, "label_smoothing": 0.1 if video else 0.0, "balanced": not video,
      "mix_up": 0.0 if video else 5.0,
  }  # fmt: skip


def classifier_model(modality: str, size: str, post_width: int) -> dict:
  """The fields of `models.classifier.Classifier`."""
  return {
      "size": size, "default_size": "base", "post_width": post_width, "dropout": 0.1, "attention_dropout": -1.0,
      "attention": "auto", "classifier_dropout": 0.5 if modality == "video" else 0.0,
      "input_scale": 1.0, "projection_init": "conv_glorot", "dtype": "float32", "remat": "none", "scan": False,
  }  # fmt: skip


def alpro_objective(**found) -> dict:
  """ALPRO's pretraining (sections 3.2 to 3.4); `found` are the terms of other stages."""
  return {
      "name": "alpro", "terms": {"vtc": 0.0, "vtm": 0.0, "mlm": 0.0, "pem": 0.0}, "negatives": "local",
      "local_rows": 16, "mask_rate": 0.15, "mask_id": 103, "label_filter": "paper", "label_threshold": 0.2, **found,
  }  # fmt: skip


def alpro_model(**found) -> dict:
  """The fields of `models.alpro.Alpro`; `found` are those that the file told."""
  return {
      "video_size": "base", "text_size": "base", "vocabulary_size": 0, "fusion_layers": 6, "embedding_width": 256,
      "entities": 0, "max_length": 512, "dropout": 0.1, "drop_path": 0.1, "remat": "none",
      **found,
  }  # fmt: skip


def alpro_video(frames: int, size: int, patch: tuple[int, int]) -> dict:
  """Whole square clips in patches of single frames, spread over the video."""
  return {
      "frames": frames, "sampling": "uniform", "size": size, "patch": [1, *patch], "drop_rate": 0.0, "crop": "whole",
      "flip": False, "colour_jitter": 0.0,
  }  # fmt: skip


def data(**found) -> dict:
  """The input: modality -> what the file told about it; those that are not named are not read."""
  published = {
      "video": {
          "frames": 32, "frames_per_second": 10.0, "size": 224, "width": 0, "patch": [4, 16, 16], "drop_rate": 0.5,
          "crop": "inception", "min_area": 0.08, "max_aspect": 2.0, "flip": True, "colour_jitter": 0.8,
          "sampling": "window", "rand_augment": "", "interpolation": "bilinear", "stills": "",
      "dct_scaling": False, "windows": 1,
      },
      "audio": {
          "samples": 153_600, "sample_rate_hz": 48_000, "patch": 128, "drop_rate": 0.5, "stride": 1, "pad": "loop",
          "noise": 0.01, "speed": 0.0, "gain_db": 0.0, "spectrogram": False, "spectrogram_patch": [16, 5], "window_seconds": 0.04267,
          "hop_seconds": 0.02134, "mels": 80, "mel_low_hz": 80.0, "mel_high_hz": 7600.0,
      },
      "text": {"length": 16, "candidates": 5, "lower_case": True, "kinds": ()},
      "label": {"classes": 0, "multiple": False},
  }  # fmt: skip
  told = {name: {**published[name], **fields} for name, fields in found.items()}
  return {
      "directory": "", "group_by": "", "threads": 0, "mixture": [], "mixture_by": "example", "clip_spans": False, **told,
  }  # fmt: skip
