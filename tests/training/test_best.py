"""The best checkpoint is kept."""

import json
import math

from etils import epath
import pytest

from vatt_jax.errors import UserError
from vatt_jax.training import best as best_lib, checkpoints

METRIC = "eval/validation/top_1"


@pytest.fixture
def workdir(tmp_path):
  for step in (1, 2, 3):
    state = tmp_path / "checkpoints" / str(step) / "state"
    state.mkdir(parents=True)
    (state / "weights").write_text(f"weights {step}")
    (state.parent / "manifest.json").write_text(json.dumps({"step": step}))
  (tmp_path / "tokenizer").mkdir()
  (tmp_path / "tokenizer" / "words.txt").write_text("a")
  return epath.Path(tmp_path)


def offer(workdir, step, value, metric=METRIC):
  best = best_lib.Best(str(workdir), metric, ("tokenizer", "labels.txt"))
  best.hold(workdir / "checkpoints" / str(step))
  return best.offer(step, {metric: value, "eval/validation/clips": 3.0})


def kept(workdir):
  found = checkpoints.find(str(workdir / "best"))
  assert json.loads((found / "best.json").read_text())["step"] == checkpoints.manifest(found)["step"]
  assert sorted(path.name for path in workdir.iterdir() if "best" in path.name) == ["best"]
  return (found / "state" / "weights").read_text(), checkpoints.manifest(found)["step"]


def test_the_best_stays_when_its_checkpoint_goes(workdir):
  assert offer(workdir, 1, 0.5) and kept(workdir) == ("weights 1", 1)
  assert offer(workdir, 2, 0.7) and not offer(workdir, 3, 0.6)
  (workdir / "checkpoints" / "2").rmtree()
  assert kept(workdir) == ("weights 2", 2) and (workdir / "best" / "tokenizer" / "words.txt").read_text() == "a"


def test_twice_is_once_and_equal_is_not_better(workdir):
  assert offer(workdir, 1, 0.5)
  assert not offer(workdir, 1, 0.5) and not offer(workdir, 2, 0.5) and not offer(workdir, 3, math.nan)
  assert kept(workdir) == ("weights 1", 1)


@pytest.mark.parametrize("metric", ["eval/test/text_to_video/median_rank", "loss", "loss/video_text"])
def test_small_ranks_and_losses_are_good(workdir, metric):
  assert offer(workdir, 1, 5.0, metric) and offer(workdir, 2, 3.0, metric) and not offer(workdir, 3, 4.0, metric)
  assert kept(workdir)[1] == 2


def test_it_may_be_removed_while_it_is_evaluated(workdir):
  best = best_lib.Best(str(workdir), METRIC)
  best.hold(workdir / "checkpoints" / "1")
  (workdir / "checkpoints" / "1").rmtree()
  assert best.offer(1, {METRIC: 0.1}) and kept(workdir) == ("weights 1", 1)
  with pytest.raises(FileNotFoundError):
    best.hold(workdir / "checkpoints" / "1")
  assert kept(workdir)[1] == 1


@pytest.mark.parametrize("renames", [0, 1])
def test_a_process_that_ends_in_between_loses_nothing(workdir, monkeypatch, renames):
  offer(workdir, 1, 0.5)
  rename, done = type(workdir).rename, []

  def dies(self, target):
    if len(done) == renames:
      raise KeyboardInterrupt
    done.append(target)
    return rename(self, target)

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(type(workdir), "rename", dies)
    offer(workdir, 2, 0.7)
  assert not offer(workdir, 3, 0.4) and kept(workdir)[1] == 1
  assert offer(workdir, 2, 0.7) and kept(workdir)[1] == 2


def test_another_figure_begins_anew_and_an_unknown_one_is_named(workdir):
  offer(workdir, 1, 0.9)
  assert offer(workdir, 2, 0.1, "eval/validation/top_5") and kept(workdir)[1] == 2
  best = best_lib.Best(str(workdir), "eval/validation/top_2")
  best.hold(workdir / "checkpoints" / "3")
  with pytest.raises(UserError, match="no figure 'eval/validation/top_2'; this evaluation has: eval/validation/top_1"):
    best.offer(3, {METRIC: 1.0})
  assert kept(workdir)[1] == 2
