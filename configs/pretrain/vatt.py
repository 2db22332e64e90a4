"""VATT's pretraining as published: HowTo100M + AudioSet, 500k steps of 2048 clips (VATT section 4.1, A.2).

  python -m vatt_jax.train --config=configs/pretrain/vatt.py:mbs --config.data.directory=DIR --workdir=RUN

Arguments: bbs, mbs, lbs (video base / medium / large, sound base, text small), ma_base, ma_medium, ma_large (one encoder
for all), pod (bfloat16, and laid out for many accelerators), smoke. They combine: vatt.py:mbs,smoke. The paper used 256 TPU v3 chips for less than three days (MBS).
Values are the paper's; this run has not been repeated here.
"""

from configs import common

VIDEO_SIZES = {
  "bbs": "base",
  "mbs": "medium",
  "lbs": "large",
  "ma_base": "base",
  "ma_medium": "medium",
  "ma_large": "large",
}


def get_config(arg="mbs"):
  args = common.arguments(arg, (*VIDEO_SIZES, "pod", "smoke"))
  presets = sorted(args & set(VIDEO_SIZES)) or ["mbs"]
  if len(presets) > 1:
    raise ValueError(f"choose one of {', '.join(presets)}")
  config = common.training()
  config.batch_size = 2048
  config.total_steps = 500_000
  config.log_every_steps = 50
  config.checkpoint_every_steps = 10_000
  config.evaluate_every_steps = 10_000
  config.keep_checkpoints = 50
  config.objective = common.vatt_objective()
  config.model = common.vatt_model()
  config.model.video_size = VIDEO_SIZES[presets[0]]
  config.model.agnostic = presets[0].startswith("ma_")
  config.data = common.vatt_data()
  config.optimizer = common.adam()
  config.evaluators = {"validation": common.retrieval("validation", "every", windows=4)}
  if "pod" in args:
    common.pod(config)
  return common.shrink(config) if "smoke" in args else config
