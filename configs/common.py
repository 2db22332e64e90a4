"""What every training config has, and the arguments that every config takes."""

import ml_collections


def training() -> ml_collections.ConfigDict:
  """The fields that the training loop itself reads."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.batch_size = 64
  config.total_steps = 1000
  config.log_every_steps = 10
  config.checkpoint_every_steps = 200
  config.evaluate_every_steps = 500
  config.keep_checkpoints = 3
  config.init_from = ""  # a workdir or checkpoint to start from
  config.ema_decay = 0.0  # above 0: a moving average of the parameters is kept, and evaluated
  config.mesh = (1, -1, 1)  # replica, data, model
  config.overfit_clips = (
    0  # train on the first so many clips only; the `:overfit` argument of a config turns augmentation off too
  )
  return config


def arguments(text: str, known: tuple[str, ...]) -> set[str]:
  """The words behind FILE: in --config=FILE:a,b; ValueError names the ones there are."""
  words = {word for word in (text or "").split(",") if word}
  if unknown := words - set(known):
    raise ValueError(f"unknown config argument {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
  return words


def vatt_data() -> ml_collections.ConfigDict:
  """The input of VATT's pretraining (VATT sections 4.1 and A.2): 32 frames at 10 per second, 3.2 s of sound."""
  data = ml_collections.ConfigDict()
  data.directory = ""  # what `prepare --output` wrote; empty: miniature clips made on the spot
  data.group_by = ""  # "language": batches of one language each
  data.threads = 0  # for decoding; 0 lets tf.data choose
  data.video = ml_collections.ConfigDict({
      "frames": 32, "frames_per_second": 10.0, "size": 224, "patch": (4, 16, 16), "drop_rate": 0.5,
      "crop": "inception", "min_area": 0.08, "flip": True, "colour_jitter": 0.8,
  })  # fmt: skip
  data.audio = ml_collections.ConfigDict({
      "samples": 153_600, "sample_rate_hz": 48_000, "patch": 128, "drop_rate": 0.5, "pad": "loop", "noise": 0.01,
      "speed": 0.0, "gain_db": 0.0, "spectrogram": False, "spectrogram_patch": (16, 5), "window_seconds": 0.04267,
      "hop_seconds": 0.02134, "mels": 80, "mel_low_hz": 80.0, "mel_high_hz": 7600.0,
  })  # fmt: skip
  data.text = ml_collections.ConfigDict({"length": 16, "candidates": 5, "lower_case": True})
  return data


def vatt_model() -> ml_collections.ConfigDict:
  """VATT-MBS: medium video, base audio and small text towers."""
  return ml_collections.ConfigDict({
      "video_size": "medium", "audio_size": "base", "text_size": "small", "agnostic": False,
      "word_width": 300, "trainable_words": False, "text_scaled": False, "post_width": 1024, "va_width": 512, "vt_width": 256,
      "dropout": 0.1, "audio_scale": 1.0, "video_projection_init": "conv_glorot", "audio_projection_init": "conv_glorot",
  })  # fmt: skip


def vatt_objective() -> ml_collections.ConfigDict:
  """NCE between video and sound, MIL-NCE between video and text (VATT section 3.4)."""
  objective = ml_collections.ConfigDict(
    {"name": "vatt", "loss": "asymmetric", "temperature": 0.07, "reduction": "mean"}
  )
  objective.pairs = ml_collections.ConfigDict({"video_audio": 1.0, "video_text": 1.0, "audio_text": 0.0})
  return objective


def adam() -> ml_collections.ConfigDict:
  """VATT's pretraining schedule (A.2.4)."""
  return ml_collections.ConfigDict({
      "name": "adam", "learning_rate": 1e-4, "final_learning_rate": 5e-5, "warmup_steps": 10_000,
      "b1": 0.9, "b2": 0.999, "epsilon": 1e-7, "weight_decay": 0.0, "clip_global_norm": 0.0,
  })  # fmt: skip


def retrieval(split: str, when: str, windows: int = 1) -> ml_collections.ConfigDict:
  """Zero-shot retrieval between all pairs of modalities; `when` is "every" (evaluate_every_steps) or "final"."""
  return ml_collections.ConfigDict(
    {"kind": "retrieval", "split": split, "when": when, "windows": windows, "batch_size": 64}
  )


def shrink(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """The `:smoke` form: the same code at tiny size, on miniature clips, within seconds."""
  config.batch_size = 8
  config.total_steps = 4
  config.log_every_steps = 1
  config.checkpoint_every_steps = 2
  config.evaluate_every_steps = 2
  config.data.directory = ""
  config.data.group_by = ""
  config.data.video.update({"frames": 4, "size": 32, "patch": (2, 16, 16)})
  config.data.audio.update(
    {
      "samples": 3_200,
      "sample_rate_hz": 8_000,
      "patch": 160,
      "spectrogram_patch": (4, 8),
      "mels": 16,
      "mel_high_hz": 3800.0,
    }
  )
  config.data.text.length = 8
  config.model.update({
      "video_size": "tiny", "audio_size": "tiny", "text_size": "tiny", "word_width": 16, "post_width": 32,
      "va_width": 32, "vt_width": 16,
  })  # fmt: skip
  config.optimizer.warmup_steps = 2
  for evaluator in config.evaluators.values():
    evaluator.batch_size = 8
    evaluator.windows = 1
  return config
