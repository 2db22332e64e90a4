"""Zero-shot retrieval on DiDeMo, the sentences of a video as one text.

  python -m vatt_jax.evaluate --config=configs/evaluate/zero_shot_didemo.py --checkpoint=PATH --config.data.directory=DIR

DIR is of `prepare --source=tfds:didemo`. Windows of 12.5 frames a second, four of each clip, whose vectors are averaged
and then scaled to unit length (VATT A.3.3); every direction that the model has, `text_to_video` is the published one.
Expected, from the papers, ALPRO R@1/5/10 23.8/47.3/57.9, median rank 6 (its table 3). VATT does not report it.
Arguments: alpro (one view of the whole clip; `test_matching` goes by matching scores of all pairs, as its paper),
smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("alpro", "smoke"))
  config = common.zero_shot_retrieval("test", alpro="alpro" in args)
  return common.shrink_evaluation(config) if "smoke" in args else config
