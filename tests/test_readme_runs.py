"""Every command and every Python block of the README is run, one after another in one directory, and leaves what it says.

The text of the README is what runs. What stands in for data sets, published weights and hours of computing is in the
tables below. Scripts (`bash launch/...`) run whole, in an environment whose `python` has the same stand-ins; all have a dry run
in `test_readme.py`.
"""

import csv
import importlib.util
import itertools
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

from PIL import Image
import pytest
from safetensors.numpy import save_file

from examples import tutorial
from tests import test_readme
from tests.conversion import alpro_files, official
from tests.preparation import make_media
from vatt_jax.preparation import miniature

pytestmark = pytest.mark.slow

ROOT = test_readme.ROOT
TIMEOUT_SECONDS = 300  # A command without a stand-in might train for days.
VIT, BERT = ("x".join(map(str, size)) for size in (alpro_files.VIDEO_SIZE, alpro_files.TEXT_SIZE))
SIZES = (  # of the files of `alpro_files`, which ALPRO's runs start from, instead of those of `smoke`
  f"--config.model.video_size={VIT} --config.model.text_size={BERT} --config.model.fusion_layers={alpro_files.FUSION} "
  f"--config.model.embedding_width={alpro_files.EMBEDDING} --config.model.max_length={alpro_files.LENGTHS} "
  f"--config.data.video.size={alpro_files.SIDE * alpro_files.PATCH} "
  f"'--config.data.video.patch=(1, {alpro_files.PATCH}, {alpro_files.PATCH})'"
)
SUBSTITUTIONS = (  # regex in a command of the README, what stands there instead
  (r"(--config=\S+\.py):(\S+)", r"\1:\2,smoke"),
  (r"(--config=\S+\.py)(?=\s|$)", r"\1:smoke"),
  (r"--source=demo:(\w+)", r"--source=\1.csv"),
  (r"(--from=(alpro_torch|vit|bert)\b)", rf"\1 --num_heads={alpro_files.HEADS}"),
  (r"(configs/finetune/msrvtt\S+)", rf"\1 {SIZES}"),
  # `smoke` starts from nothing.
  (r"(configs/pretrain/prompter\S+)", rf"\1 {SIZES} --config.init_from=weights/vit,weights/bert"),
  (r"(configs/pretrain/alpro\S+)", rf"\1 {SIZES} --config.init_from=weights/vit,weights/bert,weights/prompter"),
  (r"(benchmark step)", r"\1 --repetitions=1"),
  (r"(--topology=)", r"--config.batch_size=128 \1"),
)
DEMO = "python -m vatt_jax.train --config=configs/pretrain/vatt_demo.py --config.data.directory=data/demo"
BEFORE = (  # what the README's commands take for granted: the quickstart's run, runs to compare, a model of questions
  f"{DEMO} --workdir=runs/demo",
  f"{DEMO} --config.model.agnostic=False --workdir=runs/ms",
  f"{DEMO} --config.data.video.drop_rate=0.0 --workdir=runs/drop0",
  f"{DEMO} --config.data.video.drop_rate=0.75 --workdir=runs/drop75",
  "python -m vatt_jax.convert --from=alpro_torch --checkpoint=alpro_qa.pt --vocabulary=vocab.txt --frames=8 "
  "--output=weights/alpro_qa",
)
SAME = {  # what is the same as something else
  "data/webvid": "demo", "data/msrvtt": "demo", "data/k400": "demo", "data/demo_clips": "demo",
  "runs/ma": "demo", "runs/drop50": "demo", "weights/demo_prompter": "prompter",
}  # fmt: skip
LEAVES = {  # program: flag: what it leaves in the place that the flag names
  "prepare": {"output": "preparation.json"},
  "train": {"workdir": "results.json"},
  "evaluate": {"workdir": "report.html", "checkpoint": "report.html"},
  "report": {"output": ""},
  "embed": {"output": "", "gallery": "", "json": ""},
  "convert": {"output": "manifest.json"},
  "prompt": {"output": ""},
  "inspect": {"page": ""},
  "plan": {"json": ""},
  "benchmark": {},
  "doctor": {},
}
SCRIPTS = {  # command of the README: what it runs with besides, what it leaves
  "bash launch/quickstart.sh": ("", "runs/demo/report.html"),
  "bash launch/quickstart.sh --source=FOLDER": ("", "runs/FOLDER/report.html"),
  "bash launch/alpro_demo.sh": ("", "runs/demo_retrieval/results.json"),
  "bash launch/alpro_ablation.sh": ("--seeds=0 --rows='none all'", "runs/ablation/all-0/tuned/results.json"),
  "bash launch/gpu_host.sh --workdir=runs/mine -- --config=configs/pretrain/vatt.py:bbs "
  "--config.data.directory=data/mine": ("", "runs/mine/results.json"),
}
# Continuous integration runs the first; the second needs a GPU (`tests/launch/`), the third is dry as it stands.
NOT_HERE = ("bash launch/test.sh", "bash launch/gpu_host.sh --check", "bash launch/slurm.sh")
# The `python` of the scripts' environment: installs nothing, finds the demo sets in place, and reads configs as they are for tests.
STAND_IN = """#!{python}
import json, os, re, shlex, sys
command = sys.argv[1:]
if command[:2] == ["-m", "pip"]:
  sys.exit()
if command[:2] == ["-m", "vatt_jax.prepare"] and any(part.startswith("--source=demo") for part in command):
  output = next(part.partition("=")[2] for part in command if part.startswith("--output="))
  command = ["-c", f"from vatt_jax.preparation import miniature; miniature.prepare({{output!r}})"]
else:
  for old, new in {substitutions!r}:
    command = [re.sub(old, new, part) for part in command]
os.execv({python!r}, [{python!r}, *command])
"""
# Text in a Python block: frames and pixels of the clips that the model there takes.
CLIPS = {"weights/alpro": (8, alpro_files.SIDE * alpro_files.PATCH), "": (4, 32)}

BLOCKS = re.findall(r"```python\n(.*?)```|(python -m vatt_jax\.[^`\n]*)", test_readme.TEXT, flags=re.S)
STEPS = [*BEFORE, *(block or command for block, command in BLOCKS)]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> pathlib.Path:
  """The directory in which the commands run, with the stand-ins."""
  place = tmp_path_factory.mktemp("readme")
  for name in ("configs", "launch"):
    (place / name).symlink_to(ROOT / name)
  miniature.prepare(str(place / "data/demo"))
  for name, same in SAME.items():
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).symlink_to(same)
  media(place)
  weights(place)
  return place


def media(place):
  """FOLDER, labelled pictures and sounds, and what `embed` is given."""
  for split, count in (("train", 12), ("validation", 8), ("test", 8)):
    for i, colour in zip(range(count), itertools.cycle(tutorial.COLOURS)):
      tutorial.make_video(place / "FOLDER" / split, colour, i)
  for name, column, ending in (("clothes", "video", ".gif"), ("letters", "audio", ".wav")):
    with (place / f"{name}.csv").open("w") as file:
      rows = csv.writer(file)
      rows.writerow([column, "label", "split"])
      for path in sorted(place.glob(f"FOLDER/*/*{ending}")):
        rows.writerow([path, path.name.split("_")[0], path.parent.name])
  make_media.write(place / "talk.mp4")
  make_media.write(place / "bark.wav", video=None, audio="pcm_s16le")
  Image.new("RGB", (64, 48), "red").save(place / "cat.jpg")
  (place / "sentences.txt").write_text("a red square\na blue square\n")


def weights(place):
  """Tiny files in the official formats."""
  (place / "tx_fac_mbs").mkdir()
  geometry = official.TINY._replace(patch=(2, 16, 16), tables=(2, 2, 2))
  values = official.random_values(official.modality_specific(geometry=geometry))
  written = pathlib.Path(official.write_checkpoint(place / "tx_fac_mbs", values))
  for path in written.parent.glob(f"{written.name}.*"):
    path.rename(path.with_stem("ckpt-500000"))
  (place / "words.txt").write_text("\n".join(["<pad>", "<bos>", "<eos>", "<unk>", *map(str, range(9))]))
  for kind, name in (("pretraining", "alpro_pretrained_ckpt.pt"), ("qa", "alpro_qa.pt")):
    alpro_files.write(place / name, alpro_files.random_values(alpro_files.alpro(kind)))
  alpro_files.write_vocabulary(place / "vocab.txt")
  save_file(alpro_files.random_values(alpro_files.vit()), place / "vit_base_patch16_224.safetensors")
  alpro_files.write_bert(place / "bert-base-uncased")


def run(place, *command, program=sys.executable, **environment):
  environment = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    **environment,
  }
  done = subprocess.run(
    [program, *command], cwd=place, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
  )
  assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.replace("\n", " "))
def test_it_runs(step, place):
  if not step.startswith("python -m "):
    frames, side = next(clip for name, clip in CLIPS.items() if name in step)
    given = f"import numpy\nframes = numpy.zeros((1, {frames}, {side}, {side}, 3), numpy.uint8)\n"
    run(place, "-c", f"{given}waveform = numpy.zeros((1, 4_800), numpy.float32)\n{step}")
    return
  for old, new in SUBSTITUTIONS:
    step = re.sub(old, new, step)
  command = shlex.split(step, comments=True)
  program = command[2].removeprefix("vatt_jax.")
  assert program in LEAVES, f"how is vatt_jax.{program} tested? The tables of this file have to say it."
  if program == "plan" and not importlib.util.find_spec("libtpu"):
    pytest.skip("the compiler for TPUs, jax[tpu], is not installed")
  began = time.time()
  run(place, *command[1:])
  given = dict(argument[2:].split("=", 1) for argument in command if argument.startswith("--") and "=" in argument)
  for flag, name in LEAVES[program].items():
    if flag in given:
      assert (place / given[flag] / name).stat().st_mtime >= began - 1, f"--{flag} is as it was"


@pytest.fixture(scope="module")
def scripts_place(tmp_path_factory) -> pathlib.Path:
  """A directory of their own, for they write where other commands do, and the environment `venv`."""
  place = tmp_path_factory.mktemp("scripts")
  for name in ("configs", "launch", "requirements.txt"):
    (place / name).symlink_to(ROOT / name)
  for i, colour in zip(range(12), itertools.cycle(tutorial.COLOURS)):
    tutorial.make_video(place / "FOLDER" / ("train", "validation", "test")[i // 4], colour, i)
  miniature.prepare(str(place / "data/mine"))
  python = place / "venv/bin/python"
  python.parent.mkdir(parents=True)
  python.write_text(STAND_IN.format(python=sys.executable, substitutions=SUBSTITUTIONS[:2]))
  python.chmod(0o755)
  return place


@pytest.mark.parametrize("command", SCRIPTS)
def test_scripts_run_whole(command, scripts_place):
  besides, left = SCRIPTS[command]
  program, *arguments = shlex.split(f"{command} {besides}")
  run(scripts_place, *arguments, program=program, VATT_JAX_VENV=str(scripts_place / "venv"))
  assert (scripts_place / left).exists()


def test_every_script_of_the_readme_is_among_them():
  commands = [
    " ".join(shlex.split(line, comments=True)) for line in re.findall(r"^bash launch/.*", test_readme.TEXT, re.M)
  ]
  assert {each for each in commands if not each.startswith(NOT_HERE)} == set(SCRIPTS)
