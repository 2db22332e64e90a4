"""VATT fine-tuned on AudioSet: 6.4 s of sound at 24 kHz, several labels a clip (VATT A.3).

  python -m vatt_jax.train --config=configs/finetune/audioset.py --config.data.directory=DIR --config.init_from=PRETRAINED --workdir=RUN

SGD at 0.2, 50,000 steps of 1024 clips, mix-up with Beta(5, 5), labels balanced. Expected, from the paper, mean average
precision / area under the curve / d': Base 39.4/97.1/2.895, modality-agnostic Medium 39.3/97.0/2.884. Arguments: smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("smoke",))
  config = common.training()
  config.batch_size = 1024
  config.total_steps = 50_000
  config.log_every_steps = 50
  config.checkpoint_every_steps = 1_000
  config.evaluate_every_steps = 5_000
  config.objective = common.classifier_objective("audio")
  config.objective.update({"balanced": True, "mix_up": 5.0})
  config.model = common.classifier_model()
  config.data = common.classifier_data("audio", 527, multiple=True)
  config.optimizer = common.sgd()
  config.optimizer.update({"learning_rate": 0.2, "warmup_steps": 5_000})
  config.evaluators = {
    "validation": common.classification("validation", "every"),
    "test": common.classification("test", "final", windows=4),
  }
  return common.shrink(config) if "smoke" in args else config
