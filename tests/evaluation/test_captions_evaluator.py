"""Written captions against true ones, where that can be counted by hand."""

import dataclasses

import ml_collections
import numpy as np
import pytest

from tests.test_configs import load
from vatt_jax import jobs
from vatt_jax.data import records as records_lib
from vatt_jax.errors import UserError
from vatt_jax.evaluation import captions, evaluators
from vatt_jax.evaluation.retrieval import NothingToCompare
from vatt_jax.evaluation.views import Setting

BEGIN, END = 8, 9


def test_known_answers():
  """Ten tokens behind [CLS]; two of the captions are the same."""
  true = np.array([[BEGIN, 1, 2, END, 0], [BEGIN, 1, 2, END, 0], [BEGIN, 3, END, 0, 0], [BEGIN, 4, END, 0, 0]])
  written = np.array([[BEGIN, 1, 2, END, 0], [BEGIN, 1, END, 0, 0], [BEGIN, 3, 3, END, 0], [BEGIN, 4, END, 0, 0]])
  assert captions.measure(written, true) == {
      "captions": 4.0, "exact": 2 / 4, "token_accuracy": (3 + 1 + 1 + 2) / 10,
      "frequent/exact": 2 / 4, "frequent/token_accuracy": (3 + 3 + 0 + 0) / 10,
  }  # fmt: skip
  assert captions.measure(true, true)["exact"] == captions.measure(true, true)["token_accuracy"] == 1.0


@pytest.fixture(scope="module")
def setting(miniature):
  config = load("configs/finetune/captioning.py", "smoke")[1]
  config.data.directory, config.data.text.length = miniature, 48
  inputs = jobs.open_inputs(config, "")
  return Setting(encode=None, spaces={}, directory=miniature, options=inputs.options, tokenizer=inputs.tokenizer)


EVALUATOR = ml_collections.ConfigDict(
  {"kind": "captions", "split": "test", "when": "every", "windows": 1, "examples": 3, "batch_size": 8}
)


def run(setting, encode):
  return evaluators.run("t", EVALUATOR, dataclasses.replace(setting, encode=encode), {}, 8)


def test_whoever_writes_the_true_captions_is_right(setting, miniature):
  """Of clips that have both, each once; the report shows pictures and words."""
  result = run(setting, lambda _, batch: {"captions": batch["text/ids"][:, 0]})
  records = records_lib.Records(miniature, "test")
  rows = [records_lib.decode(records[i]) for i in range(len(records))]
  both = [row for row in rows if row["captions/text"] and len(row["video/frames"])]
  assert result.metrics["eval/t/exact"] == 1.0 and result.metrics["eval/t/captions"] == len(both)
  assert 1 / len(both) <= result.metrics["eval/t/frequent/exact"] < 1.0
  first = both[0]["captions/text"][0].decode().lower()
  assert result.shown.body.count(first) >= 2 and result.shown.body.count("<img") == 3
  assert "[SEP]" not in result.shown.body and "[CLS]" not in result.shown.body


def test_what_writes_nothing_or_begins_otherwise_is_named(setting):
  with pytest.raises(NothingToCompare, match="writes no captions"):
    run(setting, lambda _, batch: {})
  with pytest.raises(UserError, match="begin_id is token 101, but captions of this vocabulary begin with"):
    run(setting, lambda _, batch: {"captions": np.full_like(batch["text/ids"][:, 0], 101)})
