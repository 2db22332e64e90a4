"""The state and the step of a run, laid out over a mesh and compiled the same way by everything that trains or times."""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh
import optax

from vatt_jax.training import hardware, mesh as mesh_lib, optimizers, sharding
from vatt_jax.training.groups import Groups
from vatt_jax.training.state import State, init_state
from vatt_jax.training.step import make_step


@dataclasses.dataclass(frozen=True)
class Setup:
  """What a run needs before it has any array.

  Attributes:
    shapes: State of ShapeDtypeStructs that say where each array lies.
    placed: State of their shardings.
    init: () -> the State before the first step.
    step: (state, batch) -> (state, metrics), with the state donated.
    schedule: step -> learning rate.
    groups: of parameters that learn at another rate, or not.
    batch: shapes of a global batch that say where each array lies.
  """

  shapes: State
  placed: Any
  init: Callable[[], State]
  step: Callable[[State, dict], tuple[State, dict]]
  schedule: optax.Schedule
  groups: Groups
  batch: dict[str, jax.ShapeDtypeStruct]

  def compile(self) -> Callable[[State, dict], tuple[State, dict]]:
    """`step`, compiled now instead of when it is first called."""
    return self.step.lower(self.shapes, self.batch).compile()


def prepare(config, objective, batch_spec: dict[str, jax.ShapeDtypeStruct], mesh: Mesh) -> Setup:
  """The setup of `config`; nothing is computed yet.

  Args:
    config: of the run: `optimizer`, `total_steps`, `seed`, `ema_decay` and `fsdp` are read.
    objective: on this mesh.
    batch_spec: shapes and dtypes of a global batch.

  Raises:
    UserError: for an optimizer that does not exist, or groups that fit no parameter.
  """
  optimizer, schedule = optimizers.from_config(config.optimizer, config.total_steps)
  groups = Groups(config.optimizer.get("groups", ()))
  init = lambda: init_state(objective, optimizer, jax.random.key(config.seed), batch_spec, average=config.ema_decay > 0)
  shapes = jax.eval_shape(init)
  placed = sharding.shardings(shapes, objective.partition_rules, mesh, config.fsdp)
  step = jax.jit(
      sharding.on_mesh(
        make_step(objective, optimizer, config.seed, config.ema_decay, groups.hold),
        objective.partition_rules, mesh, config.fsdp,
      ),
      donate_argnums=0, compiler_options=hardware.compiler_options(mesh.devices.flat[0].platform),
      in_shardings=(placed, mesh_lib.batch_sharding(mesh)), out_shardings=(placed, mesh_lib.replicated(mesh)),
  )  # fmt: skip
  located = lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
  batch = {name: located(leaf, mesh_lib.batch_sharding(mesh)) for name, leaf in batch_spec.items()}
  init = jax.jit(init, out_shardings=placed)
  return Setup(jax.tree.map(located, shapes, placed), placed, init, step, schedule, groups, batch)
