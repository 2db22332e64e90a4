"""How fast a training step is, against the matrix product that this machine does best."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf

from vatt_jax import jobs, objectives
from vatt_jax.benchmarks import measuring
from vatt_jax.training import flops as flops_lib, mesh as mesh_lib


def run(
  configs: Sequence, vocabulary_size: int, repetitions: int, gemm_sizes: Sequence[int] = (1024, 2048, 4096),
  turns: bool = True,
) -> dict:  # fmt: skip
  """Times the training step of each config in turns with square matrix products.

  Returns:
    `configs`, the report of each, and beside it what holds for all of them.
  """
  tf.config.set_visible_devices([], "GPU")
  jobs.compilation_cache()
  peak = _Peak(gemm_sizes)
  makers = [functools.partial(_Step, config, vocabulary_size, peak) for config in configs]
  found = measuring.reports(makers, repetitions, turns)
  for report in found:
    report["fraction_of_peak"] = report["model_flops"] / report["step_seconds"] / peak.best
    report["computed_fraction_of_peak"] = report["computed_flops"] / report["step_seconds"] / peak.best
  return {
    "configs": found,
    "gemm_peak_flops_per_second": peak.best,
    "gemm_flops_per_second_spread": {str(size): measuring.spread(values) for size, values in peak.rates.items()},
    "peak_memory_bytes": measuring.peak_memory_bytes(),
    "repetitions": repetitions,
    "flop_convention": flops_lib.CONVENTION,
    "machine": measuring.machine(),
    "versions": jobs.versions(),
  }


def say(report: dict) -> None:
  """Prints what was found for one config."""
  median, flops, rates = report["step_seconds"], report["model_flops"], report["gemm_flops_per_second_spread"]
  computed = report["computed_flops"]
  by_size = ", ".join(f"{size}: {spread['maximum'] / 1e9:,.4g}" for size, spread in rates.items())
  print(
    f"step: {median:.4g} s (fastest {report['step_seconds_spread']['minimum']:.4g}), "
    f"{report['clips_per_second']:.3g} clips/s\n"
    f"matrix products: {flops / 1e9:,.4g} GFLOP a step, {flops / median / 1e9:,.4g} GFLOP/s\n"
    f"peak: {report['gemm_peak_flops_per_second'] / 1e9:,.4g} GFLOP/s (best square product; by size: {by_size})\n"
    f"fraction of peak: {100 * report['fraction_of_peak']:.1f} %\n"
    f"peak memory: {report['peak_memory_bytes'] / 2**30:.2f} GiB"
  )
  if computed < flops:
    print(
      f"computed: {computed / 1e9:,.4g} GFLOP a step, {100 * report['computed_fraction_of_peak']:.1f} % of the peak; the "
      "rest is tokens of the last layer that nothing is made of"
    )
  if "teacher_seconds" in report:
    print(
      f"of that the frozen teacher: {report['teacher_seconds']:.4g} s, {100 * report['teacher_share']:.1f} % of the step; "
      f"{report['teacher_flops'] / 1e9:,.4g} GFLOP"
    )


class _Peak:
  """The best matrix product: what a step is held against. `rates`: size -> FLOP/s of each time."""

  def __init__(self, sizes: Sequence[int]):
    self._products = {size: matrix_product(size) for size in sizes}
    self.rates = {size: [] for size in sizes}

  def measure(self) -> None:
    for size, product in self._products.items():
      flops = 2 * size**3 * jax.device_count()
      self.rates[size] += [flops / measuring.seconds_of(product) for _ in range(3)]

  @property
  def best(self) -> float:
    return max(map(max, self.rates.values()))


class _Step:
  """The training step of one config; a `measuring.Timed`."""

  def __init__(self, config, vocabulary_size: int, peak: _Peak):
    objectives.inherit(config, None)
    self._batch_size, self._peak, self._seconds, self._teaching = config.batch_size, peak, [], []
    self._step, self._state, self._batch, self._flops, objective = prepare_step(config, vocabulary_size)
    self._computed = flops_lib.computed_flops(objective, self._state.variables, self._batch)
    self._teacher = teacher(objective, self._state, self._batch)

  def measure(self) -> None:
    """The product and the step, so that whatever else slows the machine down slows both."""
    self._peak.measure()
    self._seconds.append(measuring.seconds_of(self._run))
    if self._teacher:
      self._teaching.append(measuring.seconds_of(lambda: self._teacher.run(self._state.variables)))

  def _run(self):
    self._state, metrics = self._step(self._state, self._batch)
    return metrics

  def report(self) -> dict:
    median, rows = statistics.median(self._seconds), self._batch_size
    spread = measuring.spread(self._seconds)
    found = {
      "batch_size": rows,
      "step_seconds": median,
      "step_seconds_spread": spread,
      "clips_per_second": rows / median,
      "model_flops": self._flops,
      "computed_flops": self._computed,
      "figures": {
        "seconds of a step": spread,
        "clips a second": measuring.spread([rows / seconds for seconds in self._seconds]),
        "GFLOP a second": measuring.spread([self._flops / seconds / 1e9 for seconds in self._seconds]),
        "GFLOP of a step": measuring.spread([self._flops / 1e9]),
      },
    }
    if self._teacher:
      found["teacher_seconds"] = statistics.median(self._teaching)
      found["teacher_share"] = found["teacher_seconds"] / median
      found["teacher_flops"] = self._teacher.flops
    return found


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
  left = jax.jit(lambda: jnp.full((len(devices) * size, size), 0.5), out_shardings=place)()
  own = jax.shard_map(lambda left: left @ left.T, mesh=mesh, in_specs=place.spec, out_specs=place.spec)
  multiply = jax.jit(own)
  product = lambda: multiply(left)
  jax.block_until_ready(product())
  return product
