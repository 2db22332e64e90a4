"""VATT fine-tuned on Kinetics-600: 32 frames of 320 pixels, SGD, 100,000 steps of 64 clips (VATT A.2.5).

  python -m vatt_jax.train --config=configs/finetune/kinetics600.py --config.data.directory=DIR --config.init_from=PRETRAINED --workdir=RUN

The tower's size and patches are those of PRETRAINED, modality-specific or modality-agnostic. Expected, from the paper,
top-1/top-5 of 4 windows x 3 crops: Base 80.5/95.5, Medium 82.4/96.1, Large 83.6/96.6, modality-agnostic Medium 80.8/95.5.
Arguments: drop_token (50 % dropped while fine-tuning, the paper's ablation); smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("smoke", "drop_token"))
  config = common.video_finetuning(classes=600)
  if "drop_token" in args:
    config.data.video.drop_rate = 0.5
  return common.shrink(config) if "smoke" in args else config
