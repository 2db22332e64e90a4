"""Says whether this machine's GPU can be trusted with a training.

  bash launch/gpu_host.sh --check
  python -m launch.gpu_check                    # the same, in an environment that is there
  python -m launch.gpu_check --device=cpu       # compares the CPU with itself: does the check work?

Loss and gradients of --config on random inputs are compared with those of the CPU in float32. A small run is killed and
goes on to the weights of an undisturbed one. The training step is timed against the best matrix product that the device
does, and against its published peak.
Exit code 1 when anything is further off than it may be.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

# The programs that are started beside this one need memory of the GPU, too.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import flags
import jax
from ml_collections import config_flags
import numpy as np
import tensorflow as tf

from vatt_jax import benchmark, errors, jobs, objectives
from vatt_jax.data import pipeline
from vatt_jax.training import hardware, mesh as mesh_lib

VOCABULARY_SIZE = 1000
SMOKE = "configs/pretrain/vatt_demo.py:smoke"
# What may differ from the CPU in float32: the loss, and the norm of the gradients' difference, both relative. As trained
# means the default precision of matrix products (TF32 on NVIDIA).
LIMITS = {"float32": (1e-5, 1e-4), "float32 as trained": (1e-2, 5e-2), "bfloat16": (3e-2, 2e-1)}


def main(argv) -> None:
  if len(argv) > 1:
    raise errors.UserError(f"unexpected arguments {' '.join(argv[1:])}; flags begin with --.")
  values = flags.FLAGS
  try:
    device = jax.devices(values.device)[0]
  except RuntimeError as error:
    raise errors.UserError(f"JAX finds no {values.device}: {str(error).splitlines()[0]}.") from error
  tf.config.set_visible_devices([], "GPU")
  values.config.batch_size = values.batch_size
  print(f"{device.device_kind}, jax {jax.__version__}", flush=True)
  good = all([*compared(values.config, device), resumed(values.device), used(values)])
  print("all good" if good else "NOT GOOD: see the lines above", flush=True)
  if not good:
    sys.exit(1)


def compared(config, device) -> list[bool]:
  """Whether each way to compute on `device` agrees with float32 on the CPU."""
  drawn = draw(config)
  reference = {}  # by what else the config says
  ways = {"float32": {}, "float32 as trained": {}}
  if "dtype" in config.model:
    ways["bfloat16"] = {"dtype": "bfloat16"}
  if "attention" in config.model and device.platform == "gpu":
    # The kernel drops no attention weights, so neither may what it is compared with.
    ways["bfloat16, flash attention"] = {"dtype": "bfloat16", "attention": "cudnn", "attention_dropout": 0.0}
  else:
    say(None, "flash attention", "not tried: config.model.attention and a GPU are needed")
  found = []
  for name, changes in ways.items():
    changed = config.copy_and_resolve_references()
    changed.model.update(changes)
    plain = config.copy_and_resolve_references()
    plain.model.update({field: value for field, value in changes.items() if field == "attention_dropout"})
    if (key := str(plain.model)) not in reference:
      reference[key] = loss_and_gradients(plain, drawn, jax.devices("cpu")[0])
    precision = "highest" if name == "float32" else None
    with jax.default_matmul_precision(precision):
      off = differences(reference[key], loss_and_gradients(changed, drawn, device))
    limits = LIMITS[name.split(",")[0]]
    found.append(bool(np.all(np.less_equal(off, limits))))
    say(found[-1], name, "loss {:.1e}, gradients {:.1e} off; at most {:.0e} and {:.0e}".format(*off, *limits))
  return found


def draw(config) -> tuple[dict, dict]:
  """Variables and a batch for `config`, drawn on the CPU: the same for every device."""
  objectives.inherit(config, None)
  options = jobs.input_options(config.data)
  objective = objectives.build(config, options, VOCABULARY_SIZE)
  batch = benchmark.random_batch(pipeline.batch_spec(options, config.batch_size), VOCABULARY_SIZE)
  with jax.default_device(jax.devices("cpu")[0]):
    return jax.device_get(jax.jit(objective.init)(jax.random.key(config.seed), batch)), batch


def loss_and_gradients(config, drawn: tuple[dict, dict], device) -> tuple[float, list[np.ndarray]]:
  """Of a training step of `config` on `device`."""
  mesh = mesh_lib.make_mesh((1, 1, 1), [device])
  variables, batch = jobs.on_devices(drawn[0], mesh), mesh_lib.to_devices(drawn[1], mesh)
  objective = objectives.build(config, jobs.input_options(config.data), VOCABULARY_SIZE).on_mesh(mesh)

  def loss(params, variables, batch):
    return objective.loss({**variables, "params": params}, batch, jax.random.key(0), train=True)[0]

  value, grads = jax.jit(jax.value_and_grad(loss))(variables["params"], variables, batch)
  return float(value), [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(jax.device_get(grads))]


def differences(reference, other) -> tuple[float, float]:
  """Relative: of two losses, and of two lists of gradients by the norm of all of them together."""
  norm = lambda leaves: np.sqrt(sum(np.sum(leaf**2) for leaf in leaves))
  apart = norm([a - b for a, b in zip(reference[1], other[1], strict=True)])
  return abs(reference[0] - other[0]) / abs(reference[0]), apart / norm(reference[1])


def resumed(platform: str, steps: int = 200) -> bool:
  """Whether a run that is killed on the way ends with the weights of one that is not."""
  with tempfile.TemporaryDirectory() as folder:
    calm, killed = pathlib.Path(folder, "calm"), pathlib.Path(folder, "killed")
    train = lambda workdir: _start(
      platform, "train", f"--config={SMOKE}", f"--workdir={workdir}", f"--config.total_steps={steps}",
      "--config.evaluate_every_steps=0", "--config.checkpoint_every_steps=16",
    )  # fmt: skip
    if train(calm).wait():
      return say(False, "resume", "the undisturbed run failed")
    process, metrics = train(killed), killed / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and f'"step": {steps // 4},' in metrics.read_text()):
      time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if (killed / "results.json").exists():
      return say(False, "resume", "the run was over before it could be killed")
    if train(killed).wait():
      return say(False, "resume", "the run that was killed does not go on")
    prints = {json.loads((run / "results.json").read_text())["params/fingerprint"] for run in (calm, killed)}
    return say(len(prints) == 1, "resume", f"killed after step {steps // 4} of {steps}; {len(prints)} fingerprint(s)")


def used(values) -> bool:
  """How much of the device the training step uses, by `benchmark step`; only a step that fails is not good."""
  with tempfile.TemporaryDirectory() as folder:
    report = pathlib.Path(folder, "step.json")
    dtype = "float32" if values.device == "cpu" else "bfloat16"
    arguments = [f"--config={values.benchmark_config}", f"--config.batch_size={values.benchmark_batch_size}"]
    arguments.append(f"--config.model.dtype={dtype}")
    if _start(values.device, "benchmark", "step", *arguments, f"--json={report}", "--repetitions=3").wait():
      return say(False, "utilization", "the benchmark failed, see above; --benchmark_batch_size may be too large")
    found = json.loads(report.read_text())
  rate = found["model_flops"] / found["step_seconds"] / found["machine"]["devices"]
  parts = [f"{dtype}: {found['clips_per_second']:.3g} clips/s, {rate / 1e12:.3g} TFLOP/s for each device"]
  parts.append(f"{100 * found['fraction_of_peak']:.1f} % of the best matrix product in float32")
  published = hardware.find(found["machine"]["device"])
  peak = f"{100 * rate / published.flops_per_second(dtype):.1f} %" if published else "an unknown share"
  return say(True, "utilization", ", ".join([*parts, f"{peak} of the published peak"]))


def _start(platform: str, program: str, *arguments: str) -> subprocess.Popen:
  environment = {**os.environ, "JAX_PLATFORMS": {"gpu": "cuda,cpu"}.get(platform, platform)}
  command = [sys.executable, "-m", f"vatt_jax.{program}", *arguments]
  return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def say(good: bool | None, name: str, text: str) -> bool:
  """Prints one line and returns whether it is good; None: it was not tried, and that is no fault."""
  print(f"{'ok ' if good else 'BAD' if good is False else '-  '} {name}: {text}", flush=True)
  return good is not False


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  config_flags.DEFINE_config_file("config", "configs/pretrain/vatt.py:bbs", "What is compared.", flag_values=values)
  flags.DEFINE_integer("batch_size", 8, "Clips of the comparison; the CPU computes them, too.", flag_values=values)
  flags.DEFINE_string("device", "gpu", "Whose results are compared with those of the CPU.", flag_values=values)
  flags.DEFINE_string("benchmark_config", "configs/pretrain/vatt.py:bbs", "What is timed.", flag_values=values)
  flags.DEFINE_integer("benchmark_batch_size", 32, "Clips of a step that is timed.", flag_values=values)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  errors.run(main)
