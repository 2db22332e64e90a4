"""What the benchmark reports, at tiny size; its figures are checked for sense, not for speed."""

import json
import subprocess
import sys

from absl import flags
import numpy as np
import pytest

from configs.finetune import esc50
from configs.pretrain import alpro, vatt
from vatt_jax import benchmark, errors, jobs
from vatt_jax.benchmarks import comparison, input as input_lib, loss, measuring, prepare, step
from vatt_jax.data import pipeline


def alone(report, i=0):
  """One config's part of a report, as the program writes it."""
  return {**report["configs"][i], **{name: value for name, value in report.items() if name != "configs"}}


@pytest.fixture(scope="module")
def steps():
  configs = [vatt.get_config("bbs,smoke"), alpro.get_config("smoke")]
  return step.run(configs, vocabulary_size=50, repetitions=3, gemm_sizes=(64, 128))


def test_a_step_is_timed_against_the_peak(steps, capsys):
  report = alone(steps)
  spread = report["step_seconds_spread"]
  assert 0 < spread["minimum"] <= spread["first_quartile"] <= report["step_seconds"] <= spread["maximum"]
  expected = report["model_flops"] / report["step_seconds"] / report["gemm_peak_flops_per_second"]
  assert report["fraction_of_peak"] == pytest.approx(expected) and expected > 0
  assert report["peak_memory_bytes"] > 2**20 and "teacher_seconds" not in report
  step.say(report)
  assert "fraction of peak" in capsys.readouterr().out
  json.dumps(report)


def test_the_teacher_has_a_share_of_the_step(steps, capsys):
  report = alone(steps, 1)
  assert 0 < report["teacher_share"] == report["teacher_seconds"] / report["step_seconds"]
  assert 0 < report["teacher_flops"] < report["model_flops"] / 2
  step.say(report)
  assert "frozen teacher" in capsys.readouterr().out


def test_steps_stand_beside_each_other(steps):
  compared = comparison.compare(steps, ["<vatt>", "alpro"])
  first, second = (each["figures"] for each in compared["configs"])
  assert {"seconds of a step", "clips a second", "GFLOP a second"} < first.keys() == second.keys()
  flops = steps["configs"][1]["model_flops"] / steps["configs"][0]["model_flops"]
  assert second["GFLOP of a step"]["ratio_to_first"] == pytest.approx(flops)
  html = comparison.document(compared, "step", "python -m vatt_jax.benchmark step")
  assert steps["flop_convention"] in html and steps["machine"]["cpu"] in html and "<vatt>" not in html
  assert f"{flops:.3f}" in html and f"{flops:.3f}" in comparison.table(compared)


@pytest.mark.parametrize("turns, expected", [(True, ["a", "b", "abab"]), (False, ["a", "aa", "b", "bb"])])
def test_configs_take_turns_or_come_one_after_the_other(turns, expected):
  said = []

  class Timed:
    def __init__(self, name):
      said.append(f"{name} ")
      self.measure = lambda: said.append(name)
      self.report = lambda: said.append(" ") or {"name": name}

  reports = measuring.reports([lambda: Timed("a"), lambda: Timed("b")], repetitions=2, turns=turns)
  assert [each["name"] for each in reports] == ["a", "b"]
  assert "".join(said).split() == expected


def test_random_batches_are_what_the_pipeline_would_give():
  options = jobs.input_options(vatt.get_config("bbs,smoke").data)
  spec = pipeline.batch_spec(options, 4)
  batch = step.random_batch(spec, vocabulary_size=9)
  assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {k: (v.shape, v.dtype) for k, v in spec.items()}
  assert batch["text/ids"].min() >= 1 and batch["text/ids"].max() < 9
  assert batch["video/positions"].max() < np.prod(options.video.grid)


def test_the_ring_needs_less_than_the_plain_loss(capsys):
  report = alone(loss.run([vatt.get_config("mbs,smoke")], repetitions=1, batch_sizes=(256, 2048), executed=256))
  loss.say(report)
  small, large = report["batches"]
  assert report["devices"] == 8 and small["ring_loss"] == pytest.approx(small["plain_loss"], rel=1e-5)
  assert "ring_seconds" in small and "ring_seconds" not in large
  assert large["ring_temporary_bytes"] < large["matrix_bytes"] / 8 <= large["plain_temporary_bytes"]
  assert "batch 2,048" in capsys.readouterr().out


def test_alpros_contrast_and_a_sigmoid_have_the_plain_form_alone():
  sigmoid = vatt.get_config("mbs,smoke")
  sigmoid.objective.loss = "sigmoid"
  report = loss.run([alpro.get_config("smoke"), sigmoid], repetitions=1, batch_sizes=(64,), executed=64)
  for found, name, candidates in zip(report["configs"], ("vtc", "sigmoid"), (1, 5)):
    (row,) = found["batches"]
    assert (found["loss"], found["candidates"]) == (name, candidates) and "ring_temporary_bytes" not in row
    assert row["plain_seconds"] > 0 and np.isfinite(row["plain_loss"])
  assert abs(report["configs"][0]["batches"][0]["plain_loss"] - np.log(64)) < 8  # Of random vectors, some are near.


@pytest.mark.parametrize("config", [esc50.get_config(), alpro.get_config("no_vtc,smoke")])
def test_a_config_without_a_contrast_is_told(config):
  with pytest.raises(errors.UserError, match="compares no clips with captions"):
    loss.run([config], repetitions=1)


@pytest.mark.parametrize(
  "text, places",
  [
    ("a.py", ["a.py"]),
    ("x/a.py:b,c,y/d.py,e.py:f", ["x/a.py:b,c", "y/d.py", "e.py:f"]),
  ],
)
def test_arguments_of_configs_may_hold_commas(text, places):
  assert benchmark.split(text) == places


def program(monkeypatch, *arguments):
  """Its main, in this process."""
  values = flags.FlagValues()
  benchmark.define_flags(values)
  monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
  monkeypatch.setattr(flags, "FLAGS", values)
  benchmark.main(values(sys.argv))


PAIR = "configs/pretrain/vatt.py:bbs,smoke,configs/pretrain/alpro.py:smoke"


def test_configs_stand_beside_each_other(tmp_path, monkeypatch, capsys):
  """VATT and ALPRO by their contrasts: the table, the report and the page have the same medians."""
  report, page = tmp_path / "loss.json", tmp_path / "loss.html"
  written = (f"--json={report}", f"--plot={page}")
  program(monkeypatch, "loss", f"--configs={PAIR}", "--batch_size=64", "--repetitions=3", *written)
  found = json.loads(report.read_text())
  assert [each["config"] for each in found["configs"]] == ["configs/pretrain/vatt.py:bbs,smoke", PAIR.rsplit(",", 1)[1]]
  first, second = (each["figures"]["seconds: plain form, batch of 64"] for each in found["configs"])
  assert first["ratio_to_first"] == 1 and second["ratio_to_first"] == second["median"] / first["median"]
  assert first["first_quartile"] <= first["median"] <= first["third_quartile"]
  assert found["machine"]["cores"] and found["versions"]["jax"] and found["repetitions"] == 3
  out, html = capsys.readouterr().out, page.read_text()
  ratio = f"{second['ratio_to_first']:.3f}"
  assert ratio in out and ratio in html and "–" in out  # ALPRO has no ring.
  assert html.count("<svg") == 4 and html.count("<circle") == 6 and "benchmark loss --configs=" in html


@pytest.mark.parametrize(
  "arguments, sentence",
  [
    (("step", "--configs=nowhere.py"), "the config nowhere.py cannot be read: .*No such file"),
    (("step", "--configs=configs/pretrain/vatt.py:x"), "unknown config argument x"),
    (("loss",), "--config=FILE is needed"),
    (("step", "--config=configs/pretrain/vatt.py", "--configs=configs/pretrain/vatt.py"), "or --configs"),
    (("flops", "--plot=a.html"), "--configs and --plot are for step, input, loss"),
    (("step", "--config=configs/pretrain/vatt.py", "--plot=nowhere/a.html"), "a folder that does not exist"),
  ],
)
def test_what_cannot_be_compared_is_told(arguments, sentence, monkeypatch):
  with pytest.raises(errors.UserError, match=sentence):
    program(monkeypatch, *arguments)


def run(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "vatt_jax.benchmark", *arguments], capture_output=True, text=True, check=False
  )


def test_the_program_writes_its_report_and_names_its_modes(tmp_path):
  path = tmp_path / "flops.json"
  done = run("flops", f"--json={path}")
  assert done.returncode == 0 and "| MBS | 50 % | 375.4 | 374.3 |" in done.stdout, done.stderr
  report = json.loads(path.read_text())
  assert report["paper"][2]["paper_convention"] == pytest.approx(375.4e9, rel=0.03)
  assert report["matching"]["all, encoded once"] == pytest.approx(
    1e6 * 2 * 10.6e9, rel=0.03
  )  # ALPRO's fusion: 10.6 GMAC
  assert report["matching"]["16 candidates"] < 0.04 * report["matching"]["all, as published"]
  wrong = run("steps")
  assert wrong.returncode == 2 and "one of step, input, loss, prepare, flops" in wrong.stderr
  assert wrong.stderr.count("\n") == 1


def test_prepare_is_timed_against_bare_decoding(tmp_path, capsys):
  """At tiny size the share means nothing; every frame and every piece of sound is decoded."""
  films = prepare.make_films(tmp_path, (64, 48), 1, seconds=2)
  pieces = -(-2 * prepare.SAMPLE_RATE_HZ // 1024)
  assert abs(prepare.decode_everything(f"{films}/0.mp4") - 2 * prepare.FRAMES_PER_SECOND - pieces) <= 2
  report = prepare.run(films, repetitions=1)
  figures = report["64x48"]
  ours, bare = figures["clips_per_second_per_core"], figures["bare_clips_per_second_per_core"]
  assert 0 < ours < bare and figures["share_of_bare"] == pytest.approx(ours / bare)
  assert f"{100 * ours / bare:.0f} % of decoding alone" in capsys.readouterr().out
  json.dumps(report)


def test_the_input_is_timed_against_a_float_pipeline(capsys):
  """At tiny size the ratio means nothing; the bytes are those of uint8 and DropToken against float32 and none."""
  report = alone(input_lib.run([vatt.get_config("bbs,smoke")], repetitions=1, batches_each=1))
  input_lib.say(report)
  json.dumps(report)
  names = {"clips_per_second_per_core", "baseline_clips_per_second_per_core"}
  for name in names | {f"{name}_with_colour_jitter" for name in names}:
    assert report[name] > 0 and report["processor_seconds_spread"][name]["minimum"] > 0
    assert 0 <= report["kernel_share"][name] < 1.05  # Two clocks.
  config = vatt.get_config("bbs,smoke").data
  video = config.video.frames * config.video.size**2 * 3
  assert report["baseline_bytes_per_clip"] > 4 * (video + config.audio.samples)
  assert video / 2 < report["bytes_per_clip"] < report["baseline_bytes_per_clip"] / 4
  assert "in float32" in capsys.readouterr().out


def test_rand_augment_is_left_out_of_the_comparison_and_told_of_ours(capsys):
  """A float32 pipeline without it would look faster than it is."""
  report = alone(input_lib.run([alpro.get_config("smoke")], repetitions=1, rows=4, batches_each=1))
  input_lib.say(report)
  names = {name for name in report if "clips_per_second" in name}
  ours = "clips_per_second_per_core"
  assert names == {ours, f"{ours}_with_rand_augment", f"baseline_{ours}"}
  assert report["figures"]["clips a second on a core"]["median"] == pytest.approx(report[f"{ours}_with_rand_augment"])
  assert "with rand augment" in capsys.readouterr().out
