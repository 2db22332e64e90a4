"""VATT fine-tuned on ESC-50: the recipe of AudioSet with one label a clip, 2,500 steps of 64 clips.

  python -m vatt_jax.train --config=configs/finetune/esc50.py --config.data.directory=DIR --config.init_from=PRETRAINED --workdir=RUN

DIR is of one fold (`prepare --source=tfds:esc50/fold1`); the published figure is the mean of five. The paper only
probes this data set (configs/evaluate/probe_esc50.py) and gives no recipe to fine-tune on it: sound, mix-up and
schedule are AudioSet's (VATT A.3), the rate too, scaled by the batch (0.2 at 1024); the length is ours, 100 passes over
1,600 clips, which are heard again where they end. No result has been measured. Arguments: smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("smoke",))
  config = common.training()
  config.batch_size = 64
  config.total_steps = 2_500
  config.checkpoint_every_steps = 250
  config.evaluate_every_steps = 2_500
  config.objective = common.classifier_objective("audio")
  config.objective.mix_up = 5.0
  config.model = common.classifier_model()
  config.data = common.classifier_data("audio", 50)
  config.optimizer = common.sgd()
  config.optimizer.update({"learning_rate": 0.0125, "warmup_steps": 250})
  config.evaluators = {"test": common.classification("test", "final", windows=4)}
  return common.shrink(config) if "smoke" in args else config
