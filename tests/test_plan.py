"""Plans: on the CPU's compiler with invented limits, and on those for accelerators where their packages are installed."""

import importlib.util
import json
import subprocess
import sys

import jax
import pytest

from configs.pretrain import vatt
from vatt_jax import plan
from vatt_jax.errors import UserError
from vatt_jax.training import hardware, topologies

CONTRACT = {
  "fits", "devices", "hbm_bytes_per_device", "hbm_limit_bytes", "argument_bytes", "temporary_bytes",
  "model_flops_per_step", "roofline_seconds", "collectives", "compile_seconds",
}  # fmt: skip


def config(**fields):
  made = vatt.get_config("mbs,smoke,pod")
  made.update_from_flattened_dict(fields)
  return made


def eight(limit=2**34):
  return topologies.Topology(jax.devices(), limit)


@pytest.fixture(scope="module")
def report():
  return plan.plan(config(), eight(), vocabulary_size=50)


def test_a_plan_says_what_a_step_takes(report):
  assert set(report) >= CONTRACT and report["fits"] and report["devices"] == 8
  assert report["hbm_bytes_per_device"] >= report["argument_bytes"] + report["temporary_bytes"]
  assert (
    report["parameters"] * 4 / 8 < report["parameter_bytes"] < report["parameters"] * 4 / 4
  )  # Split, but for biases.
  assert report["optimizer_bytes"] == pytest.approx(2 * report["parameter_bytes"], abs=16)  # Both moments, and counts.
  assert report["collectives"]["all-gather"]["count"] > 0 and report["compile_seconds"] > 0
  assert "all-to-all" not in report["collectives"]
  assert report["roofline_seconds"] is None  # What a CPU can do is not in the table.
  json.dumps(report)


def test_the_minimum_is_two_gathers_and_a_scatter(report):
  weights = report["parameters"] * 2  # bfloat16
  assert report["fsdp_minimum_bytes"] == pytest.approx((3 * weights + 8 * (32 + 16 + 5 * 16) * 4) * 7 / 8, rel=0.01)


def test_the_longest_part_is_the_roofline():
  kind = "TPU v5p"
  known = hardware.find(kind)
  numbers = {
    "device_kind": kind, "devices": 4, "argument_bytes": 10**9, "output_bytes": 10**9, "temporary_bytes": 2 * 10**9,
    "model_flops_per_step": 10**15,
  }  # fmt: skip
  parts = plan.roofline(config(), numbers, sent=10**9)
  assert parts["compute"] == 10**15 / 4 / known.bfloat16_flops_per_second
  assert parts["memory"] == 6 * 10**9 / known.hbm_bytes_per_second
  assert parts["interconnect"] == 10**9 / known.interconnect_bytes_per_second


def test_what_does_not_fit_says_what_would(monkeypatch):
  refused = {"hbm_bytes_per_device": 2**20, "argument_bytes": 1, "temporary_bytes": 1, "collectives": {}}
  monkeypatch.setattr(plan, "_compile", lambda setup: {"fits": True, "compile_seconds": 0.0, **refused})
  too_much = config(**{"model.remat": "none", "fsdp": False, "batch_size": 32})
  report = plan.plan(too_much, eight(limit=2**10), vocabulary_size=50)
  assert not report["fits"]
  found = [text for text, _ in plan.changes(too_much, 8)]
  assert found[:2] == ["--config.fsdp=True", "--config.model.remat=full"]
  assert "--config.accumulate=4" in found and "--config.accumulate=8" not in found  # Four clips each.
  text = plan.describe({"topology": "cpu", **report, "suggestions": found})
  assert "NO" in text and "--config.fsdp=True" in text


def test_a_search_stops_at_the_first_that_fits(monkeypatch):
  tried = []

  def fake(config, topology, vocabulary_size):
    tried.append((config.fsdp, config.model.remat, config.accumulate))
    return {"fits": config.accumulate == 2, "hbm_bytes_per_device": 1}

  monkeypatch.setattr(plan, "plan", fake)
  too_much = config(**{"model.remat": "none", "fsdp": False, "batch_size": 32})
  report, made = plan.search(too_much, eight(), 50, {"hbm_bytes_per_device": 2})
  assert report["fits"] and made[-1] == "--config.accumulate=2" and tried[-1] == (True, "full", 2)
  assert not too_much.fsdp  # The config that was given stays.


def test_reports_become_a_table(report):
  text = plan.table([{"name": "mbs", "topology": "tpu:v5e:2x2", **report}])
  assert text.count("\n") == 2 and "| mbs | tpu:v5e:2x2 | 1 x 8 x 1 | yes |" in text and "all-gather" in text


def test_a_compilers_refusal_is_understood():
  message = (
    "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (19.87G) exceeds "
    "available HBM (15.75G)."
  )
  assert topologies.exhausted(message) == (round(19.87 * 2**30), round(15.75 * 2**30))
  assert topologies.exhausted("INTERNAL: (19.87G) exceeds available HBM (15.75G)") is None


@pytest.mark.parametrize("name", ["tpu:v9:2x2", "tpu:v5e", "gpu:h100:", "gpu:gtx:1", "cpu:8", ""])
def test_unknown_hardware_names_the_known(name):
  with pytest.raises(UserError, match="tpu:v5e:16x16.*gpu:h100:8"):
    topologies.load(name)


@pytest.mark.parametrize("name, line", [("tpu:v5e:2x2", "jax[tpu]==0.10.2"), ("gpu:h100:8", "jax[cuda13]==0.10.2")])
def test_a_missing_compiler_says_how_to_get_it(name, line, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
  with pytest.raises(UserError) as error:
    topologies.load(name)
  assert f'pip install "{line}"' in str(error.value)


def run(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "vatt_jax.plan", *arguments], capture_output=True, text=True, check=False
  )


def test_errors_of_the_user_are_one_sentence():
  wrong = run("--config=configs/pretrain/vatt.py:mbs,smoke", "--topology=tpu:v9:2x2")
  assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "tpu:v5p:4x4x4" in wrong.stderr


def test_the_table_is_made_by_a_script():
  command = ["bash", "launch/plan_table.sh", "--dry_run", "--models=mbs,alpro", "--topologies=tpu:v5e:8x16,gpu:h100:8"]
  found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
  assert len(found) == 5 and found[-1].startswith("python -m vatt_jax.plan --table runs/plan/mbs-tpu-v5e-8x16.json")
  assert "--config=configs/pretrain/vatt.py:mbs,pod" in found[0] and "alpro.py:scratch,pod" in found[3]


def compiled(topology, tmp_path, *arguments):
  path = tmp_path / "plan.json"
  done = run("--config=configs/pretrain/vatt.py:mbs,smoke,pod", f"--topology={topology}", f"--json={path}", *arguments)
  assert done.returncode == 0, done.stderr
  return json.loads(path.read_text()), done.stdout


@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="the compiler for TPUs, jax[tpu], is not installed")
def test_a_tpu_is_planned_for_without_one(tmp_path):
  report, text = compiled("tpu:v5e:2x2", tmp_path)
  assert set(report) >= CONTRACT and report["fits"] and report["devices"] == 4
  assert 15 * 2**30 < report["hbm_limit_bytes"] < 16 * 2**30 and report["roofline_seconds"] > 0
  assert "all-to-all" not in report["collectives"] and "TPU v5 lite" in text


@pytest.mark.skipif(
  not importlib.util.find_spec("jax_cuda13_plugin"),
  reason="the compiler for NVIDIA cards, jax[cuda13], is not installed",
)
def test_a_gpu_is_planned_for_without_one(tmp_path):
  report, text = compiled("gpu:h100:2", tmp_path)
  assert set(report) >= CONTRACT and report["fits"] and report["devices"] == 2
  assert report["roofline_seconds"] > 0 and "NVIDIA H100" in text
