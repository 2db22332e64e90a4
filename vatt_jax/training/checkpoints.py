"""Checkpoints: Orbax, asynchronous, atomic, sharded. `WORKDIR/checkpoints/<step>/` holds `state` and `manifest.json`."""

from collections.abc import Callable, Iterable, Mapping
import json

from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp

from vatt_jax.errors import UserError
from vatt_jax.training.state import State

FOLDER = "checkpoints"
MANIFEST = "manifest.json"


class Checkpoints:
  """The checkpoints of one run, for the process that trains.

  Args:
    workdir: of the run.
    keep: how many of the newest stay.
  """

  def __init__(self, workdir: str, keep: int = 3):
    self._folder = epath.Path(workdir) / FOLDER
    self._keep = keep
    self._manager = self._open()

  def _open(self) -> ocp.CheckpointManager:
    # The manifest lies beside the state, inside the directory that appears in one piece.
    handlers = {
      "state": ocp.StandardCheckpointHandler(),
      "manifest": ocp.JsonCheckpointHandler(filename=f"../{MANIFEST}"),
    }
    options = ocp.CheckpointManagerOptions(max_to_keep=self._keep, create=True, enable_async_checkpointing=True)
    return ocp.CheckpointManager(self._folder.resolve(), item_handlers=handlers, options=options)

  def save(self, step: int, state: State, manifest: dict) -> None:
    """Starts saving; waits only for a save that is still under way."""
    if step not in self._manager.all_steps():
      items = ocp.args.Composite(state=ocp.args.StandardSave(state), manifest=ocp.args.JsonSave(manifest))
      self._manager.save(step, args=items, force=True)

  def restore_newest(self, like: State, report: Callable[[str], None]) -> State | None:
    """The newest checkpoint that can be read, or None where there is none.

    Damaged ones are named through `report` and set aside as `<step>.damaged`, once an older one could be read.

    Args:
      like: shapes, dtypes and shardings that the result will have.

    Raises:
      UserError: when there are checkpoints but none can be read; they stay as they are.
    """
    damaged: dict[int, str] = {}
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        state = restore(self._folder / str(step), like)
      except Exception as error:  # What a damaged file raises depends on where the damage is.
        damaged[step] = (str(error).strip().splitlines() or [type(error).__name__])[0]
        report(f"checkpoint {self._folder / str(step)} is damaged ({damaged[step]}); trying the one before it.")
        continue
      self._set_aside(damaged)
      return state
    if damaged:
      raise UserError(
        f"no checkpoint in {self._folder} can be read ({'; '.join(f'{k}: {v}' for k, v in damaged.items())}). Nothing was "
        "changed; restore them from a copy, or choose another --workdir."
      )
    return None

  def _set_aside(self, damaged: Iterable[int]) -> None:
    if damaged:
      self._manager.close()
      for step in damaged:
        names = (f"{step}.damaged{suffix}" for suffix in ("", *range(1, 1000)))
        (self._folder / str(step)).rename(
          next(self._folder / name for name in names if not (self._folder / name).exists())
        )
      self._manager = self._open()

  def wait(self) -> None:
    """Returns when everything is on disk."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    self._manager.close()


def restore(checkpoint: epath.Path, like: State) -> State:
  """Reads one checkpoint onto the devices that `like` names."""
  if not (checkpoint / MANIFEST).exists():
    raise FileNotFoundError(f"{MANIFEST} is missing")
  checkpointer = ocp.StandardCheckpointer()
  try:
    return checkpointer.restore((checkpoint / "state").resolve(), like)
  finally:
    checkpointer.close()


def restore_variables(checkpoint: epath.Path) -> dict:
  """The variables {"params": ..., ...} of a checkpoint as host arrays: the average if there is one, no optimizer."""
  checkpointer = ocp.PyTreeCheckpointer()
  metadata = ocp.PyTreeCheckpointHandler().metadata((checkpoint / "state").resolve()).tree
  averaged = bool(metadata.get("ema"))
  wanted = {name: metadata[name] for name in ("ema" if averaged else "params", "model_state")}
  numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
  tree = checkpointer.restore((checkpoint / "state").resolve(), item=wanted, restore_args=numpy, partial_restore=True)
  return {"params": tree["ema" if averaged else "params"], **tree["model_state"]}


def save_variables(place: str, variables: dict, manifest: dict, files: Mapping[str, bytes]) -> None:
  """Writes a checkpoint that is not a run's: no optimizer. The directory appears in one piece.

  Args:
    place: a directory that does not exist or is empty.
    variables: {"params": ..., ...} of host arrays.
    manifest: as a run's.
    files: relative path -> content, what else lies in the directory.
  """
  target = epath.Path(place).resolve()
  temporary = target.parent / f".{target.name}.partial"
  if temporary.exists():  # Of a process that was killed.
    temporary.rmtree()
  temporary.mkdir(parents=True)
  tree = {"params": variables["params"], "model_state": {k: v for k, v in variables.items() if k != "params"}}
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(temporary / "state", tree)
  for name, content in files.items():
    (temporary / name).parent.mkdir(parents=True, exist_ok=True)
    (temporary / name).write_bytes(content)
  (temporary / MANIFEST).write_text(json.dumps(manifest))
  if target.exists():
    target.rmdir()
  temporary.rename(target)


def steps(workdir: str) -> list[int]:
  """Steps with a complete checkpoint, ascending."""
  folder = epath.Path(workdir) / FOLDER
  if not folder.exists():
    return []
  return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit() and (path / MANIFEST).exists())


def home(checkpoint: epath.Path) -> epath.Path:
  """Where the vocabulary of a checkpoint lies: the workdir of one `checkpoints/<step>`, else the directory itself."""
  return checkpoint.parent.parent if checkpoint.parent.name == FOLDER else checkpoint


def find(place: str) -> epath.Path:
  """The checkpoint meant by a workdir (its newest), by one `checkpoints/<step>` or by a converted directory.

  Raises:
    UserError: when there is none.
  """
  path = epath.Path(place)
  if (path / MANIFEST).exists():
    return path
  if found := steps(place):
    return path / FOLDER / str(found[-1])
  raise UserError(
    f"there is no checkpoint in {place!r}: expected a workdir of `train` or one of its checkpoints/<step>."
  )


def manifest(checkpoint: epath.Path) -> dict:
  return json.loads((checkpoint / MANIFEST).read_text())
