"""ALPRO fine-tuned for text-to-video retrieval on MSR-VTT: 7k training videos, 1k test pairs (ALPRO tables 2 and 9).

  python -m vatt_jax.train --config=configs/finetune/msrvtt_retrieval.py --config.data.directory=DIR --config.init_from=PRETRAINED --workdir=RUN

Contrast and matching, 8 frames, each caption an example; 5 epochs of 140k captions. Expected, from the paper, by matching
scores: R@1/5/10 33.9/60.7/73.2, median rank 3, here test_matching; test ranks by cosine. Arguments: official (no weight decay,
frames anywhere in the video, as the published code does); demo (the demo set, see launch/alpro_demo.sh); smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("official", "demo", "smoke"))
  config = common.alpro_retrieval(text_length=40)
  config.batch_size = 64
  config.objective.local_rows = 8
  config.total_steps = 10_940
  config.optimizer.update({"learning_rate": 2.5e-05, "warmup_steps": 1_094, "clip_global_norm": 5.0})
  if "official" in args:
    common.alpro_as_published(config)
  if "demo" in args:
    config.init_from = "runs/demo_alpro"
    common.demo_alpro(config, steps=200, learning_rate=5e-4)
  return common.shrink_alpro(config) if "smoke" in args else config
