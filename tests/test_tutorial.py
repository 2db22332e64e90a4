"""The tutorial runs from its first line to its last."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path):
  command = [sys.executable, "examples/tutorial.py", f"--directory={tmp_path / 'tutorial'}", "--steps=2"]
  environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
  done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr[-2000:]
  assert "text → video" in done.stdout and "audio → video" in done.stdout
  assert "The classifier is right in" in done.stdout
  assert (tmp_path / "tutorial" / "blue.html").read_text().count("<img") == 4
