"""VATT on the demo set: drawings, the voices that name them, and the names. The quickstart's config."""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("smoke", "overfit", "long"))
  config = common.training()
  config.batch_size = 64
  config.total_steps = 2000
  config.log_every_steps = 20
  config.checkpoint_every_steps = 250
  config.evaluate_every_steps = 500
  config.objective = common.vatt_objective()
  config.objective.pairs.audio_text = 1.0
  config.model = common.vatt_model()
  config.model.update({
      "video_size": "demo", "audio_size": "demo", "text_size": "demo", "trainable_words": True,
      "word_width": 128, "post_width": 128, "va_width": 256, "vt_width": 128,
      "audio_scale": 4.0, "audio_projection_init": "gabor",
  })  # fmt: skip
  config.data = common.vatt_data()
  config.data.group_by = "language"
  config.data.video.update({"frames": 4, "frames_per_second": 5.0, "size": 64, "patch": (4, 8, 8), "min_area": 0.3})
  config.data.audio.update({"samples": 32_000, "sample_rate_hz": 16_000, "patch": 320, "pad": "zero", "speed": 0.1})
  config.data.text.update({"length": 16, "candidates": 1})
  config.optimizer = common.adam()
  config.optimizer.update({
      "learning_rate": 4e-4, "final_learning_rate": 2e-5, "warmup_steps": 200, "clip_global_norm": 1.0, "weight_decay": 0.05,
  })  # fmt: skip
  config.evaluators = {
      "validation": common.retrieval("validation", "every"),
      "test": common.retrieval("test", "final"),
  }
  if "smoke" in args:
    common.shrink(config)
  return config
