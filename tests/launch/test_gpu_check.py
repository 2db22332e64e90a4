"""The check of a GPU, made with the CPU in its place."""

import importlib
import json
import pathlib
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

from launch import gpu_check

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def config():
  return importlib.import_module("configs.pretrain.vatt_demo").get_config("smoke")


def test_loss_and_gradients_are_those_of_a_step(config):
  loss, gradients = gpu_check.loss_and_gradients(config, gpu_check.draw(config), jax.devices("cpu")[1])
  assert np.isfinite(loss) and all(np.all(np.isfinite(leaf)) for leaf in gradients)
  assert sum(np.any(leaf != 0) for leaf in gradients) > len(gradients) / 2


@pytest.mark.parametrize(
  "off, good",
  [(0.0, [True, True, True]), (1e-3, [False, True, True]), (0.1, [False, False, True]), (np.nan, [False] * 3)],
)
def test_a_device_that_computes_something_else_is_found_out(config, monkeypatch, capsys, off, good):
  """1e-3 is within what TF32 does, a tenth within what bfloat16 does."""
  here = jax.devices("cpu")[1]
  computed = lambda config, drawn, device: (2.0, [np.array([3.0, 4.0]) * (1 + off * (device == here))])
  monkeypatch.setattr(gpu_check, "draw", lambda config: ({}, {}))
  monkeypatch.setattr(gpu_check, "loss_and_gradients", computed)
  assert gpu_check.compared(config, here) == good
  said = capsys.readouterr().out
  assert said.count("BAD") == good.count(False) and "flash attention: not tried" in said


def test_differences_are_relative():
  reference = (2.0, [np.array([3.0]), np.array([4.0])])
  assert gpu_check.differences(reference, (2.2, [np.array([3.0]), np.array([4.5])])) == pytest.approx((0.1, 0.1))


def test_without_a_gpu_it_says_so():
  found = subprocess.run(
    [sys.executable, "-m", "launch.gpu_check"], cwd=ROOT, check=False, capture_output=True, text=True
  )
  assert found.returncode == 2 and "error: JAX finds no gpu" in found.stderr


def test_utilization_is_the_benchmarks_against_the_published_peak(monkeypatch, capsys):
  """An H100 at 98.9 of 989 TFLOP/s; the benchmark is a stand-in that only writes its report."""
  report = {"model_flops": 49.45e12, "step_seconds": 0.5, "clips_per_second": 64.0, "fraction_of_peak": 0.3}
  report["machine"] = {"device": "NVIDIA H100 80GB HBM3", "devices": 1}

  def start(platform, program, mode, *arguments):
    assert (platform, program, mode) == ("gpu", "benchmark", "step") and "--config.model.dtype=bfloat16" in arguments
    (place,) = [flag.removeprefix("--json=") for flag in arguments if flag.startswith("--json=")]
    pathlib.Path(place).write_text(json.dumps(report))
    return types.SimpleNamespace(wait=lambda: 0)

  monkeypatch.setattr(gpu_check, "_start", start)
  assert gpu_check.used(types.SimpleNamespace(device="gpu", benchmark_config="c", benchmark_batch_size=32))
  assert "98.9 TFLOP/s for each device" in (said := capsys.readouterr().out) and "10.0 % of the published peak" in said
  report["machine"]["device"] = "a card that nobody knows"
  assert gpu_check.used(types.SimpleNamespace(device="gpu", benchmark_config="c", benchmark_batch_size=32))
  assert "an unknown share of the published peak" in capsys.readouterr().out


@pytest.mark.slow  # Half a minute: four compilations.
def test_a_device_that_computes_the_same_is_good(config):
  assert gpu_check.compared(config, jax.devices("cpu")[1]) == [True] * 3


@pytest.mark.slow
def test_the_whole_check():
  smoke = "configs/pretrain/vatt_demo.py:smoke"
  arguments = ["--device=cpu", f"--config={smoke}", f"--benchmark_config={smoke}", "--benchmark_batch_size=8"]
  found = subprocess.run(
    [sys.executable, "-m", "launch.gpu_check", *arguments], cwd=ROOT, check=False, capture_output=True, text=True
  )
  assert found.returncode == 0, found.stderr
  assert "ok  resume: killed after step 50 of 200; 1 fingerprint(s)" in found.stdout
  assert "ok  utilization: " in found.stdout and found.stdout.endswith("all good\n")
