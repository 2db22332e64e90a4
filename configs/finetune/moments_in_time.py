"""VATT fine-tuned on Moments in Time: 32 frames of 320 pixels, SGD, 100,000 steps of 64 clips (VATT A.2.5).

  python -m vatt_jax.train --config=configs/finetune/moments_in_time.py --config.data.directory=DIR --config.init_from=PRETRAINED --workdir=RUN

The tower's size and patches are those of PRETRAINED, modality-specific or modality-agnostic. Expected, from the paper,
top-1/top-5 of 4 windows x 3 crops: Base 38.7/67.5, Medium 39.5/68.2, Large 41.1/67.7, modality-agnostic Medium 37.8/65.9.
Arguments: drop_token (50 % dropped while fine-tuning, the paper's ablation); published (150,000 steps, as the file name of the published weights says); smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("smoke", "drop_token", "published"))
  config = common.video_finetuning(classes=339)
  if "published" in args:
    config.total_steps = 150_000
  if "drop_token" in args:
    config.data.video.drop_rate = 0.5
  return common.shrink(config) if "smoke" in args else config
