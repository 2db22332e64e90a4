"""Puts runs beside each other in one HTML file: modality-specific and modality-agnostic, rates of DropToken, any others.

  python -m vatt_jax.report --compare=runs/ms,runs/ma --output=ms_ma.html
  python -m vatt_jax.report --compare=runs/drop0,runs/drop50,runs/drop75 --nolook --output=drop_token.html

What differs in their configs, figures beside chance, figures against FLOPs and seconds, curves of training; and, unless
--nolook, densities of right and other pairs, maps and units: for those each run's newest checkpoint is evaluated again,
which takes as long as `evaluate` does. The report of one run alone is its WORKDIR/report.html.
"""

from absl import flags

from vatt_jax import errors


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  flags.DEFINE_list("compare", [], "Workdirs of runs, in the order of the page.", flag_values=values)
  flags.DEFINE_string("output", "", "The HTML file.", flag_values=values)
  flags.DEFINE_list("names", [], "What the page calls them; else the names of their directories.", flag_values=values)
  flags.DEFINE_list(
    "metrics", [], "Figures to show, such as eval/test/top_1; else R@5, top-1 and so on.", flag_values=values
  )
  flags.DEFINE_boolean("look", True, "Evaluate again for densities, maps and units.", flag_values=values)


if __name__ == "__main__":  # Here, so that --help need not wait for JAX and TensorFlow.
  define_flags(flags.FLAGS)
  errors.run(__spec__.name)

import contextlib
import math
import shlex
import sys

from etils import epath
import jax
import ml_collections
import tensorflow as tf

from vatt_jax import jobs, storage
from vatt_jax.data import pipeline
from vatt_jax.evaluation.classification import ClassifiedSet
from vatt_jax.evaluation.embeddings import EmbeddedSet
from vatt_jax.evaluation.report.comparison import Run, write_comparison
from vatt_jax.training import checkpoints, flops, mesh as mesh_lib, workdir as workdir_lib


def main(argv) -> None:
  given = flags.FLAGS
  if len(argv) > 1:
    raise errors.UserError(f"unexpected arguments {' '.join(argv[1:])}; flags begin with --.")
  if not given.compare or not given.output:
    raise errors.UserError("--compare=WORKDIR,WORKDIR,... and --output=FILE.html are needed.")
  names = given.names or [epath.Path(place).name for place in given.compare]
  if len(names) != len(given.compare):
    raise errors.UserError(f"--names has {len(names)} names for {len(given.compare)} runs.")
  for place in given.compare:
    _check_run(place)
  tf.config.set_visible_devices([], "GPU")
  storage.retry_passing_errors()
  jobs.compilation_cache()
  runs = [read(place, name, given.look) for place, name in zip(given.compare, names)]
  unknown = [metric for metric in given.metrics if not any(metric in run.results for run in runs)]
  if unknown:
    known = ", ".join(sorted({key for run in runs for key in run.results if key.startswith("eval/")})) or "none"
    raise errors.UserError(f"no run has the figure {unknown[0]!r}; there are: {known}.")
  write_comparison(given.output, runs, shlex.join(["python", "-m", "vatt_jax.report", *sys.argv[1:]]), given.metrics)
  print(f"report: {given.output}")


def read(workdir: str, name: str, look: bool = False) -> Run:
  """A run as its workdir shows it.

  Args:
    name: for people.
    look: whether its newest checkpoint is evaluated again, for what no log holds.

  Raises:
    UserError: where there is no run, or, with `look`, no checkpoint or data set.
  """
  _check_run(workdir)
  home = epath.Path(workdir)
  config = ml_collections.ConfigDict(workdir_lib.read_config(workdir), convert_dict=True)
  history = workdir_lib.read_metrics(workdir)
  step, results = newest_results(home, history)
  parameters, per_clip, sets, classified, inside = 0, math.nan, (), (), None
  with (
    contextlib.nullcontext() if look else contextlib.suppress(errors.UserError)
  ):  # Without its data a run has logs still.
    inputs = jobs.open_inputs(config, workdir)
    objective = jobs.build_objective(config, inputs)
    batch = pipeline.batch_spec(inputs.options, config.batch_size)
    variables = jax.eval_shape(objective.init, jax.random.key(0), batch)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    per_clip = flops.model_flops(objective, variables, batch) / config.batch_size
  if look:
    mesh = mesh_lib.make_mesh((1, -1, 1))
    checkpoint, variables = checkpoints.read(workdir)
    step = checkpoints.manifest(checkpoint)["step"]
    evaluation = jobs.Evaluation(config, objective.on_mesh(mesh), inputs, mesh)
    variables = jobs.on_devices(variables, mesh)
    results = {**results, **evaluation.run(None, variables)}
    sets, classified = (
      tuple(each for each in evaluation.shown.values() if isinstance(each, kind))
      for kind in (EmbeddedSet, ClassifiedSet)
    )
    inside = evaluation.look_inside(variables)
  flat = workdir_lib.flatten(config.to_dict())
  return Run(name, flat, history, results, step, parameters, per_clip, sets, inside, classified)


def _check_run(workdir: str) -> None:
  if not (epath.Path(workdir) / "config.json").exists():
    raise errors.UserError(f"{workdir} is not the workdir of a run: it has no config.json.")


def newest_results(home: epath.Path, history: list[dict]) -> tuple[int, dict]:
  """(step, figures) of the newest evaluation that the workdir knows: in the log of training, or by `evaluate`."""
  rows = [
    *history,
    *(row for row in workdir_lib.read_json_lines(home / "eval.jsonl") if row.get("evaluation", "own") == "own"),
  ]
  found, step = {}, 0
  for row in sorted(rows, key=lambda row: row["step"]):
    figures = {key: value for key, value in row.items() if key.startswith("eval/") and value is not None}
    if figures:
      found, step = {**found, **figures}, row["step"]
  return step, found
