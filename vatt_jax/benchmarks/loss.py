"""What the contrast between clips and captions needs: VATT's, in the plain form and round the ring of devices, or ALPRO's."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import statistics

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vatt_jax import jobs, objectives
from vatt_jax.benchmarks import measuring
from vatt_jax.errors import UserError
from vatt_jax.losses import alpro as alpro_losses, nce, ring
from vatt_jax.models.alpro import unit
from vatt_jax.objectives import alpro, vatt
from vatt_jax.training import mesh as mesh_lib

BATCH_SIZES = (2_048, 16_384, 65_536)
_WORDS = 1_000  # Of a vocabulary that is not looked at.
_ALPRO_TEMPERATURE = 0.07  # Where `models.alpro` starts it.


def run(
  configs: Sequence, repetitions: int, batch_sizes: Sequence[int] = BATCH_SIZES, executed: int = 2_048,
  turns: bool = True,
) -> dict:  # fmt: skip
  """Compiles the contrast of each config between clips and captions, and its gradients, in each form that it has.

  Args:
    batch_sizes: global; each has to divide by the devices.
    executed: the largest of them that is run as well.

  Returns:
    `configs`, the report of each, and beside it what holds for all of them.

  Raises:
    UserError: for a config without such a contrast.
  """
  mesh = mesh_lib.make_mesh((1, -1, 1))
  for size in batch_sizes:
    mesh_lib.check_batch_size(size, mesh)
  contrasts = [contrast_of(config, mesh) for config in configs]
  makers = [functools.partial(_Loss, contrast, batch_sizes, executed, mesh) for contrast in contrasts]
  found = measuring.reports(makers, repetitions, turns)
  return {
    "configs": found,
    "devices": mesh.size,
    "repetitions": repetitions,
    "machine": measuring.machine(),
    "versions": jobs.versions(),
  }


def say(report: dict) -> None:
  """Prints what was found for one config."""
  for row in report["batches"]:
    forms = [name.removesuffix("_temporary_bytes") for name in row if name.endswith("_temporary_bytes")]
    times = "".join(f", {name} {row[f'{name}_seconds']:.3g} s" for name in forms if f"{name}_seconds" in row)
    sizes = ", ".join(f"{name} {row[f'{name}_temporary_bytes'] / 2**20:,.1f} MiB" for name in forms)
    print(f"batch {row['batch_size']:,}: {sizes} of temporaries on each of {report['devices']} devices{times}")


@dataclasses.dataclass(frozen=True)
class Contrast:
  """A contrast between clips and captions.

  Attributes:
    loss: its name.
    candidates: K, captions of a clip.
    width: E.
    forms: name -> (video (B, E), text (B, K, E)) -> scalar.
  """

  loss: str
  candidates: int
  width: int
  forms: dict[str, Callable[[jax.Array, jax.Array], jax.Array]]


def contrast_of(config, mesh: Mesh) -> Contrast:
  """VATT's pair video_text, or ALPRO's term vtc at the temperature that it starts from. UserError where there is neither."""
  objectives.inherit(config, None)
  objective = objectives.build(config, jobs.input_options(config.data), _WORDS)
  if isinstance(objective, vatt.VattObjective) and "video_text" in objective.pairs:
    pair = objective.pairs["video_text"]
    how = {"bias": nce.SIGMOID_BIAS} if pair.loss == "sigmoid" else {}

    def value(video, text, **how):
      return nce.LOSSES[pair.loss](video, text, jnp.ones(len(video), bool), temperature=pair.temperature, **how)

    forms = {"plain": functools.partial(value, **how)}
    if not how:
      forms["ring"] = functools.partial(value, sums=functools.partial(ring.ring_sums, mesh=mesh))
    return Contrast(pair.loss, config.data.text.candidates, config.model.vt_width, forms)
  if isinstance(objective, alpro.AlproObjective) and objective.terms.get("vtc"):

    def vtc(video, text):
      similarity = unit(video) @ unit(text[:, 0]).T / _ALPRO_TEMPERATURE
      return alpro_losses.video_text_contrast(similarity, jnp.ones(len(video), bool))

    return Contrast("vtc", 1, objective.model.embedding_width, {"plain": vtc})
  raise UserError(
    f"the objective {config.objective.name!r} of this config compares no clips with captions: `loss` is for VATT's pair "
    "video_text and ALPRO's term vtc."
  )


class _Loss:
  """The contrast of one config at every batch size; a `measuring.Timed`."""

  def __init__(self, contrast: Contrast, batch_sizes: Sequence[int], executed: int, mesh: Mesh):
    self._contrast, self._rows, self._timed = contrast, [], {}
    place = mesh_lib.batch_sharding(mesh)
    for size in batch_sizes:
      row = {"batch_size": size, "matrix_bytes": 4 * size * size * contrast.candidates}
      shapes = [(size, contrast.width), (size, contrast.candidates, contrast.width)]
      arguments = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=place) for shape in shapes]
      draw = lambda shapes=shapes: [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]
      inputs = jax.block_until_ready(jax.jit(draw, out_shardings=place)()) if size <= executed else None
      for name, form in contrast.forms.items():
        compiled = jax.jit(jax.value_and_grad(form, (0, 1))).lower(*arguments).compile()
        row[f"{name}_temporary_bytes"] = compiled.memory_analysis().temp_size_in_bytes
        if inputs:
          row[f"{name}_loss"] = float(compiled(*inputs)[0])
          self._timed[size, name] = functools.partial(compiled, *inputs), []
      self._rows.append(row)

  def measure(self) -> None:
    for function, seconds in self._timed.values():
      seconds.append(measuring.seconds_of(function))

  def report(self) -> dict:
    figures = {}
    for row in self._rows:
      size = row["batch_size"]
      for name in self._contrast.forms:
        what = f"{name} form, batch of {size:,}"
        if (size, name) in self._timed:
          seconds = self._timed[size, name][1]
          row[f"{name}_seconds"] = statistics.median(seconds)
          row[f"{name}_seconds_spread"] = figures[f"seconds: {what}"] = measuring.spread(seconds)
        bytes_ = row[f"{name}_temporary_bytes"]
        figures[f"MiB of temporaries on a device: {what}"] = measuring.spread([bytes_ / 2**20])
    fields = {"loss": self._contrast.loss, "candidates": self._contrast.candidates, "width": self._contrast.width}
    return {**fields, "batches": self._rows, "figures": figures}
