"""How fast a training step is, against the matrix product that this machine does best."""

from collections.abc import Callable, Sequence
import dataclasses
import statistics
import sys

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf
import tqdm

from vatt_jax import jobs, objectives
from vatt_jax.benchmarks import measuring
from vatt_jax.training import flops as flops_lib, mesh as mesh_lib


def run(config, vocabulary_size: int, repetitions: int, gemm_sizes: Sequence[int] = (1024, 2048, 4096)) -> dict:
  """Times the training step of `config` in turns with square matrix products; prints and returns the report."""
  tf.config.set_visible_devices([], "GPU")
  jobs.compilation_cache()
  objectives.inherit(config, None)
  train_step, state, batch, model_flops, objective = prepare_step(config, vocabulary_size)
  teach = teacher(objective, state, batch)
  products = {size: matrix_product(size) for size in gemm_sizes}

  def run_step():
    nonlocal state
    state, metrics = train_step(state, batch)
    return metrics

  # Each repetition has both, so that whatever else slows the machine down slows both.
  seconds, teaching, rates = [], [], {size: [] for size in gemm_sizes}
  for _ in tqdm.trange(repetitions, desc="timing", unit="repetition", disable=not sys.stderr.isatty()):
    for size, product in products.items():
      rates[size] += [2 * size**3 * jax.device_count() / measuring.seconds_of(product) for _ in range(3)]
    seconds.append(measuring.seconds_of(run_step))
    if teach:
      teaching.append(measuring.seconds_of(lambda: teach.run(state.variables)))
  median, peak = statistics.median(seconds), max(map(max, rates.values()))
  report = {
    "step_seconds": median,
    "step_seconds_spread": measuring.spread(seconds),
    "clips_per_second": config.batch_size / median,
    "model_flops": model_flops,
    "gemm_peak_flops_per_second": peak,
    "gemm_flops_per_second_spread": {str(size): measuring.spread(values) for size, values in rates.items()},
    "fraction_of_peak": model_flops / median / peak,
    "peak_memory_bytes": measuring.peak_memory_bytes(),
    "repetitions": repetitions,
    "flop_convention": flops_lib.CONVENTION,
    "machine": measuring.machine(),
    "versions": jobs.versions(),
  }
  if teach:
    report["teacher_seconds"] = statistics.median(teaching)
    report["teacher_share"] = report["teacher_seconds"] / median
    report["teacher_flops"] = teach.flops
  by_size = ", ".join(f"{size}: {max(values) / 1e9:,.4g}" for size, values in rates.items())
  print(
    f"step: {median:.4g} s (fastest {min(seconds):.4g}), {report['clips_per_second']:.3g} clips/s\n"
    f"matrix products: {model_flops / 1e9:,.4g} GFLOP a step, {model_flops / median / 1e9:,.4g} GFLOP/s\n"
    f"peak: {peak / 1e9:,.4g} GFLOP/s (best square product; by size: {by_size})\n"
    f"fraction of peak: {100 * report['fraction_of_peak']:.1f} %\n"
    f"peak memory: {report['peak_memory_bytes'] / 2**30:.2f} GiB"
  )
  if teach:
    print(
      f"of that the frozen teacher: {report['teacher_seconds']:.4g} s, {100 * report['teacher_share']:.1f} % of the step; "
      f"{teach.flops / 1e9:,.4g} GFLOP"
    )
  return report


@dataclasses.dataclass(frozen=True)
class Teacher:
  """What a step computes without gradients: `run(variables)`, compiled and warm, and its FLOPs."""

  run: Callable[[dict], object]
  flops: int


def teacher(objective, state, batch: dict) -> Teacher | None:
  """The part of the step that is frozen, alone; None where there is none."""
  frozen = getattr(objective, "frozen", None)
  count = flops_lib.count_matmul_flops(frozen, state.variables, batch) if frozen else 0
  if not count:
    return None
  compiled = jax.jit(frozen)
  run = lambda variables: compiled(variables, batch)
  jax.block_until_ready(run(state.variables))
  return Teacher(run, count)


def prepare_step(config, vocabulary_size: int) -> tuple[Callable, object, dict, int, object]:
  """(compiled step, state, batch, model FLOPs, objective) for `config` with random inputs, on the mesh it asks for."""
  found = jobs.step_without_data(config, vocabulary_size)
  model_flops = flops_lib.model_flops(found.objective, found.setup.shapes.variables, found.batch)
  batch = mesh_lib.to_devices(random_batch(found.batch, vocabulary_size), found.mesh)
  state, _ = jax.block_until_ready(found.setup.step(found.setup.init(), batch))  # Compiled and warm.
  return found.setup.step, state, batch, model_flops, found.objective


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
