"""Checkpoints: Orbax, asynchronous, atomic, sharded. `WORKDIR/checkpoints/<step>/` holds `state` and `manifest.json`."""

from collections.abc import Callable, Iterable, Mapping
import contextlib
import json

from etils import epath
from flax import traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy

from vatt_jax import storage
from vatt_jax.errors import UserError
from vatt_jax.training import claims, processes
from vatt_jax.training.claims import Claims
from vatt_jax.training.sharding import path_name
from vatt_jax.training.state import State
from vatt_jax.training.workdir import reason

FOLDER = "checkpoints"
MANIFEST = "manifest.json"
SAFETENSORS = "model.safetensors"  # of an exported directory, instead of `state`


class Damaged(UserError):
  """A checkpoint is there and cannot be read."""


class Checkpoints:
  """The checkpoints of one run, for the process that trains.

  Args:
    workdir: of the run.
    keep: how many of the newest stay; and those that a job beside the run evaluates (`training.claims`).
    report: called with a sentence where something is wrong that a run can live with.
  """

  def __init__(self, workdir: str, keep: int = 3, report: Callable[[str], None] = print):
    self._folder = epath.Path(workdir) / FOLDER
    self._kept, self._report = _Kept(keep, Claims(str(epath.Path(workdir) / claims.FOLDER))), report
    self._newest = None  # the step that was saved last, or is being saved
    self._failed: set[int] = set()
    self._manager = self._open()

  def _open(self) -> ocp.CheckpointManager:
    # The manifest lies beside the state, inside the directory that appears in one piece.
    handlers = {
      "state": ocp.StandardCheckpointHandler(),
      "manifest": ocp.JsonCheckpointHandler(filename=f"../{MANIFEST}"),
    }
    options = ocp.CheckpointManagerOptions(preservation_policy=self._kept, create=True, enable_async_checkpointing=True)
    return ocp.CheckpointManager(self._folder.resolve(), item_handlers=handlers, options=options)

  def save(self, step: int, state: State, manifest: dict) -> None:
    """Starts saving; waits only for a save that is still under way.

    Where a save fails (a full disk), that is reported and nothing raised: the checkpoints before are intact, and the next
    save may go well. What fails after this returned is noticed by the next call, of `wait` too.
    """
    if step in self._manager.all_steps():
      return
    self.wait()
    self._remove_what_failed()
    self._newest = step
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), manifest=ocp.args.JsonSave(manifest))
    self._succeeds(lambda: self._manager.save(step, args=items, force=True))

  def wait(self) -> bool:
    """Returns when everything is on disk; whether the last step that was to be saved is."""
    return self._succeeds(self._manager.wait_until_finished) and (
      self._newest is None or self._newest in self._manager.all_steps()
    )

  def _succeeds(self, function: Callable[[], object]) -> bool:
    try:
      function()
      return True
    except Exception as error:  # What a full disk raises depends on who of many libraries was writing.
      self._report(
        f"the checkpoint of step {self._newest} could not be saved ({reason(error)}); the checkpoints before it are intact, and the "
        "next one will be tried."
      )
    with contextlib.suppress(Exception):
      self._manager.close()
    self._failed.add(self._newest)
    self._remove_what_failed()
    self._manager = self._open()
    return False

  def _remove_what_failed(self) -> None:
    """It would keep the disk full; once more later, as threads may have gone on writing."""
    for step in self._failed if processes.is_first() else ():
      for unfinished in self._folder.glob(f"{step}.*tmp*"):
        with contextlib.suppress(OSError):
          unfinished.rmtree(missing_ok=True)

  def restore_newest(self, like: State) -> State | None:
    """The newest checkpoint that can be read, or None where there is none; every process reads the same.

    Damaged ones are reported and set aside as `<step>.damaged`, once an older one could be read.

    Args:
      like: shapes, dtypes and shardings that the result will have.

    Raises:
      UserError: when there are checkpoints but none can be read; they stay as they are.
    """
    damaged: dict[int, str] = {}
    for step in sorted(self._manager.all_steps(), reverse=True):
      why = ""
      try:
        state = storage.persistently(restore, self._folder / str(step), like)
      except Exception as error:  # What a damaged file raises depends on where the damage is.
        why = reason(error)
      if processes.all_agree(not why):
        self._set_aside(damaged)
        self._newest = step
        return state
      damaged[step] = why or "another process could not read it"
      self._report(f"checkpoint {self._folder / str(step)} is damaged ({damaged[step]}); trying the one before it.")
    if damaged:
      raise UserError(
        f"no checkpoint in {self._folder} can be read ({'; '.join(f'{k}: {v}' for k, v in damaged.items())}). Nothing was "
        "changed; restore them from a copy, or choose another --workdir."
      )
    return None

  def _set_aside(self, damaged: Iterable[int]) -> None:
    if damaged:
      self._manager.close()
      for step in damaged if processes.is_first() else ():
        names = (f"{step}.damaged{suffix}" for suffix in ("", *range(1, 1000)))
        (self._folder / str(step)).rename(
          next(self._folder / name for name in names if not (self._folder / name).exists())
        )
      processes.wait_for_all("damaged checkpoints")
      self._manager = self._open()

  def close(self) -> None:
    self._manager.close()
    self._remove_what_failed()


class _Kept:
  """Which checkpoints stay, in the form in which Orbax asks."""

  def __init__(self, keep: int, in_use: Claims):
    self._keep, self._in_use = keep, in_use

  def should_preserve(self, checkpoints, *, context) -> list[bool]:
    def steps_in_use():
      with contextlib.suppress(OSError):  # The checkpoint that is saved now matters more.
        return tuple(self._in_use.steps_in_use())
      return ()

    in_use = processes.first_decides(steps_in_use)
    newest = len(checkpoints) - self._keep
    return [place >= newest or each.step in in_use for place, each in enumerate(checkpoints)]


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
  """The variables {"params": ..., ...} of a checkpoint as host arrays: the average if there is one, no optimizer.

  Raises:
    Damaged: it cannot be read.
  """
  try:
    return _restore_variables(checkpoint)
  except Exception as error:  # What a damaged file raises depends on where the damage is.
    raise Damaged(f"checkpoint {checkpoint} cannot be read ({reason(error)}).") from error


def read(place: str, report: Callable[[str], None] = processes.say) -> tuple[epath.Path, dict]:
  """The checkpoint that `find` means, and its variables; of a workdir the newest that can be read.

  Args:
    report: called with a sentence for each newer one that is damaged.

  Raises:
    UserError: there is none.
    Damaged: none can be read.
  """

  def whole(checkpoint):
    manifest(checkpoint)
    return restore_variables(checkpoint)

  return _newest(place, whole, report)


def read_manifest(place: str) -> dict:
  """The manifest of the checkpoint that `read` would start with; of a workdir the newest that can be read."""
  return _newest(place, manifest, report=lambda _: None)[1]


def _newest(place: str, function: Callable[[epath.Path], object], report: Callable[[str], None]):
  """The checkpoint that `find` means and function(it); of a workdir the newest for which it does not raise `Damaged`."""
  newest = find(place)
  older = [] if newest == epath.Path(place) else steps(place)[-2::-1]
  for checkpoint, following in zip([newest, *(newest.parent / str(step) for step in older)], [*older, None]):
    try:
      return checkpoint, function(checkpoint)
    except Damaged as error:
      if following is None:
        raise
      report(f"{error} Step {following} is used.")


def _restore_variables(checkpoint: epath.Path) -> dict:
  if (checkpoint / SAFETENSORS).exists():
    return nested(safetensors.numpy.load((checkpoint / SAFETENSORS).read_bytes()))
  checkpointer = ocp.PyTreeCheckpointer()
  metadata = ocp.PyTreeCheckpointHandler().metadata((checkpoint / "state").resolve()).tree
  averaged = bool(metadata.get("ema"))
  wanted = {name: metadata[name] for name in ("ema" if averaged else "params", "model_state")}
  numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
  tree = checkpointer.restore((checkpoint / "state").resolve(), item=wanted, restore_args=numpy, partial_restore=True)
  return {"params": tree["ema" if averaged else "params"], **tree["model_state"]}


def flat(tree: dict) -> dict[str, np.ndarray]:
  """'/'-joined path -> leaf, in the order of the paths."""
  return dict(sorted((path_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)))


def nested(arrays: Mapping[str, np.ndarray]) -> dict:
  """What `flat` was given."""
  return traverse_util.unflatten_dict(dict(arrays), sep="/")


def save_variables(
  place: str, variables: dict, manifest: dict, files: Mapping[str, bytes], *, portable: bool = False
) -> None:
  """Writes a checkpoint that is not a run's: no optimizer. The directory appears in one piece.

  Args:
    place: a directory that does not exist or is empty.
    variables: {"params": ..., ...} of host arrays.
    manifest: as a run's.
    files: relative path -> content, what else lies in the directory.
    portable: as one file of safetensors instead of Orbax's state.
  """
  target = epath.Path(place).resolve()
  temporary = target.parent / f".{target.name}.partial"
  if temporary.exists():  # Of a process that was killed.
    temporary.rmtree()
  temporary.mkdir(parents=True)
  if portable:
    content = {name: np.ascontiguousarray(leaf) for name, leaf in flat(variables).items()}
    (temporary / SAFETENSORS).write_bytes(safetensors.numpy.save(content))
  else:
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
  """What a checkpoint says of itself. `Damaged` where that cannot be read."""
  try:
    return json.loads((checkpoint / MANIFEST).read_text())
  except ValueError as error:
    raise Damaged(f"checkpoint {checkpoint} cannot be read ({MANIFEST}: {reason(error)}).") from error
