"""What the benchmark reports, at tiny size; its figures are checked for sense, not for speed."""

import json
import subprocess
import sys

import numpy as np
import pytest

from configs.pretrain import alpro, vatt
from vatt_jax import jobs
from vatt_jax.benchmarks import input as input_lib, loss, prepare, step
from vatt_jax.data import pipeline


def test_a_step_is_timed_against_the_peak(capsys):
  report = step.run(vatt.get_config("bbs,smoke"), vocabulary_size=50, repetitions=3, gemm_sizes=(64, 128))
  spread = report["step_seconds_spread"]
  assert 0 < spread["minimum"] <= spread["first_quartile"] <= report["step_seconds"] <= spread["maximum"]
  expected = report["model_flops"] / report["step_seconds"] / report["gemm_peak_flops_per_second"]
  assert report["fraction_of_peak"] == pytest.approx(expected) and expected > 0
  assert report["peak_memory_bytes"] > 2**20
  assert "fraction of peak" in capsys.readouterr().out
  json.dumps(report)


def test_the_teacher_has_a_share_of_the_step(capsys):
  report = step.run(alpro.get_config("smoke"), vocabulary_size=50, repetitions=2, gemm_sizes=(64,))
  assert 0 < report["teacher_share"] == report["teacher_seconds"] / report["step_seconds"]
  assert 0 < report["teacher_flops"] < report["model_flops"] / 2
  assert "frozen teacher" in capsys.readouterr().out


def test_random_batches_are_what_the_pipeline_would_give():
  options = jobs.input_options(vatt.get_config("bbs,smoke").data)
  spec = pipeline.batch_spec(options, 4)
  batch = step.random_batch(spec, vocabulary_size=9)
  assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {k: (v.shape, v.dtype) for k, v in spec.items()}
  assert batch["text/ids"].min() >= 1 and batch["text/ids"].max() < 9
  assert batch["video/positions"].max() < np.prod(options.video.grid)


def test_the_ring_needs_less_than_the_plain_loss(capsys):
  report = loss.run(vatt.get_config("mbs,smoke"), repetitions=1, batch_sizes=(256, 2048), executed=256)
  small, large = report["batches"]
  assert report["devices"] == 8 and small["ring_loss"] == pytest.approx(small["plain_loss"], rel=1e-5)
  assert "ring_seconds" in small and "ring_seconds" not in large
  assert large["ring_temporary_bytes"] < large["matrix_bytes"] / 8 <= large["plain_temporary_bytes"]
  assert "batch 2,048" in capsys.readouterr().out


def run(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "vatt_jax.benchmark", *arguments], capture_output=True, text=True, check=False
  )


def test_the_program_writes_its_report_and_names_its_modes(tmp_path):
  path = tmp_path / "flops.json"
  done = run("flops", f"--json={path}")
  assert done.returncode == 0 and "| MBS | 50 % | 375.4 | 374.3 |" in done.stdout, done.stderr
  assert json.loads(path.read_text())["paper"][2]["paper_convention"] == pytest.approx(375.4e9, rel=0.03)
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
  report = input_lib.run(vatt.get_config("bbs,smoke"), repetitions=1, batches_each=1)
  names = {"clips_per_second_per_core", "baseline_clips_per_second_per_core"}
  for name in names | {f"{name}_with_colour_jitter" for name in names}:
    assert report[name] > 0 and report["processor_seconds_spread"][name]["minimum"] > 0
    assert 0 <= report["kernel_share"][name] < 1.05  # Two clocks.
  config = vatt.get_config("bbs,smoke").data
  video = config.video.frames * config.video.size**2 * 3
  assert report["baseline_bytes_per_clip"] > 4 * (video + config.audio.samples)
  assert video / 2 < report["bytes_per_clip"] < report["baseline_bytes_per_clip"] / 4
  assert "in float32" in capsys.readouterr().out
  json.dumps(report)
