"""Evaluates checkpoints: retrieval between video, sound and text on held-out clips, next to chance, and a report.

  python -m vatt_jax.evaluate --workdir=runs/first                       # the newest checkpoint of a run
  python -m vatt_jax.evaluate --checkpoint=runs/first/checkpoints/500    # this one
  python -m vatt_jax.evaluate --workdir=runs/first --follow              # every new one, until training is done
  python -m vatt_jax.evaluate --workdir=runs/first --follow --best=eval/validation/top_1
  python -m vatt_jax.evaluate --config=configs/evaluate/probe_ucf101.py --checkpoint=PATH --config.data.directory=DIR

The model and its input come from the checkpoint. --config=FILE (with --config.data.directory=DIR) chooses other
evaluators or another data set; of several directories behind commas, such as official splits or folds, the means are
reported. Figures are printed, appended to WORKDIR/eval.jsonl and shown by TensorBoard (WORKDIR/tensorboard, as the run
"evaluation"); pictures go into WORKDIR/report.html. Several jobs may follow one run: each checkpoint is evaluated by one.
"""

from absl import flags
from ml_collections import config_flags

from vatt_jax import errors


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  config_flags.DEFINE_config_file(
    "config", None, "Evaluators and data set to use instead of the run's own.", flag_values=values
  )
  flags.DEFINE_string("workdir", None, "A run of `train`: its newest checkpoint is evaluated.", flag_values=values)
  flags.DEFINE_string(
    "checkpoint", None, "One checkpoint, WORKDIR/checkpoints/<step>, or a workdir.", flag_values=values
  )
  flags.DEFINE_boolean("follow", False, "Evaluate each new checkpoint until training is done.", flag_values=values)
  flags.DEFINE_string(
    "best", "", "Keep the checkpoint where this figure is best in WORKDIR/best, such as eval/validation/top_1.",
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_float("poll_seconds", 5.0, "How often --follow looks.", lower_bound=0.1, flag_values=values)


if __name__ == "__main__":  # Here, so that --help need not wait for JAX and TensorFlow.
  define_flags(flags.FLAGS)
  errors.run(__spec__.name)

from collections.abc import Callable
import hashlib
import re
import time

from etils import epath
import ml_collections
import tensorflow as tf

from vatt_jax import jobs, storage
from vatt_jax.data import text
from vatt_jax.training import checkpoints, claims, mesh as mesh_lib, processes, workdir as workdir_lib
from vatt_jax.training.best import Best
from vatt_jax.training.processes import say
from vatt_jax.training.watcher import Watcher

EVALUATIONS = "eval.jsonl"
BESIDE = (text.FOLDER, jobs.LABELS, jobs.ENTITIES)  # what a checkpoint needs of its workdir


def main(argv) -> None:
  if len(argv) > 1:
    raise errors.UserError(f"unexpected arguments {' '.join(argv[1:])}; flags begin with --.")
  given = flags.FLAGS
  if bool(given.workdir) == bool(given.checkpoint):
    raise errors.UserError("give either --workdir=DIR of a run or --checkpoint=PATH.")
  if given.follow and not given.workdir:
    raise errors.UserError("--follow needs --workdir=DIR: one checkpoint has no successors.")
  if given.best and not given.workdir:
    raise errors.UserError("--best needs --workdir=DIR, where it keeps the best checkpoint.")
  place = given.workdir or given.checkpoint
  if not epath.Path(place).exists() and not given.follow:
    raise errors.UserError(f"{place} does not exist.")
  tf.config.set_visible_devices([], "GPU")
  processes.start()
  storage.retry_passing_errors()
  jobs.compilation_cache()
  if given.follow:
    with errors.cleaning_up():  # Its claims are given back.
      follow(place, given.config, given.poll_seconds, given.best)
  else:
    checkpoint, variables = checkpoints.read(place)
    evaluate(checkpoint, given.config, best=given.best, variables=variables)


def evaluate(
  checkpoint: epath.Path, override: ml_collections.ConfigDict | None, *, when: str | None = None, best: str = "",
  is_mine: Callable[[], bool] = lambda: True, variables: dict | None = None,
) -> dict[str, float]:  # fmt: skip
  """Evaluates one checkpoint, prints, and writes into its workdir; returns the metrics, {} where there is nothing to do.

  Args:
    override: a config whose evaluators and data set are used instead of the run's own.
    when: "every" or "final": only the evaluators so marked, so that a test set is looked at once. None: all.
    best: a figure: the checkpoint where it is best is kept in WORKDIR/best.
    is_mine: whether the results are still wanted, asked before they are written.
    variables: of the checkpoint, where they were read already.
  """
  workdir = checkpoints.home(checkpoint)
  manifest = checkpoints.manifest(checkpoint)
  config = ml_collections.ConfigDict(manifest["config"], convert_dict=True)
  if override is not None:
    take_over(config, override)
  mine = [name for name, evaluator in config.evaluators.items() if when in (None, evaluator.when)]
  if not mine:
    say(f"step {manifest['step']}: no evaluator is marked {when!r}.")
    return {}
  keeper = _keeper(workdir, best, config, mine) if best and processes.is_first() else None
  turns = claims.Claims(str(workdir / claims.FOLDER))
  if keeper:
    with turns.turn("writing"):
      keeper.hold(checkpoint, {name.rsplit("-", 1)[-1] for name in turns.names()})
  mesh = mesh_lib.make_mesh((1, -1, 1))
  variables = jobs.on_devices(checkpoints.restore_variables(checkpoint) if variables is None else variables, mesh)
  found, shown = [], {}
  place = config.data.directory
  for directory in [place] if not place or epath.Path(place).exists() else jobs.starts(place):
    config.data.directory = directory
    inputs = jobs.open_inputs(config, str(workdir))
    evaluation = jobs.Evaluation(config, jobs.build_objective(config, inputs).on_mesh(mesh), inputs, mesh, say)
    found.append(evaluation.run(when, variables, progress=processes.is_first()))
    shown |= evaluation.shown
    if not found[-1]:
      nothing = f"nothing could be evaluated on {inputs.directory}; the lines above say why."
      if when is None:
        raise errors.UserError(nothing)
      say(f"step {manifest['step']}: {nothing}")  # A run may lack what some of its evaluators ask for.
      return {}
  metrics = mean(found)
  say(f"step {manifest['step']} of {workdir}\n{table(metrics)}")
  look = evaluation.look_inside(variables)
  if processes.is_first():
    with turns.turn("writing"):  # Other jobs may follow the same run.
      if not is_mine():
        say(f"step {manifest['step']}: another job took this over, so nothing is written.")
        return metrics
      if keeper and keeper.offer(manifest["step"], metrics):
        say(f"step {manifest['step']} is the best so far, {best} = {metrics[best]:.4g}, and kept in {keeper.place}.")
      row = {"step": manifest["step"], "evaluators": when or "all", "evaluation": identity(override), **metrics}
      workdir_lib.put_json_line(workdir / EVALUATIONS, row, same=("step", "evaluators", "evaluation"))
      name = "evaluation" if override is None else f"evaluation_{identity(override)}"
      workdir_lib.log_evaluation(str(workdir), name, manifest["step"], metrics)
      jobs.write_report(str(workdir), config, metrics, shown, look)
  say(f"report: {workdir / 'report.html'}")
  return metrics


def _keeper(workdir, metric, config, evaluators) -> Best | None:
  """None where the figure is of another evaluator than those that run now."""
  found = re.fullmatch(r"eval/([^/]+)/.+", metric)
  if not found or found[1] not in config.evaluators:
    raise errors.UserError(
      f"--best={metric} is not eval/<set>/<figure> with one of the sets {', '.join(config.evaluators)}."
    )
  return Best(str(workdir), metric, BESIDE) if found[1] in evaluators else None


def take_over(config: ml_collections.ConfigDict, override: ml_collections.ConfigDict) -> None:
  """Puts the evaluators and the data set of another config into that of a run, in place.

  Where `override` describes no model (configs/evaluate), its fields of `data.video`, `data.audio` and `data.text` hold too,
  such as the rate at which frames are picked; of a training config they belong to its own model.
  """
  config.evaluators = override.evaluators
  config.data.directory = override.data.directory or config.data.directory
  if "model" not in override:
    for track in ("video", "audio", "text"):
      if track in override.data and track in config.data:
        config.data[track].update(override.data[track])


def mean(found: list[dict[str, float]]) -> dict[str, float]:
  """The means of what all data sets have, and of several each one's own as `eval/<set>/fold_<i>/...`, i from 1."""
  if len(found) == 1:
    return found[0]
  common = [key for key in found[0] if all(key in each for each in found)]
  metrics = {key: sum(each[key] for each in found) / len(found) for key in common}
  for i, each in enumerate(found, 1):
    for key, value in each.items():
      _, name, rest = key.split("/", 2)
      metrics[f"eval/{name}/fold_{i}/{rest}"] = value
  return metrics


def identity(override: ml_collections.ConfigDict | None) -> str:
  """Of an evaluation: what was done by one config is not done by another."""
  return (
    hashlib.sha256(override.to_json_best_effort(sort_keys=True).encode()).hexdigest()[:12]
    if override is not None
    else "own"
  )


def follow(
  workdir: str,
  override: ml_collections.ConfigDict | None,
  poll_seconds: float,
  best: str = "",
  silent_seconds: float = 60.0,
) -> None:
  """Evaluates the checkpoints of a run as they appear, each once, until the run has written its results.

  Several jobs may follow one run, each of one process or of several: a checkpoint is claimed before it is evaluated, and
  the claim of a job that was silent for `silent_seconds` is taken over.

  Evaluators marked "final" wait for the last checkpoint. A trainer that died or is slow is told once, and waited for.
  """
  watcher, work = Watcher(workdir, silent_seconds), _Work(workdir, identity(override), silent_seconds)
  if not checkpoints.steps(workdir) and not work.finished():
    say(f"there is no checkpoint in {workdir} yet; waiting for the first one.")
  while True:
    state, step, which = processes.first_decides(work.next)
    if state == _DONE:
      return
    if state == _WAIT:
      news = watcher.look()
      if news and not work.finished():  # It ends when it has written them.
        say(news)
      time.sleep(poll_seconds)
      continue
    checkpoint, when = epath.Path(workdir) / checkpoints.FOLDER / str(step), _WHEN[which]
    try:
      evaluate(checkpoint, override, when=None if when == "all" else when, best=best, is_mine=work.is_mine)
    except Exception as error:
      if _is_removed(checkpoint):
        say(f"checkpoint {step} was removed by its run before it was evaluated.")
      elif isinstance(error, checkpoints.Damaged):
        say(f"{error} It is left out.")
      else:
        raise
    finally:
      work.give_back(step, when)


_DONE, _WAIT, _EVALUATE = range(3)
_WHEN = ("every", "final", "all")


class _Work:
  """What there is to do in the workdir of a run, shared with other jobs that follow it."""

  def __init__(self, workdir: str, evaluation: str, silent_seconds: float):
    self._workdir, self._evaluation = epath.Path(workdir), evaluation
    self._claims = claims.Claims(str(self._workdir / claims.FOLDER), silent_seconds)
    self._claim: claims.Claim | None = None
    self._seen: set[tuple[int, str]] = set()  # by this job; checkpoints that were removed leave no row
    self._told = ""

  def finished(self) -> bool:
    return (self._workdir / "results.json").exists()

  def next(self) -> tuple[int, int, int]:
    """(_EVALUATE, step, number in `_WHEN`), which is then claimed; or that all is done, or others are at what is left."""
    finished = self.finished()
    todo = self._todo(finished)
    for step, _ in todo:
      self._claim = self._claims.take(self._name(step))
      if self._claim is None:
        self._tell(f"checkpoint {step} is being evaluated by {self._claims.owner(self._name(step))}.")
        continue
      mine = [when for one, when in self._todo(finished) if one == step]  # It may have been done a moment ago.
      if mine:
        return _EVALUATE, step, _WHEN.index(mine[0])
      self._release()
    return (_WAIT if todo or not finished else _DONE), 0, 0

  def is_mine(self) -> bool:
    """Whether nobody thought this job dead and took its work over."""
    return self._claim is None or self._claim.held()

  def give_back(self, step: int, when: str) -> None:
    """After an evaluation, however it ended."""
    self._seen.add((step, when))
    self._release()

  def _release(self) -> None:
    if self._claim is not None:
      self._claim.give_back()
    self._claim = None

  def _todo(self, finished: bool) -> list[tuple[int, str]]:
    rows = workdir_lib.read_json_lines(self._workdir / EVALUATIONS)
    mine = [row for row in rows if row.get("evaluation", "own") == self._evaluation]
    done = {(row["step"], row.get("evaluators", "all")) for row in mine} | self._seen
    return _todo(checkpoints.steps(str(self._workdir)), finished, done)

  def _name(self, step: int) -> str:
    return f"{self._evaluation}-{step}"

  def _tell(self, line: str) -> None:
    if line != self._told:
      say(line)
    self._told = line


def _todo(found: list[int], finished: bool, done: set[tuple[int, str]]) -> list[tuple[int, str]]:
  """(step, which evaluators): those marked "every" for each checkpoint, all or what is left of them for the last one."""
  open_ = lambda step, when: not done & {(step, when), (step, "all")}
  todo = [(step, "every") for step in found if open_(step, "every")]
  if finished and found and open_(found[-1], "final"):
    last = (found[-1], "every")
    return [each for each in todo if each != last] + [(found[-1], "all" if last in todo else "final")]
  return todo


def _is_removed(checkpoint: epath.Path, patience_seconds: float = 3.0) -> bool:
  """Whether it is gone, or goes within this time: removing many files takes a moment."""
  for _ in range(10):
    if not (checkpoint / checkpoints.MANIFEST).exists():
      return True
    time.sleep(patience_seconds / 10)
  return False


def table(metrics: dict[str, float]) -> str:
  """Retrieval: a line for each set and direction, recall with chance behind it. Anything else: a line a figure."""
  directions = sorted(key.rsplit("/", 1)[0] for key in metrics if key.endswith("/median_rank"))
  lines = [f"{'':34s} {'R@1':>15s} {'R@5':>15s} {'R@10':>15s}  median rank"] if directions else []
  for name in directions:
    cells = [
      f"{100 * metrics[f'{name}/recall_at_{k}']:5.1f} ({100 * metrics[f'{name}/chance_recall_at_{k}']:5.1f} %)"
      for k in (1, 5, 10)
    ]
    lines.append(
      f"{name.removeprefix('eval/'):34s} {' '.join(f'{c:>15s}' for c in cells)}  {metrics[f'{name}/median_rank']:11.1f}"
    )
  if directions:
    lines.append("(in brackets: chance)")
  others = sorted(key for key in metrics if key.rsplit("/", 1)[0] not in directions)
  return "\n".join([*lines, *(f"{key.removeprefix('eval/'):34s} {metrics[key]:15.4g}" for key in others)])
