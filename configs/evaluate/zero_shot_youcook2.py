"""Zero-shot retrieval on YouCook2, the steps of its validation videos.

  python -m vatt_jax.evaluate --config=configs/evaluate/zero_shot_youcook2.py --checkpoint=PATH --config.data.directory=DIR

DIR is of `prepare --source=tfds:youcook2`. Windows of 12.5 frames a second, four of each clip, whose vectors are
averaged and then scaled to unit length (VATT A.3.3); every direction that the model has, `text_to_video` is the
published one. Expected, from the papers, R@10 and median rank: VATT-MBS 45.5 and 13, modality-agnostic Medium 40.6 and
17 (VATT table 4), over 3.1k pairs. ALPRO does not report it. Arguments: alpro (one view of the whole clip;
`validation_matching` goes by matching scores of all pairs, as its paper), smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("alpro", "smoke"))
  config = common.zero_shot_retrieval("validation", alpro="alpro" in args)
  return common.shrink_evaluation(config) if "smoke" in args else config
