"""Zero-shot retrieval on MSR-VTT, 1,000 test videos with one caption each.

  python -m vatt_jax.evaluate --config=configs/evaluate/zero_shot_msrvtt.py --checkpoint=PATH --config.data.directory=DIR

DIR is of `prepare --source=tfds:msrvtt`. Windows of 12.5 frames a second, four of each clip, whose vectors are averaged
and then scaled to unit length (VATT A.3.3); every direction that the model has, `text_to_video` is the published one.
Expected, from the papers, R@10 and median rank: VATT-MBS 29.7 and 49, modality-agnostic Medium 23.6 and 67 (VATT table
4); ALPRO R@1/5/10 24.1/44.7/55.4, median rank 8 (its table 2). Arguments: alpro (one view of the whole clip;
`test_matching` goes by matching scores of all pairs, as its paper), smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("alpro", "smoke"))
  config = common.zero_shot_retrieval("test", alpro="alpro" in args)
  return common.shrink_evaluation(config) if "smoke" in args else config
