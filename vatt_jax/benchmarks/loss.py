"""What the contrastive loss needs, in the plain form and round the ring of devices."""

from collections.abc import Sequence
import functools
import statistics

import jax
import jax.numpy as jnp

from vatt_jax.benchmarks import measuring
from vatt_jax.losses import nce, ring
from vatt_jax.training import mesh as mesh_lib


def run(config, repetitions: int, batch_sizes: Sequence[int] = (2_048, 16_384, 65_536), executed: int = 2_048) -> dict:
  """Compiles the contrastive loss of `config` between clips and captions in both forms; prints and returns the report.

  Args:
    batch_sizes: global; each has to divide by the devices.
    executed: the largest of them that is run as well.
  """
  mesh = mesh_lib.make_mesh((1, -1, 1))
  for size in batch_sizes:
    mesh_lib.check_batch_size(size, mesh)
  candidates, width = config.data.text.candidates, config.model.vt_width
  rows = mesh_lib.batch_sharding(mesh)
  forms = {"plain": None, "ring": functools.partial(ring.ring_sums, mesh=mesh)}
  report = {
    "devices": mesh.size,
    "candidates": candidates,
    "width": width,
    "batches": [],
    "machine": measuring.machine(),
  }
  for size in batch_sizes:
    row = {"batch_size": size, "matrix_bytes": 4 * size * size * candidates}
    shapes = [(size, width), (size, candidates, width)]
    for name, sums in forms.items():
      value = lambda video, text, sums=sums: nce.LOSSES[config.objective.loss](
        video, text, jnp.ones(len(video), bool), temperature=config.objective.temperature, sums=sums
      )
      arguments = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=rows) for shape in shapes]
      compiled = jax.jit(jax.value_and_grad(value, (0, 1))).lower(*arguments).compile()
      row[f"{name}_temporary_bytes"] = compiled.memory_analysis().temp_size_in_bytes
      if size <= executed:
        draw = jax.jit(
          lambda shapes=shapes: [jax.random.normal(jax.random.key(1), s) for s in shapes], out_shardings=rows
        )
        inputs = jax.block_until_ready(draw())
        row[f"{name}_loss"] = float(compiled(*inputs)[0])
        row[f"{name}_seconds"] = statistics.median(
          measuring.seconds_of(functools.partial(compiled, *inputs)) for _ in range(repetitions)
        )
    report["batches"].append(row)
    times = "".join(f", {name} {row[f'{name}_seconds']:.3g} s" for name in forms if f"{name}_seconds" in row)
    sizes = ", ".join(f"{name} {row[f'{name}_temporary_bytes'] / 2**20:,.1f} MiB" for name in forms)
    print(f"batch {size:,}: {sizes} of temporaries on each of {mesh.size} devices{times}")
  return report
