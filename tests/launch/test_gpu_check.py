"""The check of a GPU, made with the CPU in its place."""

import importlib
import pathlib
import subprocess
import sys

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
