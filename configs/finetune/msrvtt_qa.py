"""ALPRO fine-tuned for open-ended questions on MSR-VTT: one of the 1500 most frequent answers (ALPRO tables 4 and 10).

  python -m vatt_jax.train --config=configs/finetune/msrvtt_qa.py --config.data.directory=DIR --config.init_from=PRETRAINED --workdir=RUN

Cross-entropy on the fused class token, 16 frames, each question an example; 10 epochs of 158.6k questions. Expected, from the
paper: top-1 42.1 on the test questions. Arguments: official (no weight decay, frames anywhere in the video, and the video
encoder's attention and MLPs stay as they are, as the published code does); smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("official", "smoke"))
  config = common.alpro_questions(answers=1500)
  config.total_steps = 8_260
  config.optimizer.update({"warmup_steps": 826, "clip_global_norm": 5.0})
  if "official" in args:
    common.alpro_as_published(config)
  return common.shrink_alpro(config) if "smoke" in args else config
