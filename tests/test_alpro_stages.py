"""ALPRO's stages through the programs: matching evaluation says what the loaded model says."""

import json

import numpy as np

from tests.test_configs import load
import vatt_jax
from vatt_jax import jobs, train
from vatt_jax.data import pipeline, records


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
