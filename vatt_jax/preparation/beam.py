"""Decoding on an Apache Beam runner: any number of machines that see the folders of the media and of the output.

Beam does what worker processes do, it decodes units into the cache. What follows is done by the program that started it,
so the records are the same, and a run that was killed goes on from what is decoded.
"""

from collections.abc import Callable, Iterator, Sequence
import functools
import json
import shlex
from typing import Any

from etils import epath

from vatt_jax.errors import UserError
from vatt_jax.preparation.units import Problem


def each(
  function: Callable[[Any], Problem | None], tasks: Sequence[Any], *, options: str, folder: epath.Path
) -> Iterator[tuple[Any, Problem | None]]:
  """Calls `function` on every task on the runner and, when all are done, yields (task, result) in their order.

  Args:
    function: picklable.
    tasks: picklable.
    options: of the pipeline, as on a command line; "" is the local runner.
    folder: where machines leave their results for this one; emptied.

  Raises:
    UserError: Beam is not installed, or has no such runner. Options that it does not know go to the runner as they are.
  """
  try:
    import apache_beam
    from apache_beam.options.pipeline_options import PipelineOptions
  except ImportError:
    raise UserError("--beam needs Apache Beam: pip install -r launch/beam-requirements.txt.") from None
  if folder.exists():
    folder.rmtree()
  folder.mkdir(parents=True)
  try:
    pipeline = apache_beam.Pipeline(options=PipelineOptions(shlex.split(options)))
  except ValueError as error:
    raise UserError(f"--beam={options!r} cannot be used: {error}") from error
  with pipeline:
    (
      pipeline
      | apache_beam.Create(list(enumerate(tasks)))
      | apache_beam.Reshuffle()  # Else the runner may keep all of them on one machine.
      | apache_beam.FlatMap(functools.partial(_work, function))
      | apache_beam.io.WriteToText(str(folder / "problems"))
    )
  found = {}
  for path in folder.glob("problems*"):
    for line in path.read_text().splitlines():
      number, *problem = json.loads(line)
      found[number] = Problem(*problem)
  for number, task in enumerate(tasks):
    yield task, found.get(number)


def _work(function, numbered):
  number, task = numbered
  if problem := function(task):
    yield json.dumps([number, problem.file, problem.reason])
