"""VATT fine-tuned on a folder of your own, whose folders or manifest say the labels.

  python -m vatt_jax.prepare --source=FOLDER --output=DIR
  python -m vatt_jax.train --config=configs/finetune/folder.py --config.data.directory=DIR --config.init_from=PRETRAINED --workdir=RUN

Video by default, 32 frames of 224 pixels at 12.5 per second; `folder.py:audio` is for sound. As many classes as DIR has
labels. The recipes are VATT's (A.2.5, A.3) with a batch that one GPU holds, rates scaled by it, and 2,000 steps, which
are ours and want changing: `--config.total_steps=N`. Arguments: audio; demo (clips and a model as in
`configs/pretrain/vatt_demo.py`, minutes on two cores; without `init_from` the same model from scratch); smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("audio", "demo", "smoke"))
  config = common.video_finetuning(classes=0)
  config.batch_size = 16
  config.total_steps = 2_000
  config.log_every_steps = 10
  config.checkpoint_every_steps = 200
  config.evaluate_every_steps = 400
  config.data.video.size = 224
  config.optimizer.update({"learning_rate": 0.00125, "warmup_steps": 100})
  config.evaluators = {
    "validation": common.classification("validation", "every"),
    "test": common.classification("test", "final", windows=4, crops=3),
  }
  if "audio" in args:
    config.objective = common.classifier_objective("audio")
    config.objective.mix_up = 5.0
    config.model.classifier_dropout = 0.0
    config.data = common.classifier_data("audio", 0)
    config.optimizer.update({"learning_rate": 0.003, "clip_global_norm": 0.0, "clip_only": ""})
    config.evaluators["test"].crops = 1
  if "demo" in args:
    config.batch_size = 32
    config.total_steps = 400
    config.checkpoint_every_steps, config.evaluate_every_steps = 200, 200
    config.model.update({"default_size": "demo", "dropout": 0.0, "classifier_dropout": 0.1})
    config.optimizer = common.adam()
    config.optimizer.update({
        "learning_rate": 1e-3, "final_learning_rate": 0.0, "warmup_steps": 40, "b2": 0.98, "weight_decay": 0.1,
        "clip_global_norm": 1.0,
    })  # fmt: skip
    config.evaluators = {"test": common.classification("test", "final", windows=1)}
    if "audio" in args:
      config.objective.mix_up = 0.0
      config.model.projection_init = "gabor"
      config.data.audio.update({
          "samples": 32_000, "sample_rate_hz": 16_000, "stride": 1, "patch": 320, "pad": "zero", "speed": 0.1,
      })  # fmt: skip
    else:
      config.model.projection_init = "dense_glorot"
      config.data.video.update({
          "frames": 2, "frames_per_second": 2.0, "size": 64, "patch": (2, 8, 8), "crop": "random", "colour_jitter": 0.0,
      })  # fmt: skip
  return common.shrink(config) if "smoke" in args else config
