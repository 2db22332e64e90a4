"""The evaluation program, on a run that the training program left."""

import json

from absl import flags
import pytest

from tests.test_train import smoke_config
from vatt_jax import errors, evaluate, train
from vatt_jax.training import checkpoints


@pytest.fixture(scope="module")
def run(tmp_path_factory, miniature):
  workdir = tmp_path_factory.mktemp("run")
  train.train(smoke_config(data__directory=miniature), str(workdir))
  return workdir


def test_the_newest_checkpoint_scores_what_training_said(run, capsys):
  metrics = evaluate.evaluate(checkpoints.find(str(run)), None)
  final = json.loads((run / "results.json").read_text())
  assert metrics == {key: pytest.approx(final[key], abs=1e-6) for key in metrics} and len(metrics) > 50
  assert "validation/video_to_text" in capsys.readouterr().out
  assert json.loads((run / "eval.jsonl").read_text().splitlines()[-1])["step"] == 4


def test_one_checkpoint_and_another_set(run):
  config = smoke_config()
  del config.evaluators["test"]
  config.evaluators.validation.windows = 4
  metrics = evaluate.evaluate(checkpoints.find(str(run / "checkpoints" / "2")), config)
  assert all(key.startswith("eval/validation/") for key in metrics)


def test_following_evaluates_each_checkpoint_once(run):
  (run / "eval.jsonl").unlink(missing_ok=True)
  evaluate.follow(str(run), None, poll_seconds=0.1)
  evaluate.follow(str(run), None, poll_seconds=0.1)
  steps = [json.loads(line)["step"] for line in (run / "eval.jsonl").read_text().splitlines()]
  assert steps == [2, 4]


def test_what_is_not_there_is_told(tmp_path):
  with pytest.raises(errors.UserError, match="no checkpoint"):
    evaluate.evaluate(checkpoints.find(str(tmp_path)), None)


@pytest.mark.parametrize("arguments, sentence", [
    ([], "either --workdir"),
    (["--checkpoint=/nowhere"], "/nowhere does not exist"),
    (["--checkpoint=/tmp", "--follow"], "--follow needs --workdir"),
])  # fmt: skip
def test_user_errors_are_sentences(arguments, sentence, monkeypatch):
  values = flags.FlagValues()
  monkeypatch.setattr(evaluate.flags, "FLAGS", values)
  evaluate.define_flags(values)
  values(["evaluate", *arguments])
  with pytest.raises(errors.UserError, match=sentence):
    evaluate.main(["evaluate"])


def test_the_table_shows_chance_beside_each_figure():
  metrics = {f"eval/s/video_to_text/{name}": value for name, value in {
      "recall_at_1": 0.1, "recall_at_5": 0.5, "recall_at_10": 1.0, "median_rank": 3.5,
      "chance_recall_at_1": 0.05, "chance_recall_at_5": 0.25, "chance_recall_at_10": 0.5}.items()}  # fmt: skip
  line = evaluate.table(metrics).splitlines()[1]
  assert line.split() == "s/video_to_text 10.0 ( 5.0 %) 50.0 ( 25.0 %) 100.0 ( 50.0 %) 3.5".split()
