"""Every program explains itself at once: nothing heavy is imported before its flags are read."""

import os
import pathlib
import resource
import signal
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


# A program that prints so many words and then leaves a file.
PRINTS = """
import pathlib, sys
from vatt_jax import errors
def main(argv):
  print("line " * int(argv[1]))
  pathlib.Path(argv[2]).touch()
errors.run(main)
"""


@pytest.mark.parametrize(
  "arguments, code",
  [
    (["-m", "vatt_jax.train", "--help"], None),  # One or the other, as its text is long.
    (["-c", PRINTS, "10"], 0),  # What is held back until the end cuts nothing short.
    (["-c", PRINTS, "100000"], 141),
    (["-u", "-c", PRINTS, "10"], 141),
  ],
)
def test_a_reader_that_goes_is_no_error(arguments, code, tmp_path):
  """`| head`: nothing is told; what was done all the same is done, what was cut short says so by its code."""
  reader, writer = os.pipe()
  os.close(reader)
  left = tmp_path / "left"
  command = [sys.executable, *arguments, *([str(left)] if code is not None else [])]
  environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
  done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
  os.close(writer)
  assert done.stderr == "" and done.returncode in ((0, 141) if code is None else (code,))
  assert left.exists() == (code == 0)


# A program that is stopped while something lasts; with an argument it has something to put away first.
LASTS = """
import contextlib, sys, time
from vatt_jax import errors
def main(argv):
  with errors.cleaning_up() if argv[1:] else contextlib.nullcontext():
    try:
      print("begun", flush=True)
      time.sleep(60)
    finally:
      print("put away" if argv[1:] else "an exception")
errors.run(main)
"""


@pytest.mark.parametrize("argument, left", [((), ""), (("x",), "put away\n")])
def test_ctrl_c_is_no_crash(argument, left):
  command = [sys.executable, "-c", LASTS, *argument]
  with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    said, told = process.communicate(timeout=30)
  assert (said, told, process.returncode) == (left, "\nstopped by Ctrl-C.\n", 130)


def test_ctrl_c_in_the_background_is_ignored_as_ever():
  """A shell starts what runs behind `&` so."""
  ask = "import signal; from vatt_jax import errors; errors.run(lambda _: print(signal.getsignal(signal.SIGINT).name))"
  ignored = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
  done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, cwd=ROOT, preexec_fn=ignored)
  assert done.stdout == "SIG_IGN\n"


def test_what_is_closed_stays_out_of_files(tmp_path):
  """Files take the numbers of streams that are closed; a library that prints, or a progress bar, must not meet them."""
  program = f"""
import os, tqdm
from vatt_jax import errors
def main(argv):
  file = open({str(tmp_path / "file")!r}, "w")
  for number in tqdm.tqdm([1, 2]):
    os.write(number, b"x")
errors.run(main)
"""
  done = subprocess.run(["bash", "-c", '"$0" "$@" <&- >&- 2>&-', sys.executable, "-c", program], cwd=ROOT)
  assert done.returncode == 0 and (tmp_path / "file").read_text() == ""


def test_a_full_disk_is_told():
  """Wherever a program writes."""
  write = "from vatt_jax import errors; errors.run(lambda _: open('/dev/full', 'w', buffering=1).write('line\\n'))"
  done = subprocess.run([sys.executable, "-c", write], capture_output=True, text=True, cwd=ROOT)
  assert done.returncode == 2 and "cannot be written: No space left on device. Make room there" in done.stderr
  assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_misspelt_field_is_told_in_one_plain_line():
  command = [sys.executable, "-m", "vatt_jax.train", "--config=configs/pretrain/vatt_demo.py", "--config.batch_sise=3"]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
  assert done.returncode == 2 and done.stderr.count("\n") == 1
  assert done.stderr.endswith("""does not have: batch_sise. Did you mean "batch_size" instead of "batch_sise"?\n""")


def test_output_that_is_closed_hides_no_error():
  command = f"{sys.executable} -m vatt_jax.train --nonsense >&-"
  done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
  assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
