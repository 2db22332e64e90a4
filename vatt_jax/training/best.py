"""The best checkpoint of a run by a figure, kept in WORKDIR/best when the run removes its own."""

from collections.abc import Collection, Sequence
import json
import math
import os

from etils import epath

from vatt_jax import storage
from vatt_jax.errors import UserError
from vatt_jax.training import checkpoints

FOLDER = "best"
WHY = "best.json"


class Best:
  """WORKDIR/best: {state, manifest.json}, what a model needs beside it, and best.json: {"metric", "value", "step"}.

  It is a checkpoint directory as others are: `--checkpoint=WORKDIR/best`.

  Args:
    workdir: of the run.
    metric: such as "eval/validation/top_1". Larger is better, but for ranks and losses.
    beside: names of files and folders in the workdir that the weights need, such as the vocabulary; those that exist.

  Attributes:
    place: WORKDIR/best.
  """

  def __init__(self, workdir: str, metric: str, beside: Sequence[str] = ()):
    self._workdir, self._metric, self._beside = epath.Path(workdir), metric, beside
    self.place = self._workdir / FOLDER
    self._held, self._old = self._workdir / f".{FOLDER}.held", self._workdir / f".{FOLDER}.old"

  def hold(self, checkpoint: epath.Path, others: Collection[str] = ()) -> None:
    """Takes a copy before the checkpoint is evaluated: the run may remove it meanwhile. On one disk nothing is copied.

    Args:
      others: names of checkpoints that other jobs evaluate now; what is held beside those was left by a job that ended.

    Raises:
      FileNotFoundError: it is gone already.
    """
    if self._old.exists() and not self.place.exists():  # A process ended between two renames.
      self._old.rename(self.place)
    begin = f".{FOLDER}.held."
    left = [path for path in self._workdir.iterdir() if path.name.startswith(begin)]
    for path in [self._old, *left]:
      if path.name.removeprefix(begin) not in set(others) - {checkpoint.name}:
        path.rmtree(missing_ok=True)
    self._held = self._workdir / f"{begin}{checkpoint.name}"
    _copy(checkpoint, self._held)
    for name in self._beside:
      if (self._workdir / name).exists():
        _copy(self._workdir / name, self._held / name)

  def offer(self, step: int, metrics: dict[str, float]) -> bool:
    """Keeps what was held if its figure is better than that of what is kept; whether it was.

    Raises:
      UserError: where there is no such figure.
    """
    if self._metric not in metrics:
      self._held.rmtree(missing_ok=True)
      raise UserError(f"there is no figure {self._metric!r}; this evaluation has: {', '.join(sorted(metrics))}.")
    value = metrics[self._metric]
    if not math.isfinite(value) or not self._is_better(value):
      self._held.rmtree(missing_ok=True)
      return False
    storage.write(self._held / WHY, json.dumps({"metric": self._metric, "value": value, "step": step}))
    if self.place.exists():
      self.place.rename(self._old)
    self._held.rename(self.place)
    self._old.rmtree(missing_ok=True)
    return True

  def _is_better(self, value: float) -> bool:
    kept = self.place / WHY
    if not kept.exists() or not (self.place / checkpoints.MANIFEST).exists():
      return True
    before = json.loads(kept.read_text())
    if before["metric"] != self._metric:
      return True
    return value < before["value"] if smaller_is_better(self._metric) else value > before["value"]


def smaller_is_better(metric: str) -> bool:
  """Of ranks and losses."""
  return metric.endswith("_rank") or "loss" in metric.split("/")


def _copy(source: epath.Path, target: epath.Path) -> None:
  """Files are shared where the file system can: checkpoints are never written to, only removed."""
  if source.is_dir():
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
      _copy(path, target / path.name)
    return
  try:
    os.link(source, target)
  except OSError:
    source.copy(target)
