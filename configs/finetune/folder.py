"""VATT fine-tuned on a folder of your own, whose folders or manifest say the labels.

  python -m vatt_jax.prepare --source=FOLDER --output=DIR
  python -m vatt_jax.train --config=configs/finetune/folder.py --config.data.directory=DIR --config.init_from=PRETRAINED --workdir=RUN

Video by default, 32 frames of 224 pixels at 12.5 per second; `folder.py:audio` is for sound. As many classes as DIR has
labels. The recipes are VATT's (A.2.5, A.3) with a batch that one GPU holds, rates scaled by it, and 2,000 steps, which
are ours and want changing: `--config.total_steps=N`. Arguments: audio, smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("audio", "smoke"))
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
  return common.shrink(config) if "smoke" in args else config
