"""The program that puts runs beside each other, on runs that training left."""

import json
import shutil

from absl import flags
import pytest

from tests.test_train import smoke_config
from vatt_jax import errors, report, train


@pytest.fixture(scope="module")
def run(tmp_path_factory, miniature):
  workdir = tmp_path_factory.mktemp("run")
  train.train(smoke_config(data__directory=miniature), str(workdir))
  return workdir


def main(monkeypatch, *arguments):
  values = flags.FlagValues()
  monkeypatch.setattr(report.flags, "FLAGS", values)
  monkeypatch.setattr(report.storage, "retry_passing_errors", lambda: None)  # It would hold for all tests after.
  report.define_flags(values)
  values(["report", *arguments])
  report.main(["report"])


def test_two_runs_in_one_page(run, tmp_path, monkeypatch):
  other = tmp_path / "other"
  shutil.copytree(run, other, ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
  config = json.loads((other / "config.json").read_text())
  config["data"]["video"]["drop_rate"] = 0.75
  (other / "config.json").write_text(json.dumps(config))
  page = tmp_path / "page.html"
  main(monkeypatch, f"--compare={run},{other}", "--names=half,quarter", "--nolook", f"--output={page}")
  text = page.read_text()
  assert "data.video.drop_rate=0.75" in text and "validation: video → text, R@5" in text and "quarter" in text
  half, quarter = report.read(str(run), "half"), report.read(str(other), "quarter")
  assert half.parameters == quarter.parameters > 1000 and half.flops_per_clip > quarter.flops_per_clip > 0
  final = json.loads((run / "results.json").read_text())
  assert half.results == {key: value for key, value in final.items() if key.startswith("eval/")} and half.step == 4


def test_looking_again_adds_what_no_log_holds(run):
  found = report.read(str(run), "again", look=True)
  final = json.loads((run / "results.json").read_text())
  assert {each.name for each in found.sets} == {"test", "validation"} and found.inside.shared
  assert all(found.results[key] == pytest.approx(final[key], abs=1e-6) for key in found.results)


def test_a_newer_evaluation_counts(run, tmp_path):
  (tmp_path / "eval.jsonl").write_text(
    '{"step": 9, "evaluation": "own", "eval/a/top_1": 0.5}\n{"step": 10, "evaluation": "f00", "eval/a/top_1": 0.9}\n'
  )
  history = [{"step": 3, "eval/a/top_1": 0.1, "eval/b/top_1": 0.2}, {"step": 4, "loss": 1.0}]
  assert report.newest_results(tmp_path, history) == (9, {"eval/a/top_1": 0.5, "eval/b/top_1": 0.2})


def test_user_errors_are_sentences(run, tmp_path, monkeypatch):
  output = f"--output={tmp_path / 'page.html'}"
  for arguments, sentence in (
    ([output], "--compare=WORKDIR"),
    ([f"--compare={tmp_path}", output], "not the workdir of a run"),
    ([f"--compare={run}", "--names=a,b", output], "2 names for 1 runs"),
    ([f"--compare={run}", "--nolook", "--metrics=eval/test/top_9", output], "no run has the figure 'eval/test/top_9'"),
  ):
    with pytest.raises(errors.UserError, match=sentence):
      main(monkeypatch, *arguments)
