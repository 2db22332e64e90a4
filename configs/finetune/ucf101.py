"""VATT fine-tuned on UCF101: the recipe of Kinetics, 10,000 steps of 64 clips.

  python -m vatt_jax.train --config=configs/finetune/ucf101.py --config.data.directory=DIR --config.init_from=PRETRAINED --workdir=RUN

DIR is of one official split (`prepare --source=tfds:ucf101/split1`). The paper only probes this data set
(configs/evaluate/probe_ucf101.py) and gives no recipe to fine-tune on it: all but the length is that of Kinetics (VATT
A.2.5), the length is ours, 67 passes over the 9,537 training clips. No result has been measured. There is no validation
split; the test clips are looked at once, at the end. Arguments: smoke.
"""

from configs import common


def get_config(arg=""):
  args = common.arguments(arg, ("smoke",))
  config = common.video_finetuning(classes=101)
  config.total_steps = 10_000
  config.checkpoint_every_steps = 1_000
  config.optimizer.warmup_steps = 500
  config.evaluators = {"test": common.classification("test", "final", windows=4, crops=3)}
  return common.shrink(config) if "smoke" in args else config
