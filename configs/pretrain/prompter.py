"""ALPRO's prompter: contrast between whole clips and captions, on WebVid-2M and CC3M (ALPRO sections 3.2.2 and 3.4).

  python -m vatt_jax.train --config=configs/pretrain/prompter.py --config.data.directory=DIR --workdir=RUN

It starts from a ViT-B/16 and a BERT-base, `convert --from=vit` and `--from=bert`, as config.init_from says. The paper's
run took 1 to 1.5 days on 8 A100; its values stand here, the run has not been repeated. With
--config.data.mixture="(('CC3M', 1), ('WEBVID', 1))" batches of pictures and of videos take turns. Arguments: official (no
weight decay, as in the published code, which ignores its own setting); scratch (nothing to start from, a vocabulary of
the data set's own); demo (see launch/alpro_demo.sh); smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("official", "scratch", "demo", "smoke"))
  config = common.alpro("vtc", frames=4, text_length=30, sampling="headtail")
  config.batch_size = 256
  config.total_steps = 100_000
  config.init_from = "" if "scratch" in args else "weights/vit,weights/bert"
  config.data.video.update({"crop": "squash", "rand_augment": "video", "stills": "alpro"})
  config.optimizer.update({"learning_rate": 1e-4, "warmup_steps": 5_000, "clip_global_norm": 20.0})
  config.evaluators = {"validation": common.retrieval("validation", "every")}
  if "official" in args:
    config.optimizer.weight_decay = 0.0
  if "scratch" in args:
    config.objective.mask_id = -1
  if "demo" in args:
    config.init_from = ""
    common.demo_alpro(config, steps=600)
  return common.shrink_alpro(config) if "smoke" in args else config
