"""VATT on the demo set: drawings, the voices that name them, and the names. The quickstart's config.

  python -m vatt_jax.prepare --source=demo --output=data/demo
  python -m vatt_jax.train --config=configs/pretrain/vatt_demo.py --config.data.directory=data/demo --workdir=runs/demo

Two CPU cores, 6 to 9 minutes of training. Test R@5: audio to text 26.3, video to text 16.4, chance 5.5 (README).
Arguments: smoke; overfit (64 clips, the loss falls to its floor); long (6000 steps: 31.5 and 17.9); two_pairs
(VATT's own pairs); by_kind (asked about captions of the sound, of the picture and of both, on demo:kinds); ten_pairs
(trained on them, too); effects (asked about sound effects, data/demo_effects, too); matching, prompted (ALPRO's objectives
beside VATT's: does a caption match a picture or a sound, and what does a trained VATT with prompts,
weights/vatt_prompter, see and hear in the clip).
"""

import ml_collections

from configs import common

KINDS = ("sound", "picture", "both")  # of captions, in demo:kinds


def get_config(arg=""):
  args = common.arguments(
    arg, ("smoke", "overfit", "long", "two_pairs", "by_kind", "ten_pairs", "matching", "prompted", "effects")
  )
  config = common.training()
  config.batch_size = 64
  config.total_steps = 1500
  config.ema_decay = 0.99
  config.log_every_steps = 20
  config.checkpoint_every_steps = 250
  config.evaluate_every_steps = 500
  config.objective = common.vatt_objective()
  # Pictures are few and learn slowest; sound and text are a pair of our own, VATT has the first two.
  config.objective.pairs.update({"video_audio": 1.0, "video_text": 2.0, "audio_text": 1.0})
  config.model = common.vatt_model()
  config.model.update({
      "video_size": "demo", "audio_size": "demo", "text_size": "demo",
      "agnostic": True, "dropout": 0.0,
      "word_width": 128, "trainable_words": True, "text_scaled": True, "post_width": 128, "va_width": 256, "vt_width": 128,
      "audio_scale": 4.0, "video_projection_init": "dense_glorot", "audio_projection_init": "gabor",
  })  # fmt: skip
  config.data = common.vatt_data()
  config.data.video.update({"frames": 2, "frames_per_second": 2.0, "size": 64, "patch": (2, 8, 8), "min_area": 0.3})
  config.data.audio.update({
      "samples": 32_000, "sample_rate_hz": 16_000, "patch": 320, "drop_rate": 0.5, "pad": "zero", "noise": 0.0, "speed": 0.1,
      "spectrogram_patch": (4, 80), "window_seconds": 0.025, "hop_seconds": 0.010,
  })  # fmt: skip
  config.data.text.update({"length": 24, "candidates": 1})
  config.optimizer = common.adam()
  config.optimizer.update({
      "learning_rate": 1.5e-3, "final_learning_rate": 2e-5, "warmup_steps": 200, "b2": 0.98, "clip_global_norm": 1.0,
      "weight_decay": 0.1,
  })  # fmt: skip
  config.evaluators = {
    "validation": common.retrieval("validation", "every"),
    "test": common.retrieval("test", "final"),
  }
  if "two_pairs" in args:  # As published: sound reaches text through video alone.
    config.objective.pairs.audio_text = 0.0
  if "ten_pairs" in args:  # Pairs of modalities and kinds of captions, as in newer recipes: PE-AV, arXiv 2512.19687.
    config.data.text.kinds = KINDS
    captions = {f"{one}_text_{kind}": 1.0 for one in ("video", "audio", "videoaudio") for kind in KINDS}
    config.objective.pairs = ml_collections.ConfigDict({"video_audio": 1.0} | captions)
  if args & {"by_kind", "ten_pairs"}:
    for kind in KINDS:
      config.evaluators[f"test_{kind}"] = common.retrieval("test", "final", caption_kind=kind)
  if "effects" in args:
    for split in ("validation", "test"):
      directory = "" if "smoke" in args else "data/demo_effects"
      config.evaluators[f"effects_{split}"] = common.retrieval(split, "final", directory=directory)
  if "long" in args:
    config.total_steps = 6000
    config.evaluate_every_steps = 1000
  if "overfit" in args:  # 64 clips, not augmented: the loss falls towards ln 2, its floor.
    config.overfit_clips = 64
    config.total_steps = 300
    config.optimizer.weight_decay = 0.0
    config.data.video.update({"crop": "centre", "flip": False, "colour_jitter": 0.0, "drop_rate": 0.0})
    config.data.audio.update({"speed": 0.0, "drop_rate": 0.0})
    config.evaluators = {}
  if args & {"matching", "prompted"}:
    common.prompted(config, entities="prompted" in args)
    if "smoke" in args and "prompted" in args:
      config.init_from, config.objective.known = "", 4
  return common.shrink(config) if "smoke" in args else config
