"""Every command of the README is one that its program takes: the flags, the config and its fields are looked up.

This takes seconds and sees the commands as they are, at full size; `test_readme_runs.py` runs them, one after another, at
tiny size. That the programs do what they say is for their own tests.
"""

import importlib
import pathlib
import re
import shlex
import subprocess
import sys

from absl import flags
import pytest

ROOT = pathlib.Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, flags=re.S)
COMMANDS = [shlex.split(line, comments=True) for block in BLOCKS for line in block.splitlines() if line.strip()]
PYTHON = [command for command in COMMANDS if command[:2] == ["python", "-m"]]
SCRIPTS = [command for command in COMMANDS if command[0] == "bash"]
WITHOUT_DRY_RUN = {"launch/quickstart.sh", "launch/test.sh"}


def test_there_is_no_other_kind_of_command():
  assert PYTHON and SCRIPTS and len(PYTHON) + len(SCRIPTS) == len(COMMANDS)


@pytest.mark.parametrize("command", PYTHON, ids=" ".join)
def test_a_program_takes_these_flags(command, monkeypatch):
  monkeypatch.chdir(ROOT)
  _, _, module, *arguments = command
  if module == "vatt_jax.prepare":  # Its flags are those of the process.
    look = f"import sys, {module}; from absl import flags; flags.FLAGS(sys.argv)"
    subprocess.run([sys.executable, "-c", look, *arguments], cwd=ROOT, check=True)
    return
  monkeypatch.setattr(sys, "argv", [module, *arguments])  # Where fields of a config are looked for.
  values = flags.FlagValues()
  importlib.import_module(module).define_flags(values)
  values(sys.argv)
  if "config" in values and values.config is not None:
    assert len(values.config)


@pytest.mark.parametrize("command", SCRIPTS, ids=" ".join)
def test_a_script_is_there_and_says_what_it_would_do(command):
  assert (ROOT / command[1]).is_file()
  if command[1] not in WITHOUT_DRY_RUN:
    script, *arguments = command[1:]
    done = subprocess.run(["bash", script, "--dry_run", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout, done.stderr
