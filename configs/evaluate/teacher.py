"""Is ALPRO's teacher right: its entities of random rectangles against the captions' nouns, and which labels are dropped.

  python -m vatt_jax.evaluate --config=configs/evaluate/teacher.py --checkpoint=PROMPTER --config.data.directory=DIR

PROMPTER is what `prompt` wrote, or a model that was pretrained with one. The report shows clips with the rectangle, its
entities, and, of a pretrained model, matching scores and words restored. Arguments: validation (instead of the test
split); smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("validation", "smoke"))
  config = common.evaluation()
  split = "validation" if "validation" in args else "test"
  config.evaluators = {"teacher": common.entities(split, "final")}
  return common.shrink_evaluation(config) if "smoke" in args else config
