"""Captions of videos, written word by word with ALPRO's encoders: for MSR-VTT's 20 captions a video, or any captions (ours).

  python -m vatt_jax.train --config=configs/finetune/captioning.py --config.data.directory=DIR --config.init_from=PRETRAINED --workdir=RUN

The next token from those before it and 8 frames; the head is that of masked words, so PRETRAINED should have learned those. The
recipe is that of ALPRO's retrieval and has not been run at full size. Arguments: demo (the demo set's clips, from
runs/demo_alpro, see launch/alpro_demo.sh: three minutes on two cores; of held-out names no caption is right as a whole and 18.6 %
of the test tokens, 12.0 % for the most frequent caption; one run, started at step 300 of that pretraining); smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("demo", "smoke"))
  config = common.alpro_captioning(text_length=40)
  config.batch_size = 64
  config.total_steps = 10_940
  config.optimizer.update({"learning_rate": 2.5e-5, "warmup_steps": 1_094, "clip_global_norm": 5.0})
  if "demo" in args:
    config.init_from = "runs/demo_alpro"
    common.demo_alpro(config, steps=400, learning_rate=5e-4)
  return common.shrink_alpro(config) if "smoke" in args else config
