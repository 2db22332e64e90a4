"""VATT fine-tuned on Kinetics-400: 32 frames of 320 pixels, SGD, 100,000 steps of 64 clips (VATT A.2.5).

  python -m vatt_jax.train --config=configs/finetune/kinetics400.py --config.data.directory=DIR --config.init_from=PRETRAINED --workdir=RUN

The tower's size and patches are those of PRETRAINED, modality-specific or modality-agnostic. Expected, from the paper,
top-1/top-5 of 4 windows x 3 crops: Base 79.6/94.9, Medium 81.1/95.6, Large 82.1/95.5, modality-agnostic Medium 79.9/94.9.
Arguments: drop_token (50 % dropped while fine-tuning, the paper's ablation); smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("smoke", "drop_token"))
  config = common.video_finetuning(classes=400)
  if "drop_token" in args:
    config.data.video.drop_rate = 0.5
  return common.shrink(config) if "smoke" in args else config
