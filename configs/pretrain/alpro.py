"""ALPRO's pretraining: contrast, matching, masked words and prompted entities (ALPRO sections 3.2 to 3.4, table 1).

  python -m vatt_jax.train --config=configs/pretrain/alpro.py --config.data.directory=DIR --workdir=RUN

It starts from a ViT-B/16, a BERT-base and a prompter with the features of its prompts, as config.init_from says. The
paper's run took 1 to 1.5 days on 16 A100; its values stand here, the run has not been repeated. Expected, zero-shot on
MSR-VTT with matching: R@1/5/10 24.1/44.7/55.4 at 8 frames. With
--config.data.mixture="(('CC3M', 1), ('WEBVID', 1))" batches of pictures and of videos take turns, each with its own
prompts. Arguments: mlm_vtm, no_pem, no_vtc (the rows of table 1); official (no weight decay, and labels filtered by the
number of their entity: what the published code does); scratch (nothing but the prompter to start from); demo (see
launch/alpro_demo.sh); pod (laid out for many accelerators); smoke.
"""

from configs import common

ROWS = {"mlm_vtm": "vtm mlm", "no_pem": "vtc vtm mlm", "no_vtc": "vtm mlm pem"}


def get_config(arg=""):
  args = common.arguments(arg, (*ROWS, "official", "scratch", "demo", "pod", "smoke"))
  rows = sorted(args & set(ROWS))
  if len(rows) > 1:
    raise ValueError(f"choose one of {', '.join(rows)}")
  terms = ROWS[rows[0]] if rows else "vtc vtm mlm pem"
  config = common.alpro(terms, frames=4, text_length=30, sampling="headtail")
  config.batch_size = 256
  config.total_steps = 100_000
  starts = [] if "scratch" in args else ["weights/vit", "weights/bert"]
  config.init_from = ",".join([*starts, *(["weights/prompter"] if config.objective.terms.pem else [])])
  config.data.video.update({"crop": "squash", "rand_augment": "video", "stills": "alpro"})
  config.optimizer.update({"learning_rate": 1e-4, "warmup_steps": 5_000, "clip_global_norm": 20.0})
  config.evaluators = {"validation": common.retrieval("validation", "every")}
  if config.objective.terms.pem:
    config.evaluators["teacher"] = common.entities("validation", "final")
  if "official" in args:
    config.optimizer.weight_decay = 0.0
    config.objective.label_filter = "official"
  if "scratch" in args:
    config.objective.mask_id = -1
    config.init_ignore = "^params/"  # What no start brings.
  if "demo" in args:
    config.init_from = "weights/demo_prompter" if config.objective.terms.pem else ""
    config.init_ignore = "^params/"
    common.demo_alpro(config, steps=400)
  if "pod" in args:
    common.pod(config)
  return common.shrink_alpro(config) if "smoke" in args else config
