"""launch/until_done.sh with programs that end in every way."""

import os
import pathlib
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent

# Ends with the next of the codes in WORKDIR/codes; after the last of them it is complete.
PROGRAM = """
workdir="${1#--workdir=}"
echo run >> "$workdir/runs"
code=$(head -n 1 "$workdir/codes")
sed -i 1d "$workdir/codes"
if [ ! -s "$workdir/codes" ] && [ "$code" = 0 ]; then touch "$workdir/results.json"; fi
exit "$code"
"""

# Saves when it is told to stop, which takes a moment.
PATIENT = """
workdir="${1#--workdir=}"
trap 'sleep 0.2; echo saved >> "$workdir/saved"; exit 0' TERM
echo run >> "$workdir/runs"
while [ ! -e "$workdir/asked_to_stop" ]; do sleep 0.05; done
"""


def until_done(workdir, program, *settings):
  script = workdir / "program.sh"
  script.write_text(program)
  command = ["bash", "launch/until_done.sh", "--wait_seconds=0", *settings, "--", "bash", str(script)]
  # A shell can't hear a signal that was ignored when it started, as SIGINT is in whatever runs in the background.
  heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
  return subprocess.Popen(
    [*command, f"--workdir={workdir}"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    preexec_fn=heard,
  )  # fmt: skip


def ended(workdir, codes, *settings):
  """(exit code, how often the program ran, what was said)."""
  (workdir / "codes").write_text("".join(f"{code}\n" for code in codes))
  process = until_done(workdir, PROGRAM, *settings)
  said, _ = process.communicate(timeout=30)
  return process.returncode, len((workdir / "runs").read_text().splitlines()), said


def test_it_runs_until_results_exist(tmp_path):
  code, runs, _ = ended(tmp_path, [0, 0, 0])
  assert (code, runs) == (0, 3)


def test_a_complete_run_is_run_once(tmp_path):
  assert ended(tmp_path, [0])[:2] == (0, 1)


def test_the_users_error_ends_it_at_once(tmp_path):
  assert ended(tmp_path, [0, 2, 0])[:2] == (2, 2)


@pytest.mark.parametrize("crash", [1, 137])
def test_crashes_in_a_row_are_bounded(tmp_path, crash):
  code, runs, said = ended(tmp_path, [crash] * 9, "--retries=2")
  assert (code, runs) == (1, 3)
  assert f"exit code {crash}; gives up after 3 crash(es) in a row" in said


def test_crashes_that_are_not_in_a_row_are_forgiven(tmp_path):
  assert ended(tmp_path, [1, 0, 1, 0, 1, 0], "--retries=1")[:2] == (0, 6)


def test_a_long_run_starts_the_count_anew(tmp_path):
  assert ended(tmp_path, [1, 1, 0], "--retries=1", "--healthy_seconds=-1")[:2] == (0, 3)


def test_the_wait_doubles(tmp_path):
  began = time.monotonic()
  code, _, said = ended(tmp_path, [1, 1, 0], "--wait_seconds=1")
  assert code == 0 and time.monotonic() - began >= 3
  assert "goes on in 1 s" in said and "goes on in 2 s" in said


def test_without_a_workdir_it_runs_once():
  for code in (0, 2):
    command = ["bash", "launch/until_done.sh", "--", "bash", "-c", f"exit {code}"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == code


def wait_for(path):
  until = time.monotonic() + 20
  while not path.exists():
    assert time.monotonic() < until
    time.sleep(0.02)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signals_reach_the_program_which_saves(tmp_path, name):
  process = until_done(tmp_path, PATIENT)
  wait_for(tmp_path / "runs")
  number = getattr(signal, name)
  process.send_signal(number)
  said, _ = process.communicate(timeout=20)
  assert (tmp_path / "saved").exists() and len((tmp_path / "runs").read_text().splitlines()) == 1
  assert process.returncode == 128 + number and f"stopped by {name}" in said


def test_sigusr1_asks_to_stop_and_queues_again(tmp_path):
  """As on SLURM, where time is nearly up and the program is told by a command."""
  stop, queued = tmp_path / "asked_to_stop", tmp_path / "queued"
  process = until_done(tmp_path, PATIENT, f"--stop_with=touch {stop}", f"--requeue=touch {queued}")
  wait_for(tmp_path / "runs")
  process.send_signal(signal.SIGUSR1)
  process.communicate(timeout=20)
  assert process.returncode == 128 + signal.SIGUSR1
  assert queued.exists() and not (tmp_path / "saved").exists()


def test_a_signal_ends_the_wait_after_a_crash(tmp_path):
  (tmp_path / "codes").write_text("1\n1\n")
  process = until_done(tmp_path, PROGRAM, "--wait_seconds=100")
  wait_for(tmp_path / "runs")
  time.sleep(0.2)
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=20)
  assert process.returncode == 143 and len((tmp_path / "runs").read_text().splitlines()) == 1


def test_results_on_object_storage_are_asked_for_by_etils(tmp_path):
  """With a python on the PATH that stands for etils: it says no once, then yes."""
  fake = tmp_path / "python"
  fake.write_text(f'#!/bin/bash\necho "${{@: -1}}" >> {tmp_path}/asked\n[ $(wc -l < {tmp_path}/asked) -ge 3 ]\n')
  fake.chmod(0o755)
  command = ["bash", "launch/until_done.sh", "--wait_seconds=0", "--", "true", "--workdir=gs://bucket/run"]
  environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
  assert subprocess.run(command, cwd=ROOT, env=environment, check=False, timeout=20).returncode == 0
  assert (tmp_path / "asked").read_text().split() == ["gs://bucket/run/results.json"] * 3
