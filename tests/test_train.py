"""The training program: runs, resumes to the same bits, survives kills, refuses what it should."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.runs import ROOT, command, results, smoke_config
from vatt_jax import errors, train
from vatt_jax.training import checkpoints, workdir as workdir_lib


@pytest.fixture(scope="module")
def finished(tmp_path_factory, miniature):
  """An undisturbed run in this process, on eight devices."""
  workdir = tmp_path_factory.mktemp("finished")
  train.train(smoke_config(data__directory=miniature), str(workdir))
  return workdir


def test_what_a_run_leaves(finished):
  found = {path.name for path in finished.iterdir()}
  assert {
    "config.json",
    "metrics.jsonl",
    "results.json",
    "checkpoints",
    "tensorboard",
    "tokenizer",
    "report.html",
  } <= found
  rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
  assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
  assert {"loss/video_audio", "loss/video_text", "time/step_seconds", "throughput/clips_per_second"} <= set(rows[0])
  final = results(finished)
  assert {
    "loss",
    "params/fingerprint",
    "eval/test/video_to_text/recall_at_5",
    "eval/test/audio_to_text/median_rank",
  } <= set(final)
  np.testing.assert_allclose(final["loss/log_batch_size"], np.log(8), rtol=1e-6)


def test_a_finished_run_is_not_run_again(finished, miniature):
  before = (finished / "results.json").stat().st_mtime_ns
  train.train(smoke_config(data__directory=miniature), str(finished))
  assert (finished / "results.json").stat().st_mtime_ns == before


@pytest.mark.slow  # test_survival.py and training/test_layouts.py have other devices too.
def test_another_mesh_follows_the_same_curve(finished, miniature, tmp_path):
  """Data order does not depend on the devices; the loss of each step agrees to rounding."""
  train.train(smoke_config(data__directory=miniature, mesh=(1, 4, 2)), str(tmp_path))
  losses = [
    [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines() if '"loss"' in line]
    for folder in (finished, tmp_path)
  ]
  np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.slow  # objectives/test_classifier_objective.py starts from other runs too.
def test_a_run_starts_from_another(finished, miniature, tmp_path):
  train.train(
    smoke_config(
      data__directory=miniature,
      init_from=str(finished),
      optimizer__learning_rate=0.0,
      optimizer__final_learning_rate=0.0,
      ema_decay=0.0,  # An average of equal numbers is rounded.
    ),
    str(tmp_path),
  )
  mine, theirs = (checkpoints.restore_variables(checkpoints.find(str(run)))["params"] for run in (tmp_path, finished))
  jax.tree.map(np.testing.assert_array_equal, mine, theirs)


def test_frozen_parameters_stay_and_the_run_goes_on(finished, miniature, tmp_path, capsys):
  """Groups with FSDP and a batch in two pieces; the run is given more steps after its second."""
  groups = (("^video/", {"rate": 0.0}), (r"^encoder/.*layer_(\d+)/", {"layer_rate": 0.5}))
  for steps in (2, 3):
    train.train(
      smoke_config(
        data__directory=miniature, init_from=str(finished), ema_decay=0.0, optimizer__groups=groups, total_steps=steps,
        mesh=(1, 4, 2), fsdp=True, accumulate=2, evaluators={},
      ),
      str(tmp_path),
    )  # fmt: skip
  assert "parameters, frozen" in capsys.readouterr().out
  before, after = (checkpoints.restore_variables(checkpoints.find(str(run)))["params"] for run in (finished, tmp_path))
  jax.tree.map(np.testing.assert_array_equal, before["video"], after["video"])
  assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(np.any(a != b)), before["text"], after["text"])))
  assert int(workdir_lib.read_metrics(str(tmp_path))[-1]["step"]) == 3


def test_init_from_another_model_names_what_does_not_fit(finished, miniature, tmp_path):
  with pytest.raises(errors.UserError, match="missing params/audio/encoder/"):
    train.train(smoke_config(data__directory=miniature, init_from=str(finished), model__agnostic=False), str(tmp_path))


def test_two_runs_in_one_workdir_are_refused(tmp_path, miniature):
  with workdir_lib.lock(str(tmp_path)):
    process = command(tmp_path, f"--config.data.directory={miniature}")
    output, _ = process.communicate(timeout=90)
  assert process.returncode == 2 and "in use by process" in output and "Traceback" not in output


@pytest.mark.parametrize("arguments, sentence", [
    (["--config.batch_sizes=3"], "batch_sizes"),
    (["--nonsense=1"], "nonsense"),
    (["--config=configs/pretrain/none.py"], "none.py"),
    (["--config=configs/pretrain/vatt_demo.py:smok"], "unknown config argument smok"),
])  # fmt: skip
def test_bad_flags_are_sentences(tmp_path, arguments, sentence):
  process = command(tmp_path, *arguments)
  output, _ = process.communicate(timeout=90)
  assert process.returncode == 2, output
  assert sentence in output and "Traceback" not in output


@pytest.mark.parametrize("changes, sentence", [
    ({"data__directory": "/nowhere"}, "there is no prepared data set"),
    ({"model__video_size": "huge"}, "huge"),
    ({"model__audio_projection_init": "random"}, "gabor"),
    ({"mesh": (1, 3, 1)}, "needs 3 devices"),
    ({"batch_size": 12}, "does not divide by the 8 devices"),
    ({"data__video__size": 33}, "do not divide"),
    ({"objective__loss": "sum"}, "asymmetric"),
    ({"optimizer__learning_rate": -1.0}, "learning_rate = -1.0 must be at least 0"),
    ({"ema_decay": 2.0}, "ema_decay = 2.0 must be"),
    ({"keep_checkpoints": 0}, "keep_checkpoints = 0 must be at least 1"),
    ({"optimizer__groups": (("^vdieo/", {"rate": 0.1}),)}, "matches no parameter"),
    ({"optimizer__name": "sgdd"}, "sgdd"),
    ({"init_from": "/nowhere"}, "no checkpoint"),
])  # fmt: skip
def test_bad_configs_are_sentences(tmp_path, miniature, changes, sentence):
  with pytest.raises(errors.UserError, match=sentence):
    train.train(smoke_config(**{"data__directory": miniature, **changes}), str(tmp_path))


def test_another_config_in_the_workdir_is_refused(finished, miniature):
  before = (finished / "results.json").read_bytes()
  with pytest.raises(errors.UserError, match="batch_size: 8 -> 16"):
    train.train(smoke_config(data__directory=miniature, batch_size=16), str(finished))
  assert (finished / "results.json").read_bytes() == before


def test_help_teaches():
  process = subprocess.run([sys.executable, "-m", "vatt_jax.train", "--help"], cwd=ROOT, capture_output=True, text=True)
  assert process.returncode == 0 and "goes on where it stopped" in process.stdout and "--workdir" in process.stdout


@pytest.mark.slow  # tests/training/test_layouts.py has the ring too.
def test_the_ring_trains_to_the_same_losses(miniature, tmp_path):
  """Eight devices, similarities block by block against all at once."""
  losses = []
  for ring in (False, True):
    config = smoke_config("configs.pretrain.vatt", "mbs,smoke", data__directory=miniature, objective__ring=ring)
    config.evaluators = {}
    train.train(config, str(tmp_path / str(ring)))
    losses.append([row["loss"] for row in workdir_lib.read_metrics(str(tmp_path / str(ring))) if "loss" in row])
  np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
