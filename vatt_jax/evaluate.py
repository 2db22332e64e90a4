"""Evaluates checkpoints: retrieval between video, sound and text on held-out clips, next to chance, and a report.

  python -m vatt_jax.evaluate --workdir=runs/first                       # the newest checkpoint of a run
  python -m vatt_jax.evaluate --checkpoint=runs/first/checkpoints/500    # this one
  python -m vatt_jax.evaluate --workdir=runs/first --follow              # every new one, until training is done

  python -m vatt_jax.evaluate --config=configs/evaluate/probe_ucf101.py --checkpoint=PATH --config.data.directory=DIR

The model and its input come from the checkpoint. --config=FILE (with --config.data.directory=DIR) chooses other
evaluators or another data set; of several directories behind commas, such as official splits or folds, the means are
reported. Figures are printed and appended to WORKDIR/eval.jsonl; pictures go into WORKDIR/report.html.
"""

import time

from absl import flags
from etils import epath
import ml_collections
from ml_collections import config_flags
import tensorflow as tf

from vatt_jax import errors, jobs, storage
from vatt_jax.training import checkpoints, mesh as mesh_lib, processes, workdir as workdir_lib
from vatt_jax.training.processes import say

EVALUATIONS = "eval.jsonl"


def main(argv) -> None:
  if len(argv) > 1:
    raise errors.UserError(f"unexpected arguments {' '.join(argv[1:])}; flags begin with --.")
  given = flags.FLAGS
  if bool(given.workdir) == bool(given.checkpoint):
    raise errors.UserError("give either --workdir=DIR of a run or --checkpoint=PATH.")
  if given.follow and not given.workdir:
    raise errors.UserError("--follow needs --workdir=DIR: one checkpoint has no successors.")
  place = given.workdir or given.checkpoint
  if not epath.Path(place).exists() and not given.follow:
    raise errors.UserError(f"{place} does not exist.")
  tf.config.set_visible_devices([], "GPU")
  processes.start()
  storage.retry_passing_errors()
  jobs.compilation_cache()
  if given.follow:
    follow(place, given.config, given.poll_seconds)
  else:
    evaluate(checkpoints.find(place), given.config)


def evaluate(
  checkpoint: epath.Path, override: ml_collections.ConfigDict | None, *, unfinished: bool = False
) -> dict[str, float]:
  """Evaluates one checkpoint, prints, and writes into its workdir; returns the metrics.

  Args:
    override: a config whose evaluators and data set are used instead of the run's own.
    unfinished: the run goes on: only the evaluators marked "every", so that a test set is looked at once.
  """
  workdir = checkpoints.home(checkpoint)
  manifest = checkpoints.manifest(checkpoint)
  config = ml_collections.ConfigDict(manifest["config"], convert_dict=True)
  if override is not None:
    take_over(config, override)
  mesh = mesh_lib.make_mesh((1, -1, 1))
  variables = jobs.on_devices(checkpoints.restore_variables(checkpoint), mesh)
  found, embedded = [], {}
  for directory in jobs.starts(config.data.directory) or [""]:
    config.data.directory = directory
    inputs = jobs.open_inputs(config, str(workdir))
    evaluation = jobs.Evaluation(config, jobs.build_objective(config, inputs).on_mesh(mesh), inputs, mesh, say)
    found.append(evaluation.run("every" if unfinished else None, variables, progress=processes.is_first()))
    embedded |= evaluation.embedded
    if not found[-1]:
      raise errors.UserError(f"nothing could be evaluated on {inputs.directory}; the lines above say why.")
  metrics = mean(found)
  say(f"step {manifest['step']} of {workdir}\n{table(metrics)}")
  if processes.is_first():
    workdir_lib.append_json_line(workdir / EVALUATIONS, {"step": manifest["step"], **metrics})
    jobs.write_report(str(workdir), config, metrics, embedded)
  say(f"report: {workdir / 'report.html'}")
  return metrics


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


def follow(workdir: str, override: ml_collections.ConfigDict | None, poll_seconds: float) -> None:
  """Evaluates the checkpoints of a run as they appear, each once, until the run has written its results."""
  done = {row["step"] for row in workdir_lib.read_json_lines(epath.Path(workdir) / EVALUATIONS)}
  while True:
    finished = (epath.Path(workdir) / "results.json").exists()
    found = checkpoints.steps(workdir)
    new = [step for step in found if step not in done]
    for step in new:
      checkpoint = epath.Path(workdir) / checkpoints.FOLDER / str(step)
      try:
        evaluate(checkpoint, override, unfinished=not (finished and step == found[-1]))
      except Exception:
        if checkpoint.exists():
          raise
        say(f"checkpoint {step} was removed by its run before it was evaluated.")
      done.add(step)
    if finished and not new:
      return
    if not new:
      time.sleep(poll_seconds)


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
  flags.DEFINE_float("poll_seconds", 5.0, "How often --follow looks.", lower_bound=0.1, flag_values=values)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  errors.run(main)
