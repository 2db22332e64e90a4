"""A run survives: kills, signals in every phase, other devices, full disks, bad storage, broken numbers, stalls."""

import dataclasses
import errno
import json
import os
import random
import re
import resource
import signal
import sys
import time
import types

from etils.epath import backend as epath_backends
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.runs import command, losses, results, several, smoke_config
from vatt_jax import errors, objectives, storage, train
from vatt_jax.data import pipeline
from vatt_jax.training import checkpoints, workdir as workdir_lib


def wait_until(process, true):
  """Until true() or the end of the process."""
  while process.poll() is None and not true():
    time.sleep(0.02)


def step_of(workdir):
  """The last step in metrics.jsonl, 0 before the first."""
  path = workdir / "metrics.jsonl"
  rows = workdir_lib.read_json_lines(path) if path.exists() else []
  return max((row["step"] for row in rows), default=0)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_step_it_ends_with_the_same_weights(tmp_path, miniature, kills):
  """SIGKILL at random steps; the fingerprint is that of the undisturbed run on this machine."""
  flags = (f"--config.data.directory={miniature}", "--config.total_steps=30", "--config.evaluate_every_steps=1000",
           "--config.checkpoint_every_steps=4")  # fmt: skip
  calm, killed = tmp_path / "calm", tmp_path / "killed"
  assert command(calm, *flags).wait() == 0
  chance = random.Random(os.getpid())
  for step in sorted(chance.sample(range(1, 28), kills)):
    process = command(killed, *flags)
    wait_until(process, lambda step=step: step_of(killed) >= step)
    process.send_signal(signal.SIGKILL)
    process.wait()
  assert not (killed / "results.json").exists()
  last = command(killed, *flags)
  assert last.wait() == 0, last.stdout.read()
  assert results(killed)["params/fingerprint"] == results(calm)["params/fingerprint"]
  steps = [row["step"] for row in workdir_lib.read_metrics(str(killed))]
  assert steps == sorted(steps) and set(steps) == set(range(1, 31))


SLOW = pytest.mark.slow


@pytest.mark.parametrize("phase, frequent", [
    ("compile", ()),
    pytest.param("train", (), marks=SLOW),  # One of two processes is stopped there, below.
    pytest.param("evaluate", ("--config.evaluate_every_steps=1",), marks=SLOW),
    pytest.param("save", ("--config.checkpoint_every_steps=1",), marks=SLOW),
])  # fmt: skip
def test_sigterm_saves_and_exits_with_0(tmp_path, miniature, phase, frequent):
  flags = [f"--config.data.directory={miniature}", "--config.total_steps=100000", "--config.stall_seconds=2"]
  flags += [f"--config.{name}=100000" for name in ("checkpoint_every_steps", "evaluate_every_steps")]
  cache = {"VATT_JAX_CACHE": str(tmp_path / "cache")} if phase == "compile" else {}
  process = command(tmp_path, *flags, *frequent, **cache)
  beat = lambda: workdir_lib.read_heartbeat(tmp_path / "heartbeat.json")
  wait_until(process, lambda: beat().get("phase") == phase)
  began, k = time.monotonic(), step_of(tmp_path)
  process.send_signal(signal.SIGTERM)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == 0 and "the same command goes on from here" in output, output
  assert time.monotonic() - began < 30 and not (tmp_path / "results.json").exists()
  assert beat()["phase"] == "ended"
  if phase == "compile":
    assert "stopped by SIGTERM while compiling" in output
  else:
    assert checkpoints.steps(str(tmp_path))[-1] >= k  # Nothing that was done is lost.


def test_two_processes_train_and_stop_together(tmp_path, miniature):
  """Two processes of two devices follow the curve of one with four; stopped by a signal to one, one of two goes on."""
  flags = (f"--config.data.directory={miniature}", "--config.total_steps=12", "--config.batch_size=32",
           "--config.evaluate_every_steps=1000", "--config.checkpoint_every_steps=100")  # fmt: skip
  alone = command(tmp_path / "alone", *flags, devices=4)
  assert alone.wait() == 0, alone.stdout.read()
  together = several(2, tmp_path / "together", *flags)
  wait_until(together[0], lambda: step_of(tmp_path / "together") >= 3)
  together[1].send_signal(signal.SIGTERM)
  outputs = [process.communicate(timeout=120)[0] for process in together]
  assert [process.returncode for process in together] == [0, 0], outputs
  assert "stopped by SIGTERM after step" in outputs[0] and "stopped by" not in outputs[1]
  assert (tmp_path / "together/heartbeat.1.json").exists()
  (saved,) = checkpoints.steps(str(tmp_path / "together"))
  assert 3 <= saved < 12
  rest = command(tmp_path / "together", *flags, devices=2)
  output, _ = rest.communicate(timeout=120)
  assert rest.returncode == 0 and f"step {saved} of 12 (resumed)" in output
  mine, reference = losses(tmp_path / "together"), losses(tmp_path / "alone")
  assert list(mine) == list(reference) == list(range(1, 13))
  np.testing.assert_allclose(list(mine.values()), list(reference.values()), rtol=1e-4)
  assert results(tmp_path / "together").keys() == results(tmp_path / "alone").keys()


@pytest.mark.slow
def test_the_curve_goes_on_with_other_devices(tmp_path, miniature):
  """8 -> 2 -> 1 -> 8 devices, stopped in between, against 8 all the way; data order and curve stay."""
  flags = (f"--config.data.directory={miniature}", "--config.total_steps=12", "--config.batch_size=32",
           "--config.evaluate_every_steps=1000", "--config.checkpoint_every_steps=100")  # fmt: skip
  assert command(tmp_path / "calm", *flags, devices=8).wait() == 0
  moved = tmp_path / "moved"
  for devices in (8, 2, 1):
    before = step_of(moved)
    process = command(moved, *flags, devices=devices)
    wait_until(process, lambda before=before: step_of(moved) > before)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert before < checkpoints.steps(str(moved))[-1] < 12
  assert command(moved, *flags, devices=8).wait() == 0
  mine, reference = losses(moved), losses(tmp_path / "calm")
  assert list(mine) == list(reference)
  np.testing.assert_allclose(list(mine.values()), list(reference.values()), rtol=1e-4)


# ---- In this process, with an objective that compiles at once.


@dataclasses.dataclass(frozen=True)
class Counter:
  """One parameter that grows by the learning rate with every step; the loss is not finite from `breaks_at` on."""

  breaks_at: float = np.inf

  partition_rules = ((".*", ()),)
  fresh, spaces, batch_keys = "", {}, ()

  def init(self, rng, batch):
    return {"params": {"w": jnp.zeros([2])}}

  def loss(self, variables, batch, rng, train):
    w = variables["params"]["w"]
    value = jnp.where(w[0] < self.breaks_at, -jnp.sum(w), jnp.nan) + 0.0 * jnp.mean(batch["text/ids"])
    return value, {"loss": value}, {}

  def encode(self, variables, batch):
    return {}

  def on_mesh(self, mesh):
    return self


@pytest.fixture
def run(monkeypatch, miniature, tmp_path):
  """run(breaks_at=..., name=value...) trains a `Counter` for 6 steps with a checkpoint each, and returns the workdir."""

  def train_counter(breaks_at=np.inf, **changes):
    module = types.SimpleNamespace(from_config=lambda *_: Counter(breaks_at), inherit=lambda config, source: None)
    monkeypatch.setitem(objectives.OBJECTIVES, "counter", module)
    config = smoke_config(data__directory=miniature, objective__name="counter", total_steps=6, keep_checkpoints=9)
    config.checkpoint_every_steps = 1
    config.evaluators = {}
    config.optimizer.update({"name": "sgd", "learning_rate": 1.0, "warmup_steps": 0, "final_learning_rate": 1.0})
    with config.optimizer.unlocked():
      config.optimizer.update({"momentum": 0.0, "clip_global_norm": 0.0})
    config.update(changes)
    train.train(config, str(tmp_path / "run"))
    return tmp_path / "run"

  return train_counter


@pytest.fixture
def no_room():
  """no_room(bytes): from now on no file of this process can grow beyond so many; None: it can again."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (soft if most is None else most, hard))
  resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(run, monkeypatch, no_room):
  save, said = checkpoints.Checkpoints.save, []

  def full_at_step_3(self, step, state, manifest):
    no_room(20 if step == 3 else None)
    save(self, step, state, manifest)
    self.wait()
    no_room(None)

  monkeypatch.setattr(checkpoints.Checkpoints, "save", full_at_step_3)
  monkeypatch.setattr(train, "say", said.append)
  workdir = run()
  assert "warning: the checkpoint of step 3 could not be saved" in "\n".join(said)
  assert checkpoints.steps(str(workdir)) == [1, 2, 4, 5, 6]
  assert not [path for path in (workdir / "checkpoints").iterdir() if not path.name.isdigit()]
  assert results(workdir)["loss"] == -2 * 5


def test_a_run_whose_last_checkpoint_finds_no_room_is_not_called_done(run, monkeypatch, no_room, tmp_path):
  save = checkpoints.Checkpoints.save
  monkeypatch.setattr(train, "say", lambda line: None)
  full = lambda self, step, *rest: (self.wait(), no_room(20 if step == 6 else None), save(self, step, *rest))
  monkeypatch.setattr(checkpoints.Checkpoints, "save", full)
  with pytest.raises(errors.UserError, match="the last checkpoint could not be saved"):
    run()
  no_room(None)
  assert checkpoints.steps(str(tmp_path / "run")) == [1, 2, 3, 4, 5] and not (tmp_path / "run/results.json").exists()


def test_metrics_wait_for_room(tmp_path, no_room):
  said = []
  log = workdir_lib.MetricsLog(str(tmp_path), 0, said.append)
  log.write(1, {"loss": 3.0})
  no_room((tmp_path / "metrics.jsonl").stat().st_size + 5)  # The next line is cut off.
  log.write(2, {"loss": 2.0})
  no_room(None)
  log.write(3, {"loss": 1.0})
  log.close()
  assert losses(tmp_path) == {1: 3.0, 2: 2.0, 3: 1.0}
  assert len(said) == 1 and "cannot be written" in said[0]


def test_updates_that_are_not_finite_are_named_and_stop_the_run(run, capfd):
  with pytest.raises(errors.UserError, match=r"the last 20 updates were not finite, from batch 3 \(step 4\) on"):
    run(breaks_at=3.0, total_steps=40)
  assert "not finite and left out: the update of step 4\n" in capfd.readouterr().err


def test_a_stalled_reader_is_told_with_the_stacks(run, monkeypatch, capfd, tmp_path):
  read, seen = pipeline.training_batches, {}

  def stalling(*args, **kwargs):
    for step, batch in enumerate(read(*args, **kwargs)):
      if step == 3:
        time.sleep(2.5)
        seen.update(json.loads((tmp_path / "run/heartbeat.json").read_text()))
      yield batch

  monkeypatch.setattr(pipeline, "training_batches", stalling)
  monkeypatch.setattr(sys, "__stderr__", sys.stderr)
  run(stall_seconds=1.0)
  assert seen["phase"] == "data" and seen["step"] in (2, 3) and 1.0 < seen["age_seconds"] < 10.0
  said = "".join(capfd.readouterr())
  # A busy machine may stand still elsewhere too.
  assert len(re.findall(r"nothing has moved for \d+ s; step [23], waiting for data", said)) == 1
  assert "in stalling" in said and "Current thread" in said


def test_storage_that_is_slow_and_fails_now_and_then(run, monkeypatch, capfd):
  """One operation in eight fails, every one takes a millisecond: the run ends as it would anywhere."""
  chance, failures = random.Random(0), []

  def unreliable(plain):
    def operation(*args, **kwargs):
      time.sleep(0.001)
      if chance.random() < 0.125:
        failures.append(plain.__name__)
        raise OSError(errno.EIO, "Input/output error") if chance.random() < 0.5 else TimeoutError("the server is busy")
      return plain(*args, **kwargs)

    return operation

  for name in (
    "open",
    "exists",
    "isdir",
    "listdir",
    "glob",
    "mkdir",
    "makedirs",
    "rename",
    "replace",
    "remove",
    "stat",
  ):
    monkeypatch.setattr(epath_backends.os_backend, name, unreliable(getattr(epath_backends.os_backend, name)))
  undo = storage.retry_passing_errors(pause_seconds=0.001)
  try:
    workdir = run()
  finally:
    undo()
    monkeypatch.undo()
  assert len(failures) > 20
  assert checkpoints.steps(str(workdir)) == [1, 2, 3, 4, 5, 6] and results(workdir)["loss"] == -2 * 5
  assert "warning" not in "".join(capfd.readouterr())


def test_where_the_time_went_is_told_and_chosen_steps_are_traced(run, capfd):
  workdir = run(profile_steps=(2, 3))
  said = capfd.readouterr().out
  assert "in 1 start(s) went: " in said and "the trace of steps 2 to 3 lies in" in said
  assert list((workdir / "profile").rglob("*.xplane.pb"))
  assert 0 < results(workdir)["time/goodput_fraction"] < 1
  assert "throughput/model_flops_utilization" not in results(workdir)  # What a CPU could do is not known.
  with pytest.raises(errors.UserError, match="profile_steps"):
    run(profile_steps=(2,), total_steps=7)


def test_utilization_is_that_of_the_known_peak(run, monkeypatch):
  from vatt_jax.training import hardware

  monkeypatch.setitem(hardware.HARDWARE, jax.devices()[0].device_kind, hardware.HARDWARE["TPU v4"])
  assert results(run())["throughput/model_flops_utilization"] == 0  # A counter has no matrix products.
