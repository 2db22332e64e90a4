"""The launchers explain themselves, say exactly what they would do, and do it with stand-ins for gcloud, sbatch and python."""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

ROOT = pathlib.Path(__file__).parent.parent.parent
SCRIPTS = sorted([*ROOT.glob("launch/*.sh"), ROOT / ".ci/run"])
PROGRAM = [
  "--config=configs/pretrain/vatt.py:mbs,smoke",
  "--config.mesh=(1, -1, 1)",
  "--config.data.directory=it's here",
]
# What each launcher needs, and words of the commands that it then would run, in this order.
LAUNCHERS = {
  "until_done.sh": (["--retries=3"], ["results.json"]),
  "gpu_host.sh": (
    ["--workdir=runs/a"],
    ["source launch/environment.sh launch/requirements-cuda.txt", "exec bash launch/until_done.sh --", "vatt_jax.train"],
  ),
  "evaluation.sh": (
    ["--workdir=runs/a"],
    ["export JAX_PLATFORMS=cpu", "source launch/environment.sh", "vatt_jax.evaluate --workdir=runs/a --follow"],
  ),
  "slurm.sh": (
    ["--workdir=/shared/a", "--nodes=2", "--gpus_per_node=4", "--partition=p", "--options=--mem=0 --exclusive"],
    [
      "--nodes=2 --ntasks-per-node=4 --gpus-per-node=4", "--requeue", "--signal=B:USR1@120", "--partition=p",
      "--mem=0 --exclusive", "'--stop_with=scancel --signal=TERM JOB'", "srun", "vatt_jax.train --workdir=/shared/a",
    ],
  ),
  "tpu_vm.sh": (
    ["--name=a", "--zone=z", "--workdir=gs://b/r"],
    ["scp", "--worker=all", "docker build", "requirements-tpu.txt", "--worker=all", "docker run", "--stop-timeout=300",
     "vatt_jax.train", "--worker=0", "logs --follow", "--worker=all", "docker wait"],
  ),
  "tpu_queue.sh": (
    ["--name=a", "--zone=z", "--workdir=gs://b/r", "--accelerator=v5p-32", "--spot"],
    ["gs://b/r/results.json", "create a", "--accelerator-type=v5p-32 --runtime-version=v2-alpha-tpuv5 --spot",
     "vatt_jax.train --workdir=gs://b/r", "delete a --zone=z --force"],
  ),
  "gke_jobset.sh": (["--name=a", "--image=i", "--workdir=gs://b/r"], ["kubectl apply", "kind: JobSet"]),
}  # fmt: skip


def launch(script, *arguments, **environment):
  command = ["bash", f"launch/{script}", *arguments]
  return subprocess.run(
    command, cwd=ROOT, env={**os.environ, **environment}, check=False, capture_output=True, text=True, timeout=60
  )


def test_every_launcher_is_tested_here():
  launchers = {path.name for path in SCRIPTS if re.search(r"^source .*/common\.sh", path.read_text(), re.MULTILINE)}
  assert launchers - {"plan_table.sh"} == set(LAUNCHERS)  # It starts no training; tests/test_plan.py has it.


def test_shell_is_clean():
  shellcheck = shutil.which("shellcheck", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
  assert shellcheck, "shellcheck is in tests/requirements.txt"
  subprocess.run([shellcheck, *map(str, SCRIPTS)], cwd=ROOT, check=True)
  for path in SCRIPTS:
    subprocess.run(["bash", "-n", str(path)], check=True)


@pytest.mark.parametrize("script", LAUNCHERS)
def test_help_names_every_setting_and_how_to_call_it(script):
  found = launch(script, "--help")
  assert found.returncode == 0 and f"bash launch/{script}" in found.stdout
  source = (ROOT / "launch" / script).read_text()
  for name in [*re.findall(r"^([a-z_]+)=[^ ]*  # ", source, re.MULTILINE), "dry_run"]:
    assert re.search(rf"^  --{name} +\S", found.stdout, re.MULTILINE), name


@pytest.mark.parametrize("script", LAUNCHERS)
def test_dry_run_says_what_it_would_do(script):
  settings, words = LAUNCHERS[script]
  program = ["python", "-m", "vatt_jax.train", "--workdir=runs/a", *PROGRAM] if script == "until_done.sh" else PROGRAM
  found = launch(script, *settings, "--dry_run", "--", *program)
  assert found.returncode == 0, found.stderr
  place = 0
  for word in words:
    assert word in found.stdout[place:], word
    place = found.stdout.index(word, place)
  assert arguments_of_the_program(found.stdout) == PROGRAM


def arguments_of_the_program(text):
  """Unpacks what was printed as often as shells would, down to `python -m vatt_jax.train --workdir=... ARGUMENTS`."""
  if "kind: JobSet" in text:
    slices = yaml.safe_load(text)["spec"]["replicatedJobs"][0]["template"]["spec"]
    return slices["template"]["spec"]["containers"][0]["args"][4:]
  is_program = re.compile(r"vatt_jax\.(train|evaluate)\b").search
  line = next(filter(is_program, text.splitlines()))
  while "-m" not in shlex.split(line):
    line = next(filter(is_program, shlex.split(line))).rstrip("; }")
  words = shlex.split(line)
  return [word for word in words[words.index("-m") + 3 :] if word != "--follow"]


@pytest.mark.parametrize("script", [name for name in LAUNCHERS if name != "until_done.sh"])
def test_settings_come_from_the_environment_too(script):
  flags = {flag[2:].partition("=")[0]: flag.partition("=")[2] or "1" for flag in LAUNCHERS[script][0]}
  given = launch(script, "--dry_run", "--", *PROGRAM, **{f"VATT_JAX_{k.upper()}": v for k, v in flags.items()})
  assert given.stdout == launch(script, *LAUNCHERS[script][0], "--dry_run", "--", *PROGRAM).stdout


@pytest.mark.parametrize("script", LAUNCHERS)
def test_mistakes_are_explained(script):
  for arguments, sentence in ((["--wrokdir=a"], "unknown option --wrokdir=a"), ([], "missing|nothing to run")):
    found = launch(script, *arguments)
    assert found.returncode == 2 and re.search(sentence, found.stderr), found.stderr


def stand_in(folder, name, text):
  path = folder / name
  path.write_text(f"#!/bin/bash\n{text}")
  path.chmod(0o755)


@pytest.fixture
def machine(tmp_path):
  """A folder of programs that comes first on the PATH, with an environment whose python notes what it is asked to run.

  Asked to run vatt_jax, python ends with what it is told to and leaves results.json at last.
  """
  bin_ = tmp_path / "venv" / "bin"
  bin_.mkdir(parents=True)
  program = """
case "$*" in *vatt_jax.*) ;; *) exit 0 ;; esac
echo "$@" >> "$HERE/ran"
for argument in "$@"; do case "$argument" in --workdir=*) workdir="${argument#*=}" ;; esac; done
if [ $(wc -l < "$HERE/ran") -ge 2 ]; then mkdir -p "$workdir" && touch "$workdir/results.json"; fi
"""
  stand_in(bin_, "python", program)
  return {
    "HERE": str(tmp_path), "VATT_JAX_VENV": str(tmp_path / "venv"), "PATH": f"{bin_}:{os.environ['PATH']}",
    "VATT_JAX_WAIT_SECONDS": "0", "VATT_JAX_POLL_SECONDS": "0",
  }  # fmt: skip


def test_gpu_host_trains_until_results_exist(machine, tmp_path):
  found = launch("gpu_host.sh", f"--workdir={tmp_path}/run", "--", "--config=a b", **machine)
  assert found.returncode == 0, found.stderr
  assert (tmp_path / "ran").read_text().splitlines() == [f"-m vatt_jax.train --workdir={tmp_path}/run --config=a b"] * 2


def test_gpu_host_checks(machine, tmp_path):
  assert launch("gpu_host.sh", "--check", "--dry_run", "--", "--batch_size=4", **machine).stdout.endswith(
    "exec python -m launch.gpu_check --batch_size=4\n"
  )


def test_evaluation_follows(machine, tmp_path):
  assert launch("evaluation.sh", f"--workdir={tmp_path}/run", **machine).returncode == 0
  assert set((tmp_path / "ran").read_text().splitlines()) == {f"-m vatt_jax.evaluate --workdir={tmp_path}/run --follow"}


def test_slurm_submits_what_then_runs(machine, tmp_path):
  """sbatch runs the job at once, srun its tasks."""
  stand_in(tmp_path / "venv" / "bin", "sbatch", 'for last in "$@"; do :; done; SLURM_JOB_ID=7 sh -c "${last#--wrap=}"')
  stand_in(tmp_path / "venv" / "bin", "srun", 'while [ "$1" != python ]; do shift; done; exec "$@"')
  found = launch(
    "slurm.sh", f"--workdir={tmp_path}/run", f"--logs={tmp_path}/logs", "--", *PROGRAM, **machine
  )  # fmt: skip
  assert found.returncode == 0, found.stderr
  expected = f"-m vatt_jax.train --workdir={tmp_path}/run {' '.join(PROGRAM)}"
  assert (tmp_path / "ran").read_text().splitlines() == [expected] * 2


def test_slurm_saves_and_queues_again_when_time_is_up(machine, tmp_path):
  bin_ = tmp_path / "venv" / "bin"
  stand_in(bin_, "srun", 'echo $$ > "$HERE/srun"; while [ ! -e "$HERE/scancel" ]; do sleep 0.05; done')
  for name in ("scancel", "scontrol"):
    stand_in(bin_, name, f'echo "$@" > "$HERE/{name}"')
  process = subprocess.Popen(
    ["bash", "launch/slurm.sh", f"--workdir={tmp_path}/run"],
    cwd=ROOT,
    env={**os.environ, **machine, "SLURM_JOB_ID": "7"},
  )
  until = time.monotonic() + 30
  while not (tmp_path / "srun").exists():
    assert time.monotonic() < until
    time.sleep(0.02)
  process.send_signal(signal.SIGUSR1)
  assert process.wait(timeout=30) == 128 + signal.SIGUSR1
  assert (tmp_path / "scancel").read_text() == "--signal=TERM 7\n"
  assert (tmp_path / "scontrol").read_text() == "requeue 7\n"


# Notes what it is asked; the queued resource's states and the containers' exit codes are read off files, a line each time.
# The codes of all workers stand on one line; " " stands for two without a container, an empty line for no answer.
GCLOUD = """
echo "$*" >> "$HERE/asked"
take() { head -n 1 "$HERE/$1"; sed -i 1d "$HERE/$1"; }
case "$*" in
  *queued-resources\\ describe*) state=$(take states); [ "$state" != NONE ] && echo "$state" ;;
  *tpu-vm\\ describe*) take machines ;;
  *docker\\ wait*)
    codes=$(take codes)
    if [ "$codes" = " " ]; then printf 'exit=\\nexit=\\n'; fi
    for code in $codes; do echo "exit=$code"; done
    ;;
  storage*) [ -e "$HERE/complete" ] || { [ -e "$HERE/complete_at_last" ] && grep -q "docker wait" "$HERE/asked"; } ;;
esac
"""


def on_tpu(script, machine, tmp_path, *arguments, **answers):
  """Runs a launcher against a gcloud that gives these answers; returns it and the verbs that gcloud heard."""
  stand_in(tmp_path / "venv" / "bin", "gcloud", GCLOUD)
  for name, lines in answers.items():
    (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
  settings = ["--name=a", "--zone=z", "--image=i", "--workdir=gs://b/r", f"--logs={tmp_path}/logs", *arguments]
  found = launch(script, *settings, "--", "--config=c", **machine)
  asked = (tmp_path / "asked").read_text()
  verbs = r"queued-resources (create|delete)|docker (pull|run|logs|wait|rename)"
  return found, [match[1] or match[2] for match in re.finditer(verbs, asked)]


@pytest.mark.parametrize(
  "code, codes",
  [(0, "0 0"), (2, "143 2 1"), (1, "0 1 143"), (143, " ")],
  ids=["done", "user's error", "crashes", "stopped on purpose"],
)
def test_tpu_vm_ends_as_its_containers_do(machine, tmp_path, code, codes):
  found, verbs = on_tpu("tpu_vm.sh", machine, tmp_path, codes=[codes])
  assert found.returncode == code, found.stderr
  assert verbs == ["pull", "run", "logs", "wait"]


def test_tpu_vm_starts_again_what_fell_with_its_machine(machine, tmp_path):
  found, verbs = on_tpu("tpu_vm.sh", machine, tmp_path, codes=["143 143", "", "0"], machines=["READY"] * 2)
  assert found.returncode == 0, found.stderr
  assert verbs.count("run") == 3


def test_tpu_vm_says_when_the_tpu_is_gone(machine, tmp_path):
  found, _ = on_tpu("tpu_vm.sh", machine, tmp_path, codes=["0 137"], machines=["PREEMPTED"])
  assert found.returncode == 75 and "a is PREEMPTED" in found.stderr


def test_tpu_vm_stops(machine, tmp_path):
  found, verbs = on_tpu("tpu_vm.sh", machine, tmp_path, "--stop")
  assert found.returncode == 0 and verbs == ["rename"]


def test_tpu_queue_gets_another_when_one_is_preempted(machine, tmp_path):
  states = ["NONE", "WAITING_FOR_RESOURCES", "ACTIVE", "SUSPENDED", "NONE", "ACTIVE", "ACTIVE"]
  found, verbs = on_tpu("tpu_queue.sh", machine, tmp_path, states=states, codes=["143", "0"], machines=["PREEMPTED"])
  assert found.returncode == 0, found.stderr
  assert [verb for verb in verbs if verb in ("create", "run", "delete")] == [
    "create", "run", "delete", "create", "run", "delete",
  ]  # fmt: skip


def test_tpu_queue_stops_at_the_users_error_and_says_what_is_left(machine, tmp_path):
  found, verbs = on_tpu("tpu_queue.sh", machine, tmp_path, states=["ACTIVE"], codes=["2"])
  assert found.returncode == 2 and "delete" not in verbs
  assert "the TPU stays" in found.stderr and "--delete" in found.stderr


def test_tpu_queue_believes_results_more_than_exit_codes(machine, tmp_path):
  """A worker that crashes after another has written results.json."""
  (tmp_path / "complete_at_last").touch()
  found, verbs = on_tpu("tpu_queue.sh", machine, tmp_path, states=["ACTIVE", "ACTIVE"], codes=["0 1"])
  assert found.returncode == 0 and verbs[-1] == "delete"


def test_tpu_queue_asks_for_nothing_when_all_is_done(machine, tmp_path):
  found, verbs = on_tpu("tpu_queue.sh", machine, tmp_path, complete=[], states=["NONE"])
  assert found.returncode == 0 and not verbs


def test_the_image_runs_until_done_as_process_1():
  lines = (ROOT / "launch/Dockerfile").read_text().replace("\\\n", " ").splitlines()
  lines = [line for line in lines if line and not line.startswith("#")]
  instructions = [line.split(" ", 1) for line in lines]
  assert instructions[0][0] == "FROM" and re.search(r":\d", instructions[0][1])
  assert ["ENTRYPOINT", '["bash", "launch/until_done.sh", "--"]'] in instructions  # a shell form would keep SIGTERM
  assert [name for name, _ in instructions].count("CMD") == 1
  for name, rest in instructions:
    if name == "COPY":
      assert all(source == "." or any(ROOT.glob(source)) for source in rest.split()[:-1]), rest
  assert "PIP_NO_CACHE_DIR=1" in "".join(lines)
  assert {".git", ".venv", "runs", "data"} <= set((ROOT / ".dockerignore").read_text().split())


@pytest.mark.parametrize("name", ["requirements-tpu.txt", "requirements-cuda.txt"])
def test_requirements_are_pinned_to_the_jax_that_is_tested(name):
  lines = [line.split("#")[0].strip() for line in (ROOT / "launch" / name).read_text().splitlines()]
  assert all("==" in line for line in lines if line)
  jax = [line.split("==")[1] for line in lines if line.startswith("jax")]
  assert f"jax=={jax[0]}" in (ROOT / "requirements.txt").read_text().splitlines() and len(set(jax)) == 1


def test_the_alpro_demo_hands_each_stage_to_the_next():
  done = launch("alpro_demo.sh", "--dry_run", "--data=d", "--runs=r", "--weights=w", "--prompts=noun")
  assert done.returncode == 0, done.stderr
  commands = [line.removeprefix("== python -m vatt_jax.") for line in done.stdout.splitlines() if "python -m" in line]
  assert [command.split()[0] for command in commands] == "prepare prepare train prompt prompt train train".split()
  configs = [re.search(r"--config=(\S+):demo", command)[1] for command in commands if command.startswith("train")]
  assert all((ROOT / config).exists() for config in configs)
  made = set()
  for command in commands:
    used = re.findall(r"(?<=\W)[drw]/\w+(?:\.txt)?", command)
    new = [place for place in used if f"--output={place}" in command or f"--workdir={place}" in command]
    assert set(used) - set(new) <= made
    made |= set(new)
  assert "--prompts=noun" in commands[4]
  assert launch("alpro_demo.sh", "--what").returncode == 2


def test_the_ablation_has_every_row_of_the_table_and_each_seed(tmp_path):
  done = launch("alpro_ablation.sh", "--dry_run", "--seeds=0 7", f"--runs={tmp_path}", "--weights=w")
  assert done.returncode == 0, done.stderr
  commands = [line for line in done.stdout.splitlines() if "python -m vatt_jax.train" in line]
  assert len(commands) == 2 * (1 + 4 * 2)  # "none" is fine-tuned only.
  assert sum("w/demo_prompter" in command for command in commands) == 2 * 2  # of rows with prompted entities
  for row, recalls in (("none", (0.1, 0.3)), ("all", (0.5,))):
    for seed, recall in enumerate(recalls):
      place = tmp_path / f"{row}-{seed}" / "tuned"
      place.mkdir(parents=True)
      figure = "eval/test/text_to_video/recall_at_1"
      (place / "results.json").write_text(json.dumps({figure: recall, figure.replace("recall", "chance_recall"): 0.01}))
  table = [sys.executable, "launch/ablation_table.py", str(tmp_path), "none all"]
  lines = subprocess.run(table, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
  assert lines[2].startswith("| none | 2 | 20.0 ± 14.1 |") and lines[3].startswith("| + VTC + PEM | 1 | 50.0 |")
  assert lines[4].startswith("| chance |  | 1.0 |")


def test_the_sweep_of_the_contrast_changes_what_its_rows_say():
  done = launch("contrast_sweep.sh", "--dry_run", "--steps=7", "--runs=r", "--data=d")
  assert done.returncode == 0, done.stderr
  first, *runs, page = [line for line in done.stdout.splitlines() if line.startswith("== python -m vatt_jax.")]
  assert "--source=demo:effects" in first and len(runs) == 13 and len(set(runs)) == 13
  assert sum("--config.objective.pairs.audio_text=0.0" in line for line in runs) == 3
  assert sum("--config.data.mixture=(('d/demo_effects', 1),)" in line for line in runs) == 2
  assert page.count("r/") == 14 and "r/temperature_0.02" in page


def test_the_drop_token_table_trains_every_row_and_compares_them():
  done = launch("drop_token_table.sh", "--dry_run", "--steps=7", "--runs=r")
  assert done.returncode == 0, done.stderr
  *runs, page = [line for line in done.stdout.splitlines() if line.startswith("== python -m vatt_jax.")]
  assert len(runs) == 6 and all("--config.total_steps=7" in line for line in runs)
  assert page.count("r/") == 7 and "--nolook" in page
