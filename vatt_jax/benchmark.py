"""How fast this machine runs a config, and what a model costs.

  python -m vatt_jax.benchmark step --config=configs/pretrain/vatt.py:bbs --config.batch_size=2 --json=step.json
  python -m vatt_jax.benchmark flops

step   the whole training step (forward, backward, optimizer) on random inputs of the right shapes, against the matrix
       product that this machine does best, measured in turns with it. No data set is needed.
flops  the matrix products of VATT in closed form, beside the paper's figures.
"""

from collections.abc import Callable, Sequence
import json
import os
import platform
import resource
import statistics
import sys
import time

from absl import flags
from etils import epath
import jax
import jax.numpy as jnp
from ml_collections import config_flags
import numpy as np
import tensorflow as tf
import tqdm

from vatt_jax import errors, jobs, objectives
from vatt_jax.data import pipeline
from vatt_jax.models import flops as closed_form
from vatt_jax.training import memory, mesh as mesh_lib, optimizers, sharding
from vatt_jax.training.flops import count_matmul_flops
from vatt_jax.training.state import init_state
from vatt_jax.training.step import make_step

CONVENTION = (
  "matrix products only, a multiply-add is two; a training step counts as three forward passes of the loss on the "
  "patches that DropToken keeps, queries times keys included"
)


def main(argv) -> None:
  values = flags.FLAGS
  modes = {
    "step": lambda: step(values.config, values.vocabulary_size, values.repetitions),
    "flops": flops,
  }
  if len(argv) != 2 or argv[1] not in modes:
    raise errors.UserError(f"one of {', '.join(modes)} must be named, such as: python -m vatt_jax.benchmark flops.")
  if argv[1] != "flops" and not values.config:
    raise errors.UserError("--config=FILE is needed, such as --config=configs/pretrain/vatt_demo.py.")
  if values.repetitions < 1:
    raise errors.UserError(f"--repetitions={values.repetitions} must be at least 1.")
  if argv[1] != "flops":
    memory.keep_between_steps()
  report = modes[argv[1]]()
  if values.json:
    epath.Path(values.json).write_text(json.dumps(report, indent=2) + "\n")


# ---- step


def step(config, vocabulary_size: int, repetitions: int, gemm_sizes: Sequence[int] = (1024, 2048, 4096)) -> dict:
  """Times the training step of `config` in turns with square matrix products; prints and returns the report."""
  tf.config.set_visible_devices([], "GPU")
  jobs.compilation_cache()
  objectives.inherit(config, None)
  train_step, state, batch, model_flops = prepare_step(config, vocabulary_size)
  products = {size: matrix_product(size) for size in gemm_sizes}

  def run_step():
    nonlocal state
    state, metrics = train_step(state, batch)
    return metrics

  # Each repetition has both, so that whatever else slows the machine down slows both.
  seconds, rates = [], {size: [] for size in gemm_sizes}
  for _ in tqdm.trange(repetitions, desc="timing", unit="repetition", disable=not sys.stderr.isatty()):
    for size, product in products.items():
      rates[size] += [2 * size**3 * jax.device_count() / _time(product) for _ in range(3)]
    seconds.append(_time(run_step))
  median, peak = statistics.median(seconds), max(map(max, rates.values()))
  report = {
    "step_seconds": median,
    "step_seconds_spread": _spread(seconds),
    "clips_per_second": config.batch_size / median,
    "model_flops": model_flops,
    "gemm_peak_flops_per_second": peak,
    "gemm_flops_per_second_spread": {str(size): _spread(values) for size, values in rates.items()},
    "fraction_of_peak": model_flops / median / peak,
    "peak_memory_bytes": peak_memory_bytes(),
    "repetitions": repetitions,
    "flop_convention": CONVENTION,
    "machine": machine(),
    "versions": jobs.versions(),
  }
  by_size = ", ".join(f"{size}: {max(values) / 1e9:,.4g}" for size, values in rates.items())
  print(
    f"step: {median:.4g} s (fastest {min(seconds):.4g}), {report['clips_per_second']:.3g} clips/s\n"
    f"matrix products: {model_flops / 1e9:,.4g} GFLOP a step, {model_flops / median / 1e9:,.4g} GFLOP/s\n"
    f"peak: {peak / 1e9:,.4g} GFLOP/s (best square product; by size: {by_size})\n"
    f"fraction of peak: {100 * report['fraction_of_peak']:.1f} %\n"
    f"peak memory: {report['peak_memory_bytes'] / 2**30:.2f} GiB"
  )
  return report


def prepare_step(config, vocabulary_size: int) -> tuple[Callable, object, dict, int]:
  """(compiled step, state, batch, model FLOPs) for `config` with random inputs, on the mesh it asks for."""
  mesh = mesh_lib.make_mesh(config.mesh)
  mesh_lib.check_batch_size(config.batch_size, mesh)
  options = jobs.input_options(config.data)
  objective = objectives.build(config, options, vocabulary_size)
  optimizer, _ = optimizers.from_config(config.optimizer, config.total_steps)
  spec = pipeline.batch_spec(options, config.batch_size)
  init = lambda: init_state(objective, optimizer, jax.random.key(config.seed), spec, average=config.ema_decay > 0)
  shapes = jax.eval_shape(init)
  placed = sharding.shardings(shapes, objective.partition_rules, mesh)
  loss = lambda state, batch: objective.loss(state.variables, batch, jax.random.key(0), train=True)
  model_flops = 3 * count_matmul_flops(loss, shapes, spec)
  jitted = jax.jit(
      make_step(objective, optimizer, config.seed, config.ema_decay), donate_argnums=0,
      in_shardings=(placed, mesh_lib.batch_sharding(mesh)), out_shardings=(placed, mesh_lib.replicated(mesh)),
  )  # fmt: skip
  batch = mesh_lib.to_devices(random_batch(spec, vocabulary_size), mesh)
  state = jax.jit(init, out_shardings=placed)()
  state, _ = jax.block_until_ready(jitted(state, batch))  # Compiled and warm.
  return jitted, state, batch, model_flops


def random_batch(spec: dict[str, jax.ShapeDtypeStruct], vocabulary_size: int) -> dict[str, np.ndarray]:
  """Arrays with these shapes that a model can take: nothing is absent, nothing padded, positions lie in the grid."""
  random = np.random.default_rng(0)

  def values(name, like):
    if like.dtype == np.bool_:
      return np.ones(like.shape, np.bool_)
    if name.endswith("/positions"):
      return np.broadcast_to(np.arange(like.shape[-1], dtype=np.int32), like.shape)
    if name.endswith("/ids"):
      return random.integers(1, vocabulary_size, like.shape, np.int32)
    if name == "label":
      return np.zeros(like.shape, like.dtype)
    if np.issubdtype(like.dtype, np.integer):
      return random.integers(0, np.iinfo(like.dtype).max, like.shape, like.dtype)
    return random.uniform(-1, 1, like.shape).astype(like.dtype)

  return {name: values(name, like) for name, like in spec.items()}


def matrix_product(size: int) -> Callable[[], jax.Array]:
  """A float32 product of two square matrices on every device, ready to be timed."""
  devices = jax.devices()
  mesh = mesh_lib.make_mesh((1, len(devices), 1), devices)
  place = mesh_lib.batch_sharding(mesh)
  left = jax.jit(lambda: jnp.full((len(devices), size, size), 0.5), out_shardings=place)()
  multiply = jax.jit(lambda left: jnp.matmul(left, jnp.swapaxes(left, 1, 2)), out_shardings=place)
  product = lambda: multiply(left)
  jax.block_until_ready(product())
  return product


def _time(function: Callable) -> float:
  began = time.perf_counter()
  jax.block_until_ready(function())
  return time.perf_counter() - began


def _spread(values: list[float]) -> dict[str, float]:
  names = ("minimum", "first_quartile", "median", "third_quartile", "maximum")
  return dict(zip(names, np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist()))


def peak_memory_bytes() -> int:
  """The most that a device has held, or, where devices do not tell (CPU), that this process has."""
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  known = [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]
  return max(known) if known else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine() -> dict[str, str | int]:
  """What the figures were measured on."""
  cpu = platform.processor() or platform.machine()
  if os.path.exists("/proc/cpuinfo"):
    with open("/proc/cpuinfo") as file:
      names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    cpu = names[0] if names else cpu
  device = jax.devices()[0]
  return {
    "cpu": cpu,
    "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    "platform": device.platform,
    "device": device.device_kind,
    "devices": jax.device_count(),
  }


# ---- flops


def flops() -> dict:
  """Prints two Markdown tables, the paper's figures and those of our towers; returns the same as a report."""
  giga = lambda value: f"{value / 1e9:,.1f}"
  print("GFLOP of matrix products in one forward pass, a multiply-add counted as two.\n")
  print("| VATT paper, tables 5 and 6 | DropToken | paper | its convention | deviation | here, true count |")
  print("| --- | ---: | ---: | ---: | ---: | ---: |")
  rows = list(closed_form.paper_table())
  for row in rows:
    figures = f"{giga(row.reported)} | {giga(row.paper)} | {100 * row.deviation:+.1f} %"
    print(f"| {row.name} | {100 * row.drop_rate:.0f} % | {figures} | {giga(row.ours)} |")
  print(
    "\nThe paper's convention leaves out queries times keys, and projects patches before it drops them; here they are "
    "dropped first.\n\nOne clip (32 x 224 x 224, 3.2 s at 48 kHz, 16 words) through one tower; in brackets without "
    "queries times keys.\n"
  )
  print("| tower | size |" + "".join(f" DropToken {100 * rate:.0f} % |" for rate in closed_form.DROP_RATES))
  print("| --- | --- |" + " ---: |" * len(closed_form.DROP_RATES))
  towers = list(closed_form.tower_table())
  for modality, size, cells in towers:
    texts = [f" {giga(full)} ({giga(less)}) |" for full, less in cells]
    print(f"| {modality} | {size} |" + "".join(texts + [" |"] * (len(closed_form.DROP_RATES) - len(cells))))
  return {
    "paper": [
      {"name": r.name, "drop_rate": r.drop_rate, "reported": r.reported, "paper_convention": r.paper, "true": r.ours}
      for r in rows
    ],
    "towers": [
      {"tower": modality, "size": size, "drop_rate": rate, "true": full, "without_scores": less}
      for modality, size, cells in towers
      for rate, (full, less) in zip(closed_form.DROP_RATES, cells)
    ],
  }


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  config_flags.DEFINE_config_file("config", None, "Config file; its arguments follow a colon.", flag_values=values)
  flags.DEFINE_string("json", None, "Where the report goes, beside being printed.", flag_values=values)
  flags.DEFINE_integer("repetitions", 7, "How often everything is timed.", flag_values=values)
  flags.DEFINE_integer("vocabulary_size", 65_536, "Words of the text tower.", flag_values=values)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  errors.run(main)
