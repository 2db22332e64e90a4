"""Everything that a model can say about a data set of your own, next to chance: retrieval, probes, classes by name.

  python -m vatt_jax.evaluate --config=configs/evaluate/folder.py --checkpoint=PATH --config.data.directory=DIR

DIR is what `prepare` made. What DIR or the model lacks (labels, captions, sound) is told and left out. Probes learn
from the training split and are asked about the test split; `raw` is one on pixels or spectra instead of features. All
values are ours. Arguments: audio (labels are told from sound instead of the picture), validation (that split instead of
test), multiple (clips may have several labels), smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("audio", "validation", "multiple", "smoke"))
  split = "validation" if "validation" in args else "test"
  modality = "audio" if "audio" in args else "video"
  config = common.zero_shot_retrieval(split)
  features, multiple = f"{modality}/pooled", "multiple" in args
  config.evaluators.logistic = common.probe("logistic", split, features, multiple)
  config.evaluators.raw = common.probe("logistic", split, f"{modality}/raw", multiple)
  config.evaluators.knn = common.knn(split, features, multiple=multiple)
  config.evaluators.five_shots = common.knn(split, features, shots=5, multiple=multiple)
  config.evaluators.names = common.zero_shot_classification(split, modality, multiple=multiple)
  return common.shrink_evaluation(config) if "smoke" in args else config
