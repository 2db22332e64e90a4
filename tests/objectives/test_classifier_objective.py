"""Fine-tuning: what a classifier takes from pretrained models, and that it learns."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vatt_jax import jobs, objectives, train
from vatt_jax.data import pipeline
from vatt_jax.errors import UserError
from vatt_jax.training import optimizers
from vatt_jax.training.state import init_state


def get(name, argument="smoke", **changes):
  config = importlib.import_module(name).get_config(argument)
  config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
  return config


@pytest.fixture(scope="module", params=[pytest.param("mbs,smoke", marks=pytest.mark.slow), "ma_medium,smoke"])
def pretrained(request, tmp_path_factory, miniature):
  workdir = tmp_path_factory.mktemp("pretrained")
  config = get("configs.pretrain.vatt", request.param, data__directory=miniature, total_steps=1)
  config.evaluators = {}
  train.train(config, str(workdir))
  return str(workdir)


@pytest.mark.parametrize("file", ["kinetics400", "audioset"])
def test_starts_from_a_pretrained_tower(file, pretrained, miniature, tmp_path):
  """Size, projections and patches are the checkpoint's; another resolution resizes the position tables."""
  config = get(f"configs.finetune.{file}", init_from=pretrained, data__directory=miniature)
  modality = config.objective.modality
  config.model.update({"size": "", "post_width": -1})
  config.data[modality].patch = () if modality == "video" else 0
  if modality == "video":
    config.data.video.size = 48
  config.total_steps = 1
  train.train(config, str(tmp_path))
  jobs.complete(config, str(tmp_path))
  assert config.model.size == "tiny"
  loaded = jobs.checkpoints.restore_variables(jobs.checkpoints.find(str(tmp_path)))["params"]
  assert set(loaded) == {modality, "classifier"}
  assert ("post_projection" in loaded[modality]) == (config.model.post_width > 0)
  if modality == "video":
    assert loaded["video"]["positions"]["axis_1"].shape[0] == 3  # 2 in pretraining


def test_weights_arrive(pretrained, miniature, tmp_path):
  config = get("configs.finetune.kinetics400", init_from=pretrained, data__directory=miniature)
  config.model.update({"size": "", "post_width": -1})
  jobs.complete(config, str(tmp_path))
  inputs = jobs.open_inputs(config, str(tmp_path))
  objective = jobs.build_objective(config, inputs)
  optimizer, _ = optimizers.from_config(config.optimizer, 4)
  state = init_state(objective, optimizer, jax.random.key(1), pipeline.batch_spec(inputs.options, 4))
  state, left = jobs.load_parameters(state, objective, pretrained)
  assert left == ["params/classifier/bias", "params/classifier/kernel"]
  source = jobs.checkpoints.restore_variables(jobs.checkpoints.find(pretrained))["params"]
  encoder = source.get("encoder") or source["video"]["encoder"]
  jax.tree.map(np.testing.assert_array_equal, state.params["video"]["encoder"], encoder)


def test_what_does_not_fit_is_named(pretrained, miniature, tmp_path):
  config = get("configs.finetune.kinetics400", init_from=pretrained, data__directory=miniature)
  config.data.video.patch = (2, 8, 8)
  with pytest.raises(UserError, match=r"patch_projection/kernel is \(1536, 32\), not \(384, 32\)"):
    train.train(config, str(tmp_path))


def test_it_learns():
  """Two kinds of pictures, black and white."""
  config = get("configs.finetune.kinetics400")
  config.optimizer.update({"learning_rate": 0.1, "clip_global_norm": 1.0})
  objectives.inherit(config, None)
  options = jobs.input_options(config.data, ("black", "white"))
  objective = objectives.build(config, options, 0)
  optimizer, _ = optimizers.from_config(config.optimizer, 40)
  spec = pipeline.batch_spec(options, 8)
  state = init_state(objective, optimizer, jax.random.key(0), spec)
  label = np.arange(8, dtype=np.int32) % 2
  batch = {key: np.zeros(value.shape, value.dtype) for key, value in spec.items()}
  batch |= {"label": label, "video/present": np.ones(8, bool)}
  batch["video/patches"] = np.broadcast_to(label[:, None, None] * 255, spec["video/patches"].shape).astype(np.uint8)
  from vatt_jax.training.step import make_step

  step = jax.jit(make_step(objective, optimizer, 0))
  for _ in range(40):
    state, metrics = step(state, batch)
  assert metrics["train/top_1"] == 1.0 and jnp.isfinite(metrics["loss"])


@pytest.mark.parametrize("start, scale", [("configs.pretrain.vatt_demo", 4.0), (None, 1.0)])
def test_the_scale_of_sound_is_that_of_the_pretraining(start, scale):
  config = get("configs.finetune.folder", "audio")
  objectives.inherit(config, get(start, "").to_dict() if start else None)
  assert config.model.input_scale == scale
