"""What training and evaluation share: from a config to inputs, objective and evaluators, and what they write."""

from collections.abc import Callable
import dataclasses
import importlib.metadata
import platform
import shlex
import sys

from etils import epath
import jax
import jax.numpy as jnp
import ml_collections

from vatt_jax import objectives
from vatt_jax.cache import cache_directory
from vatt_jax.data import audio, pipeline, records as records_lib, text, video
from vatt_jax.errors import UserError
from vatt_jax.evaluation import evaluators
from vatt_jax.evaluation.report import write_report as _write_report
from vatt_jax.evaluation.retrieval import NothingToCompare
from vatt_jax.training import checkpoints, mesh as mesh_lib, sharding, workdir as workdir_lib
from vatt_jax.training.state import State

TOKENIZER = "tokenizer/sentencepiece.model"


@dataclasses.dataclass(frozen=True)
class Inputs:
  """The data side of a run.

  Attributes:
    directory: of the prepared data set.
    options: how records become examples.
    tokenizer: None where the data set has no captions.
  """

  directory: str
  options: pipeline.InputOptions
  tokenizer: text.SentencePiece | None

  @property
  def vocabulary_size(self) -> int:
    return self.tokenizer.vocabulary_size if self.tokenizer else 0


def input_options(data: ml_collections.ConfigDict) -> pipeline.InputOptions:
  """`config.data` -> options. UserError for unknown fields or values that do not fit together."""
  fields = lambda node: {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in node.to_dict().items()}
  try:
    return pipeline.InputOptions(
      video.VideoOptions(**fields(data.video)),
      audio.AudioOptions(**fields(data.audio)),
      text.TextOptions(**fields(data.text)),
    )
  except (TypeError, ValueError) as error:
    raise UserError(f"config.data cannot be used: {error}.") from error


def open_inputs(config: ml_collections.ConfigDict, workdir: str) -> Inputs:
  """Opens the data set; without a directory in the config, miniature clips are made in the workdir.

  The tokenizer of the workdir comes first, then that of `init_from`: their weights know no other.
  """
  directory = config.data.directory
  if not directory:
    from vatt_jax.preparation import miniature  # Media libraries are not needed otherwise.

    directory = miniature.prepare(str(epath.Path(workdir) / "miniature"))
  start = epath.Path(config.init_from or workdir)  # a workdir, or one of its checkpoints/<step>
  if start.parent.name == checkpoints.FOLDER:
    start = start.parent.parent
  homes = (epath.Path(workdir), start, epath.Path(directory))
  path = next((home / TOKENIZER for home in homes if (home / TOKENIZER).exists()), None)
  return Inputs(directory, input_options(config.data), text.SentencePiece(str(path)) if path else None)


def keep_tokenizer(inputs: Inputs, workdir: str) -> None:
  """Copies the vocabulary beside the weights that are trained with it."""
  path = epath.Path(workdir) / TOKENIZER
  if inputs.tokenizer and not path.exists():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(inputs.tokenizer.model)


def build_objective(config: ml_collections.ConfigDict, inputs: Inputs):
  return objectives.build(config, inputs.options, inputs.vocabulary_size)


class Evaluation:
  """The evaluators of a config, ready to run on any variables of its model.

  Evaluators of splits that the data set does not have are left out, and so are sets in which nothing can be compared;
  `say` tells which and why.

  Attributes:
    embedded: name -> the set as it was embedded in the last run, for the report.
  """

  def __init__(self, config, objective, inputs: Inputs, mesh, say: Callable[[str], None] = print):
    self._inputs, self._mesh, self._spaces, self._say = inputs, mesh, objective.spaces, say
    self._shards = mesh.shape["replica"] * mesh.shape["data"]
    self._encode = jax.jit(objective.encode, out_shardings=mesh_lib.replicated(mesh))
    self._evaluators = {}
    self.embedded = {}
    splits = records_lib.splits(inputs.directory)
    for name, evaluator in config.evaluators.items():
      if evaluator.split in splits:
        self._evaluators[name] = evaluator
      else:
        say(
          f"evaluator {name!r} is left out: the data set has no split {evaluator.split!r}, it has {', '.join(splits)}."
        )

  def run(self, when: str | None, variables: dict, progress: bool = True) -> dict[str, float]:
    """Runs the evaluators marked `when` ("every", "final"), or all for None, and returns their metrics."""
    metrics = {}
    for name, evaluator in self._evaluators.items():
      if when not in (None, evaluator.when):
        continue
      try:
        result = evaluators.run(
            name, evaluator, -(-evaluator.batch_size // self._shards) * self._shards, self._encode, variables, self._spaces, self._inputs.directory, self._inputs.options,
            self._inputs.tokenizer, place=lambda batch: mesh_lib.to_devices(batch, self._mesh), progress=progress,
        )  # fmt: skip
      except NothingToCompare as error:
        self._say(f"evaluator {name!r}: {error}")
        continue
      metrics |= result.metrics
      self.embedded[name] = result.embedded
    return metrics


def on_devices(tree: dict, mesh) -> dict:
  """Host arrays as arrays that every device of the mesh holds."""
  return jax.device_put(tree, mesh_lib.replicated(mesh))


def load_parameters(state: State, place: str) -> State:
  """The parameters and batch statistics of another run's checkpoint in a fresh state.

  Raises:
    UserError: naming what is missing, unexpected or of another shape.
  """
  loaded = checkpoints.restore_variables(checkpoints.find(place))
  mine = {"params": state.params, **state.model_state}
  names = lambda tree: {sharding.path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
  have, want = names(loaded), names(mine)
  wrong = [f"missing {name}" for name in want.keys() - have.keys()]
  wrong += [f"unexpected {name}" for name in have.keys() - want.keys()]
  wrong += [
    f"{n} is {have[n].shape}, not {want[n].shape}" for n in have.keys() & want.keys() if have[n].shape != want[n].shape
  ]
  if wrong:
    raise UserError(f"{place} does not fit this model:\n  " + "\n  ".join(sorted(wrong)[:20]))
  placed = jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), loaded, mine)
  params = placed.pop("params")
  return state.replace(params=params, model_state=placed, ema=jax.tree.map(jnp.copy, params) if state.ema else {})


def write_report(workdir: str, config, results: dict, embedded: dict) -> None:
  """`report.html` from what a run measured and the sets it was evaluated on."""
  program = epath.Path(sys.argv[0]).stem
  _write_report(
    str(epath.Path(workdir) / "report.html"),
    title=f"{epath.Path(workdir).name}: {config.objective.name}",
    subtitle=f"{config.total_steps:,} steps of {config.batch_size} clips",
    history=workdir_lib.read_metrics(workdir),
    results=results,
    sets=list(embedded.values()),
    config_text=str(config),
    command=shlex.join(["python", "-m", f"vatt_jax.{program}", *sys.argv[1:]]),
  )


def describe(params) -> dict[str, str]:
  """Path -> "dtype[shape]" of every parameter."""
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return {sharding.path_name(path): f"{leaf.dtype.name}{list(leaf.shape)}" for path, leaf in leaves}


def versions() -> dict[str, str]:
  """Of what decides the numbers of a run; libraries that are not installed are left out."""
  names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-cpu", "tensorflow-datasets", "numpy")
  found = {"python": platform.python_version()}
  for name in names:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found


def compilation_cache() -> None:
  """Compiled programs are kept between runs, so that going on does not compile again."""
  jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "xla"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
