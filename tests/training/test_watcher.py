"""Whether a trainer is at work, slow or gone, told by its heartbeat."""

import json
import time

import pytest

from vatt_jax.training.monitor import Monitor
from vatt_jax.training.watcher import Watcher


class Trainer:
  """A heartbeat on disk, and the watcher's clock."""

  def __init__(self, workdir):
    self.path, self.now = workdir / "heartbeat.json", 0.0
    self.watcher = Watcher(str(workdir), silent_seconds=60.0, stalled_seconds=300.0, clock=lambda: self.now)

  def beats(self, phase="train", step=7, age=1.0, written_ago=0.0):
    row = {"phase": phase, "step": step, "age_seconds": age, "written": time.time() - written_ago}
    self.path.write_text(json.dumps(row))

  def look_after(self, seconds):
    self.now += seconds
    return self.watcher.look()


@pytest.fixture
def trainer(tmp_path):
  return Trainer(tmp_path)


def test_one_that_works_or_has_not_begun_is_no_news(trainer):
  assert trainer.look_after(1000) is None
  for step in range(3):
    trainer.beats(step=step)
    assert trainer.look_after(50) is None


def test_one_that_died_is_told_once_and_one_that_is_back_too(trainer):
  trainer.beats()
  assert trainer.look_after(0) is None and trainer.look_after(59) is None
  assert "was last seen 61 s ago (step 7, training): it may have died; waiting" in trainer.look_after(2)
  assert trainer.look_after(1000) is None
  trainer.beats(step=8)
  assert "is at work again: step 8, training" in trainer.look_after(1)
  assert trainer.look_after(5) is None
  assert "it may have died" in trainer.look_after(61)


def test_one_that_died_long_before_is_told_when_it_had_time_to_beat(trainer):
  trainer.beats(written_ago=3600)
  assert trainer.look_after(0) is None and trainer.look_after(14) is None
  assert "last seen 3,600 s ago" in trainer.look_after(2)


def test_a_clock_that_is_an_hour_behind_is_no_death(trainer):
  for step in range(10):
    trainer.beats(step=step, written_ago=3600 - 5 * step)
    assert trainer.look_after(5) is None


def test_one_that_is_slow_is_alive(trainer):
  trainer.beats(phase="data", age=301)
  assert "is alive but has made no progress for 301 s: step 7, waiting for data" in trainer.look_after(5)
  trainer.beats(phase="data", age=306)
  assert trainer.look_after(5) is None
  trainer.beats(age=0.1)
  assert "at work again" in trainer.look_after(5)


@pytest.mark.parametrize("phase", ["ended", "failed"])
def test_one_that_stopped_is_told_at_once(trainer, phase):
  trainer.beats(phase=phase, written_ago=10)
  assert f"{phase} 10 s ago at step 7 without results" in trainer.look_after(0)


def test_the_heartbeat_of_a_real_run_is_understood(tmp_path):
  watcher = Watcher(str(tmp_path))
  with Monitor(str(tmp_path), 0.0, print, beat_seconds=0.05):
    time.sleep(0.3)
    assert watcher.look() is None and (tmp_path / "heartbeat.json").exists()
  assert "ended 0 s ago at step 0" in watcher.look()
