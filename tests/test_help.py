"""Every program explains itself at once: nothing heavy is imported before its flags are read."""

import os
import pathlib
import resource
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# What has been imported when --help has been answered.
LOOK = """
import runpy, sys
program, sys.argv = sys.argv[1], [*sys.argv[1:], "--help"]
try:
  runpy.run_module(program, run_name="__main__", alter_sys=True)
except SystemExit as end:
  assert end.code == 0
print("heavy:", *({"jax", "tensorflow", "av", "flax"} & set(sys.modules)))
"""
PROGRAMS = [
  "train",
  "evaluate",
  "prepare",
  "plan",
  "embed",
  "convert",
  "benchmark",
  "doctor",
  "inspect",
  "prompt",
  "report",
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_answered_at_once(program):
  """Within a second of processor time, which a busy machine does not change."""
  command = [sys.executable, "-c", LOOK, f"vatt_jax.{program}"]
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  assert done.stdout.splitlines()[-1].strip() == "heavy:", done.stderr
  assert f"python -m vatt_jax.{program}" in done.stdout and "flags:" in done.stdout
  assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_every_program_is_tested():
  programs = {path.stem for path in (ROOT / "vatt_jax").glob("*.py") if "errors.run(" in path.read_text()}
  assert programs - {"errors"} == set(PROGRAMS)


@pytest.mark.parametrize("program", ["train", "convert"])
def test_wrong_flags_are_told_at_once(program):
  command = [sys.executable, "-m", f"vatt_jax.{program}", "--nonsense"]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
  assert done.returncode == 2
  assert (
    done.stderr.startswith("error: Unknown command line flag 'nonsense'") and "--help lists the flags" in done.stderr
  )
