"""ALPRO's stages through the programs: matching evaluation says what the loaded model says."""

import dataclasses
import json

import numpy as np

from tests.test_configs import load
import vatt_jax
from vatt_jax import jobs, objectives, train
from vatt_jax.data import pipeline, records
from vatt_jax.preparation import dataset, miniature as miniature_lib
from vatt_jax.preparation.units import Decoded


def test_retrieval_by_matching(miniature, tmp_path):
  config = load("configs/finetune/msrvtt_retrieval.py", "smoke")[1]
  config.data.directory, config.total_steps, config.evaluators.test_matching.decimals = miniature, 1, -1
  train.train(config, str(tmp_path))
  found = json.loads((tmp_path / "results.json").read_text())
  model = vatt_jax.load(str(tmp_path))
  options = jobs.input_options(config.data)
  batches = pipeline.evaluation_batches(records.Records(miniature, "test"), 12, options, model.tokenizer)
  batch = next(iter(batches))
  here = np.flatnonzero(batch["video/present"] & batch["text/present"])
  patches, ids = batch["video/patches"][here], batch["text/ids"][here, 0]
  frames = patches.reshape(len(here), 4, 2, 2, 16, 16, 3).transpose(0, 1, 2, 4, 3, 5, 6).reshape(-1, 4, 32, 32, 3)
  n = len(here)
  scores = model.match(np.repeat(frames, n, 0), np.tile(ids, (n, 1))).reshape(n, n).T
  ranks = 1 + (scores > np.diagonal(scores)[:, None]).sum(1)
  assert found["eval/test_matching/pairs"] == n * n
  np.testing.assert_allclose(found["eval/test_matching/text_to_video/mean_rank"], ranks.mean(), atol=0.6)


def test_of_several_starts_the_first_that_says_a_size_is_heard():
  starts = [{"model": model, "seed": i} for i, model in enumerate((
      {"video_size": "base", "entities": 0}, {"text_size": "base", "video_size": "tiny"}, {"entities": 8, "fusion_layers": 6},
  ))]  # fmt: skip
  found = jobs._together(starts)
  assert found == {
    "model": {"video_size": "base", "text_size": "base", "entities": 8, "fusion_layers": 6}, "seed": 0,
  }  # fmt: skip
  config = load("configs/pretrain/alpro.py", "")[1]
  objectives.inherit(config, found)
  assert config.model.entities == 8


class Still(miniature_lib.Miniature):
  """A miniature clip of a single frame: a picture."""

  def decode(self):
    clip = super().decode().clips[0]
    return Decoded([dataclasses.replace(clip, frames=clip.frames[:1], timestamps=clip.timestamps[:1])])


def test_pictures_and_videos_take_turns(miniature, tmp_path):
  """Batches are of one kind, by the weights of the mixture, and each kind has its own prompts."""
  pictures = str(tmp_path / "pictures")
  stills = [Still(i, "train") for i in range(0, 48) if i % 9 != 8]  # Without those that have no picture.
  dataset.prepare(stills, pictures, source="stills", options={"vocabulary_size": 0}, progress=False)
  config = load("configs/pretrain/alpro.py", "smoke")[1]
  assert config.data.mixture_by == "batch"
  config.data.mixture = ((pictures, 1), (miniature, 2))
  inputs = jobs.open_inputs(config, str(tmp_path))
  taken, order = train._training_data(config, inputs)
  objective, kinds = jobs.build_objective(config, inputs), []
  for batch in pipeline.training_batches(taken, order, inputs.options, inputs.tokenizer, end_step=6):
    still = np.asarray(objective._still(batch["video/patches"]))[batch["video/present"]]
    assert still.all() or not still.any()
    kinds.append("picture" if still.all() else "video")
  assert kinds.count("picture") == 2 and kinds[:3].count("picture") == kinds[3:].count("picture") == 1
