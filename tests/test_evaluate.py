"""The evaluation program, on a run that the training program left."""

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

from absl import flags
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
import tensorflow as tf

from configs import common
from tests.runs import ROOT
from tests.test_train import smoke_config
import vatt_jax
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
  shown = scalars(run / "tensorboard" / "evaluation")
  assert shown == {key: [(4, pytest.approx(value, rel=1e-6))] for key, value in metrics.items()}


def scalars(folder):
  """What TensorBoard reads: tag -> (step, value) in order."""
  found = EventAccumulator(str(folder)).Reload()
  return {
    tag: [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in found.Tensors(tag)]
    for tag in found.Tags()["tensors"]
  }


def test_one_checkpoint_and_another_set(run):
  config = smoke_config()
  del config.evaluators["test"]
  config.evaluators.validation.windows = 4
  metrics = evaluate.evaluate(checkpoints.find(str(run / "checkpoints" / "2")), config)
  assert all(key.startswith("eval/validation/") for key in metrics)


def test_an_evaluator_may_have_a_data_set_of_its_own(run, tmp_path, capsys):
  own = json.loads((run / "config.json").read_text())["data"]["directory"]
  other = shutil.copytree(own, tmp_path / "other")
  config = smoke_config()
  config.evaluators = {
    "own": common.retrieval("test", "final"),
    "other": common.retrieval("test", "final", directory=str(other)),
    "absent": common.retrieval("nowhere", "final", directory=str(other)),
  }
  metrics = evaluate.evaluate(checkpoints.find(str(run / "checkpoints" / "2")), config)
  assert metrics["eval/own/text_to_video/mean_rank"] == metrics["eval/other/text_to_video/mean_rank"]
  assert "'absent' is left out: the data set has no split 'nowhere'" in capsys.readouterr().out


def test_following_evaluates_each_checkpoint_once(run):
  (run / "eval.jsonl").unlink(missing_ok=True)
  evaluate.follow(str(run), None, poll_seconds=0.1)
  evaluate.follow(str(run), None, poll_seconds=0.1)
  steps = [json.loads(line)["step"] for line in (run / "eval.jsonl").read_text().splitlines()]
  assert steps == [2, 4]


def test_following_survives_evaluators_without_a_split(run, tmp_path, capsys):
  """Many data sets have no validation split; the test split is evaluated at the end all the same."""
  workdir = copy_of(run, tmp_path)
  shutil.copy(run / "results.json", workdir)
  config = smoke_config()
  config.evaluators.validation.split = "nowhere"
  evaluate.follow(str(workdir), config, 0.1)
  assert "step 2: nothing could be evaluated" in capsys.readouterr().out
  rows = [json.loads(line) for line in (workdir / "eval.jsonl").read_text().splitlines()]
  assert [(row["step"], row["evaluators"]) for row in rows] == [(4, "all")]
  assert any(key.startswith("eval/test/") for key in rows[0])


def copy_of(run, tmp_path):
  """The run as it was before it ended: no results, nothing evaluated, a heartbeat that has stopped."""
  workdir = tmp_path / "copy"
  shutil.copytree(run, workdir, ignore=shutil.ignore_patterns("results.json", "eval.jsonl", "best", "tensorboard"))
  beat = {"phase": "train", "step": 3, "age_seconds": 1.0, "written": time.time() - 100}
  (workdir / "heartbeat.json").write_text(json.dumps(beat))
  return workdir


def test_following_a_trainer_that_dies_and_comes_back(run, tmp_path, capsys):
  """Told once, waited for; the last checkpoint's remaining evaluators run when the run is complete."""
  workdir = copy_of(run, tmp_path)
  following = threading.Thread(
    target=evaluate.follow, args=(str(workdir), None, 0.1), kwargs=dict(silent_seconds=1.0), daemon=True
  )
  following.start()
  printed = ""
  deadline = time.monotonic() + 120
  while "may have died" not in printed and time.monotonic() < deadline:
    time.sleep(0.2)
    printed += capsys.readouterr().out
  time.sleep(0.5)
  printed += capsys.readouterr().out
  assert printed.count("may have died") == 1 and "last seen 1" in printed and following.is_alive()
  shutil.copy(run / "results.json", workdir)
  following.join(timeout=120)
  assert not following.is_alive()
  rows = [json.loads(line) for line in (workdir / "eval.jsonl").read_text().splitlines()]
  assert [(row["step"], row["evaluators"]) for row in rows] == [(2, "every"), (4, "every"), (4, "final")]
  assert not any(key.startswith("eval/test/") for row in rows[:2] for key in row)
  assert any(key.startswith("eval/test/") for key in rows[2])


def test_following_may_begin_before_the_run(run, tmp_path, capsys):
  workdir = tmp_path / "later"
  job = threading.Thread(target=evaluate.follow, args=(str(workdir), None, 0.1), daemon=True)
  job.start()
  time.sleep(1.0)
  assert job.is_alive() and not workdir.exists()
  assert capsys.readouterr().out.count("there is no checkpoint in") == 1
  written = copy_of(run, tmp_path)
  shutil.copy(run / "results.json", written)
  written.rename(workdir)  # at once: the job is at work in it as soon as it sees it
  job.join(timeout=120)
  assert not job.is_alive()
  rows = [json.loads(line) for line in (workdir / "eval.jsonl").read_text().splitlines()]
  assert [row["step"] for row in rows if row["evaluators"] != "final"] == [2, 4]


def test_the_best_checkpoint_is_kept_with_what_it_needs(run, tmp_path):
  workdir = copy_of(run, tmp_path)
  shutil.copy(run / "results.json", workdir)
  metric = "eval/validation/video_to_text/mean_rank"
  evaluate.follow(str(workdir), None, 0.1, best=metric)
  rows = [json.loads(line) for line in (workdir / "eval.jsonl").read_text().splitlines()]
  best = min(rows, key=lambda row: (row[metric], row["step"]))
  shutil.rmtree(workdir / "checkpoints")
  place = checkpoints.find(str(workdir / "best"))
  assert checkpoints.manifest(place)["step"] == best["step"]
  again = evaluate.evaluate(place, None)
  assert again[metric] == pytest.approx(best[metric])
  assert vatt_jax.load(str(place)).encode(text=["a red square"])["text/vt"].shape == (1, 16)


def test_a_checkpoint_that_is_removed_while_it_is_evaluated_is_survived(run, tmp_path, monkeypatch, capsys):
  workdir = copy_of(run, tmp_path)
  shutil.copy(run / "results.json", workdir)
  restore = checkpoints.restore_variables

  def removes(checkpoint):
    if checkpoint.name == "2":
      shutil.rmtree(checkpoint)
    return restore(checkpoint)

  monkeypatch.setattr(checkpoints, "restore_variables", removes)
  evaluate.follow(str(workdir), None, 0.1)
  assert "checkpoint 2 was removed by its run before it was evaluated" in capsys.readouterr().out
  assert [json.loads(line)["step"] for line in (workdir / "eval.jsonl").read_text().splitlines()] == [4]


def test_a_damaged_checkpoint_is_left_out(run, tmp_path, monkeypatch, capsys):
  workdir = copy_of(run, tmp_path)
  shutil.copy(run / "results.json", workdir)
  for path in (workdir / "checkpoints" / "2" / "state").rglob("*"):
    if path.is_file():
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  monkeypatch.setattr(evaluate, "_is_removed", lambda checkpoint: False)
  evaluate.follow(str(workdir), None, 0.1)
  printed = capsys.readouterr().out
  assert "checkpoints/2 cannot be read" in printed and "It is left out." in printed
  assert [json.loads(line)["step"] for line in (workdir / "eval.jsonl").read_text().splitlines()] == [4]


def test_what_one_config_evaluated_another_has_not(run, tmp_path):
  workdir = copy_of(run, tmp_path)
  shutil.copy(run / "results.json", workdir)
  override = importlib.import_module("configs.evaluate.zero_shot_msrvtt").get_config("smoke")
  for _ in range(2):
    evaluate.follow(str(workdir), None, 0.1)
    evaluate.follow(str(workdir), override, 0.1)
  rows = [json.loads(line) for line in (workdir / "eval.jsonl").read_text().splitlines()]
  assert [(row["step"], row["evaluators"]) for row in rows] == [(2, "every"), (4, "all"), (4, "all")]
  assert rows[0]["evaluation"] == rows[1]["evaluation"] == "own" != rows[2]["evaluation"]


def following(workdir, **environment):
  arguments = [sys.executable, "-m", "vatt_jax.evaluate", f"--workdir={workdir}", "--follow", "--poll_seconds=0.2"]
  environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
  return subprocess.Popen(
    arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
  )


def test_two_jobs_share_the_checkpoints(run, tmp_path):
  workdir = copy_of(run, tmp_path)
  shutil.copy(run / "results.json", workdir)
  jobs = [following(workdir) for _ in range(2)]
  for job in jobs:
    printed, _ = job.communicate(timeout=240)
    assert job.returncode == 0, printed
  rows = [json.loads(line) for line in (workdir / "eval.jsonl").read_text().splitlines()]
  assert sorted((row["step"], row["evaluators"]) for row in rows) == [(2, "every"), (4, "all")]
  assert not list((workdir / ".claims").iterdir())


@pytest.mark.slow
def test_one_job_of_two_processes(run, tmp_path):
  """The first process says what comes next, both compute, one writes."""
  workdir = copy_of(run, tmp_path)
  shutil.copy(run / "results.json", workdir)
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  together = dict(
    JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2", XLA_FLAGS="--xla_backend_optimization_level=0"
  )
  jobs = [following(workdir, JAX_PROCESS_ID=str(i), **together) for i in range(2)]
  for job in jobs:
    printed, _ = job.communicate(timeout=240)
    assert job.returncode == 0, printed
  rows = [json.loads(line) for line in (workdir / "eval.jsonl").read_text().splitlines()]
  assert [(row["step"], row["evaluators"]) for row in rows] == [(2, "every"), (4, "all")]
  final = json.loads((run / "results.json").read_text())
  assert all(rows[1][key] == pytest.approx(final[key], abs=1e-5) for key in rows[1] if key.startswith("eval/"))


def test_results_that_another_job_took_over_are_not_written(run, tmp_path, capsys):
  workdir = copy_of(run, tmp_path)
  metrics = evaluate.evaluate(checkpoints.find(str(workdir)), None, is_mine=lambda: False)
  assert metrics and not (workdir / "eval.jsonl").exists() and "another job took this over" in capsys.readouterr().out


@pytest.mark.parametrize("field, value, sentence", [
    ("kind", "retrival", "validation.kind = 'retrival' is not one of retrieval, "),
    ("when", "evry", "validation.when = 'evry' is not one of every, final"),
    ("windows", 0, "validation.windows = 0 must be a number of at least 1"),
])  # fmt: skip
def test_evaluators_that_make_no_sense_are_named_before_any_runs(field, value, sentence, run, monkeypatch):
  monkeypatch.setattr(evaluate.jobs.evaluators, "run", None)
  config = smoke_config()
  config.evaluators.validation[field] = value
  with pytest.raises(errors.UserError, match=sentence):
    evaluate.evaluate(checkpoints.find(str(run)), config)


def test_figures_that_nobody_measures_are_named(run):
  with pytest.raises(errors.UserError, match="--best=top_1 is not eval/<set>/<figure> with one of the sets test, val"):
    evaluate.evaluate(checkpoints.find(str(run)), None, best="top_1")


def test_what_is_not_there_is_told(tmp_path):
  with pytest.raises(errors.UserError, match="no checkpoint"):
    evaluate.evaluate(checkpoints.find(str(tmp_path)), None)


@pytest.mark.parametrize("arguments, sentence", [
    ([], "either --workdir"),
    (["--checkpoint=/nowhere"], "/nowhere does not exist"),
    (["--checkpoint=/tmp", "--follow"], "--follow needs --workdir"),
    (["--checkpoint=/tmp", "--best=eval/test/top_1"], "--best needs --workdir"),
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
