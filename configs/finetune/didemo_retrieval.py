"""ALPRO fine-tuned for paragraph-to-video retrieval on DiDeMo: the sentences of a video are one text (tables 3 and 9).

  python -m vatt_jax.train --config=configs/finetune/didemo_retrieval.py --config.data.directory=DIR --config.init_from=PRETRAINED --workdir=RUN

Contrast and matching, 8 frames; 10 epochs of 8.4k videos. Expected, from the paper, by matching scores: R@1/5/10
35.9/67.5/78.8, median rank 3, here test_matching; test ranks by cosine. Arguments: official (no weight decay, frames anywhere
in the video, as the published code does); smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("official", "smoke"))
  config = common.alpro_retrieval(text_length=50)
  config.batch_size = 96
  config.objective.local_rows = 12
  config.total_steps = 880
  config.optimizer.update({"learning_rate": 4e-05, "warmup_steps": 88, "clip_global_norm": 20.0})
  if "official" in args:
    common.alpro_as_published(config)
  return common.shrink_alpro(config) if "smoke" in args else config
