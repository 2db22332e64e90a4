"""Probes of ESC-50 on a frozen encoder: what its audio features know (VATT A.3.2, table 8).

  python -m vatt_jax.evaluate --config=configs/evaluate/probe_esc50.py --checkpoint=PATH --config.data.directory=DIR1,DIR2,...

The directories are the 5 official folds (`prepare --source=tfds:esc50/fold1` and so on); the figures are their means,
one directory alone will do. Features of one window in the middle for training, of four for testing, whose probabilities
are averaged. Expected, from the paper, top-1 of VATT-Medium: 84.7 by the low-rank classifier, 82.5 by support vectors;
modality-agnostic Medium 81.2. The low-rank classifier takes 50,000 steps of 64; `official` is that of the published
code, 1,000 passes and a penalty of 0.1. Logistic regression and neighbours are ours, for comparison. Arguments:
official, smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("official", "smoke"))
  config = common.probing("audio", "test")
  if "official" in args:
    config.evaluators["low_rank"].options.update({"epochs": 1_000, "l2": 0.1})
  return common.shrink_evaluation(config) if "smoke" in args else config
