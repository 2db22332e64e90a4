"""VATT-Base fine-tuned on ImageNet: a picture of 384 pixels, repeated four times in time (VATT 4.2.3, A.3.1).

  python -m vatt_jax.train --config=configs/finetune/imagenet.py --config.data.directory=DIR --config.init_from=PRETRAINED --workdir=RUN

SGD at 0.08, label smoothing 0.1, batches of 512, 50 epochs (125,000 steps). The paper gives no warm-up; it is that of the
video runs. Expected, from the paper, top-1/top-5: 78.7/93.9; from scratch 64.7/83.9. Arguments: smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("smoke",))
  config = common.video_finetuning(classes=1000)
  config.batch_size = 512
  config.total_steps = 125_000
  config.data.video.update({"frames": 4, "size": 384, "colour_jitter": 0.0})  # A still clip is looped: tiled in time.
  config.model.classifier_dropout = 0.0
  config.optimizer.update({"learning_rate": 0.08, "clip_global_norm": 0.0, "clip_only": ""})
  config.evaluators = {"validation": common.classification("validation", "every")}
  return common.shrink(config) if "smoke" in args else config
