"""A run's directory: whose it is, what was configured, what was measured."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import fcntl
import json
import math
import os
import pathlib
import socket
import time

from etils import epath
import tensorflow as tf

from vatt_jax import storage
from vatt_jax.errors import UserError

HEARTBEAT = "heartbeat.json"
# What may differ between the stored config and that of the command that goes on.
MAY_CHANGE = (
    "mesh", "fsdp", "accumulate", "evaluators", "total_steps", "keep_checkpoints", "data.threads", "deterministic",
    "log_every_steps", "checkpoint_every_steps", "evaluate_every_steps", "stall_seconds", "profile_steps",
)  # fmt: skip


@contextlib.contextmanager
def lock(workdir: str) -> Iterator[None]:
  """One run per workdir; the operating system frees it when the process ends, however it ends.

  Raises:
    UserError: naming the holder, when the workdir is taken.
  """
  if "://" in str(workdir):  # Buckets have no locks, but a run that is alive writes its heartbeat there.
    _refuse_while_it_beats(workdir)
    yield
    return
  with (pathlib.Path(workdir) / ".lock").open("a+") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      file.seek(0)
      holder = file.read().strip() or "another process"
      raise UserError(f"{workdir} is in use by {holder}; a workdir belongs to one run at a time.") from error
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}, started {time.strftime('%Y-%m-%d %H:%M:%S')}")
    file.flush()
    yield


def _refuse_while_it_beats(workdir: str, wait_seconds: float = 15.0) -> None:
  before = read_heartbeat(epath.Path(workdir) / HEARTBEAT)
  if before.get("phase") in (None, "ended", "failed") or time.time() - before["written"] > 10 * wait_seconds:
    return
  time.sleep(wait_seconds)
  if (now := read_heartbeat(epath.Path(workdir) / HEARTBEAT)) != before:
    raise UserError(
      f"{workdir} is in use by process {now.get('process')} on {now.get('host')}; a workdir belongs to one run at a time."
    )


def read_heartbeat(path: epath.Path) -> dict:
  """The last heartbeat of a run, see `Monitor`; {} where there is none that can be read."""
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError):
    return {}


def check_config(workdir: str, config: dict) -> list[str]:
  """Compares with the config stored in the workdir.

  A field that the stored config lacks is one that newer code has added: it is named in a warning and used as it is now.

  Returns:
    Warnings, one sentence each.

  Raises:
    UserError: showing every other difference that is not allowed.
  """
  warnings = []
  if (epath.Path(workdir) / "config.json").exists():
    old = flatten(read_config(workdir))
    new = flatten(json.loads(json.dumps(config)))
    changed = [k for k in sorted(old) if old[k] != new.get(k)]
    show = lambda k: f"  {k}: {old[k]} -> {new.get(k, '(absent)')}"
    allowed = lambda k: any(k == name or k.startswith(f"{name}.") for name in MAY_CHANGE)
    if refused := [k for k in changed if not allowed(k)]:
      raise UserError(
        f"{workdir} belongs to a run with another config (stored -> now):\n"
        + "\n".join(map(show, refused))
        + "\nChoose another --workdir, or give the flags that the run was started with."
      )
    if "total_steps" in changed:
      warnings.append(
        f"total_steps changed ({show('total_steps').strip()}): the learning-rate schedule changes with it."
      )
    if added := [k for k in sorted(new.keys() - old.keys()) if not allowed(k)]:
      values = ", ".join(f"{k} = {json.dumps(new[k])}" for k in added)
      warnings.append(f"the config that {workdir} was started with lacks fields that are used now: {values}.")
  return warnings


def read_config(workdir: str) -> dict:
  """The config of the run in the workdir. UserError where it cannot be read."""
  path = epath.Path(workdir) / "config.json"
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise UserError(f"{path} cannot be read ({error}); restore it or choose another workdir.") from error


def store_config(workdir: str, config: dict) -> None:
  """Makes the workdir this config's; called when everything that can be wrong with it was tried."""
  path = epath.Path(workdir) / "config.json"
  storage.write(path, json.dumps(config, indent=2))


def flatten(tree: dict, prefix: str = "") -> dict:
  """Nested dict -> {"a.b": value}."""
  flat = {}
  for key, value in tree.items():
    flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
  return flat


class MetricsLog:
  """`metrics.jsonl` and TensorBoard. Lines after the step a run goes on from are removed: that work is done again.

  Lines that cannot be written (a full disk) are kept and written with the next one that can.

  Args:
    writes: false in all processes of a run but one.
  """

  def __init__(self, workdir: str, first_step: int, say: Callable[[str], None] = print, writes: bool = True):
    self._path, self.say, self._writes = epath.Path(workdir) / "metrics.jsonl", say, writes
    kept = [row for row in read_metrics(workdir) if row["step"] <= first_step]
    self._evaluated = {row["step"] for row in kept if any(name.startswith("eval/") for name in row)}
    if not writes:
      return
    storage.write(self._path, "".join(json.dumps(row) + "\n" for row in kept))
    self._file = self._path.open("a")
    self._unwritten = ""
    self._tensorboard = tf.summary.create_file_writer(str(epath.Path(workdir) / "tensorboard"))

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """One row; `eval/...` among the metrics marks the step as evaluated."""
    if not self._writes:
      return
    self._unwritten += json.dumps({"step": step, **finite(metrics)}) + "\n"
    try:
      self._file.write(self._unwritten)
      self._file.flush()
      self._unwritten = ""
      _to_tensorboard(self._tensorboard, step, metrics)
    except (OSError, tf.errors.OpError) as error:
      self.say(f"warning: {self._path} cannot be written ({reason(error)}); its lines are kept until it can.")
      self._unwritten = "\n" + self._unwritten.lstrip("\n")  # A line may have been cut off.
      with contextlib.suppress(OSError):
        self._file.close()
      self._file = self._path.open("a")

  def evaluated(self, step: int) -> bool:
    """Whether an evaluation of this step was logged before this run went on."""
    return step in self._evaluated

  def close(self) -> None:
    if not self._writes:
      return
    with contextlib.suppress(OSError, tf.errors.OpError):
      self._file.close()
      self._tensorboard.close()


def log_evaluation(workdir: str, name: str, step: int, metrics: dict[str, float]) -> None:
  """Scalars as a run of their own, `tensorboard/<name>`, beside the training's and under the same tags.

  Each call leaves a file that is complete: TensorBoard follows the newest file of a folder, so that one that another
  process goes on with would never be read again.

  Raises:
    OSError, tf.errors.OpError: it cannot be written.
  """
  writer = tf.summary.create_file_writer(str(epath.Path(workdir) / "tensorboard" / name))
  _to_tensorboard(writer, step, metrics)
  writer.close()


def _to_tensorboard(writer: tf.summary.SummaryWriter, step: int, metrics: dict[str, float]) -> None:
  with writer.as_default(step):
    for name, value in metrics.items():
      tf.summary.scalar(name, value)


def reason(error: BaseException) -> str:
  """What an error says, in a line of readable length, or what it is called."""
  line = (str(error).strip().splitlines() or [type(error).__name__])[0].split(" [tensorstore_spec=")[0]
  return line if len(line) < 300 else f"{line[:100]} ... {line[-180:]}"


def finite(metrics: dict) -> dict:
  """JSON has no NaN and no infinity: such numbers become null."""
  return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in metrics.items()}


def read_metrics(workdir: str) -> list[dict]:
  """The rows of `metrics.jsonl`."""
  return read_json_lines(epath.Path(workdir) / "metrics.jsonl")


def read_json_lines(path: epath.Path) -> list[dict]:
  """One JSON object a line; a line that was cut off while it was written is left out."""
  rows = []
  for line in path.read_text().splitlines() if path.exists() else []:
    try:
      rows.append(json.loads(line))
    except ValueError:
      continue
  return rows


def put_json_line(path: epath.Path, row: dict, same: Sequence[str]) -> None:
  """Adds a row, instead of those that agree with it in the fields `same`."""
  rows = read_json_lines(path)
  others = [other for other in rows if any(other.get(field) != row.get(field) for field in same)]
  if len(others) == len(rows):
    append_json_line(path, row)
  else:
    storage.write(path, "".join(json.dumps(finite(each)) + "\n" for each in [*others, row]))


def append_json_line(path: epath.Path, row: dict) -> None:
  """Adds a row, on a line of its own even where the last one was cut off."""
  cut = path.exists() and not path.read_text().endswith("\n") and path.stat().length > 0
  with path.open("a") as file:
    file.write(("\n" if cut else "") + json.dumps(finite(row)) + "\n")


def write_json(path: epath.Path, content: dict) -> None:
  """Appears complete or not at all."""
  storage.write(path, json.dumps(finite(content), indent=2, sort_keys=True))
