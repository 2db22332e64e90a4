"""Smoke runs of the training program, in this process and in processes of their own."""

import importlib
import json
import os
import pathlib
import socket
import subprocess
import sys

from vatt_jax.training import workdir as workdir_lib

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = "configs/pretrain/vatt_demo.py:smoke"


def smoke_config(name="configs.pretrain.vatt_demo", argument="smoke", **changes):
  config = importlib.import_module(name).get_config(argument)
  for key, value in changes.items():
    with config.unlocked():
      config.update_from_flattened_dict({key.replace("__", "."): value})
  return config


def command(workdir, *extra, devices=1, **environment):
  """`python -m vatt_jax.train` as a process of its own."""
  environment = {
    **os.environ,
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0",
    "PYTHONPATH": str(ROOT),
    **environment,
  }
  arguments = [sys.executable, "-m", "vatt_jax.train", f"--config={CONFIG}", f"--workdir={workdir}", *extra]
  return subprocess.Popen(
    arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
  )


def results(workdir):
  return json.loads((pathlib.Path(workdir) / "results.json").read_text())


def several(count, workdir, *extra, devices=2):
  """The processes of one run."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  return [
    command(
      workdir,
      *extra,
      devices=devices,
      JAX_COORDINATOR_ADDRESS=address,
      JAX_NUM_PROCESSES=str(count),
      JAX_PROCESS_ID=str(i),
    )
    for i in range(count)
  ]


def losses(workdir):
  """Step -> loss."""
  return {row["step"]: row["loss"] for row in workdir_lib.read_metrics(str(workdir)) if "loss" in row}
