"""What training and evaluation share: from a config to inputs, objective and evaluators, and what they write."""

from collections.abc import Callable
import dataclasses
import functools
import importlib.metadata
import operator
import platform
import re
import shlex
import sys

from etils import epath
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import ml_collections

from vatt_jax import objectives, storage
from vatt_jax.cache import cache_directory
from vatt_jax.data import audio, label, pipeline, records as records_lib, remote, text, video
from vatt_jax.errors import UserError
from vatt_jax.evaluation import evaluators
from vatt_jax.evaluation.classification import ClassifiedSet
from vatt_jax.evaluation.embeddings import EmbeddedSet
from vatt_jax.evaluation.inside import FOLLOWED, Inside, look_inside
from vatt_jax.evaluation.report import write_report as _write_report
from vatt_jax.evaluation.report.page import Section
from vatt_jax.evaluation.retrieval import NothingToCompare
from vatt_jax.models import positions
from vatt_jax.objectives import inside
from vatt_jax.training import (
  checkpoints,
  mesh as mesh_lib,
  processes,
  setup as setup_lib,
  sharding,
  workdir as workdir_lib,
)
from vatt_jax.training.state import State

ENTITIES = "entities.txt"  # of a prompter, and of a model that it teaches: its entities, one a line
LABELS = "labels.txt"  # of a workdir: the classes that its model knows, one a line


@dataclasses.dataclass(frozen=True)
class Inputs:
  """The data side of a run.

  Attributes:
    directory: of the prepared data set.
    options: how records become examples.
    tokenizer: None where the data set has no captions.
    entities: what a prompter's prompts stand for, one a line; empty where there is none.
  """

  directory: str
  options: pipeline.InputOptions
  tokenizer: text.Tokenizer | None
  entities: bytes = b""

  @property
  def vocabulary_size(self) -> int:
    return self.tokenizer.vocabulary_size if self.tokenizer else 0


def input_options(data: ml_collections.ConfigDict, labels: tuple[str, ...] = ()) -> pipeline.InputOptions:
  """`config.data` -> options. UserError for unknown fields or values that do not fit together.

  Args:
    labels: names of the classes; none when only shapes are wanted.
  """
  kinds = {"video": video.VideoOptions, "audio": audio.AudioOptions, "text": text.TextOptions}
  fields = lambda node: {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in node.to_dict().items()}
  try:
    read = {name: kind(**fields(data[name])) for name, kind in kinds.items() if data.get(name) is not None}
    if data.get("label") is not None:
      read["label"] = label.LabelOptions(**fields(data.label), names=labels)
    return pipeline.InputOptions(**read, spans=data.get("clip_spans", False))
  except (TypeError, ValueError) as error:
    raise UserError(f"config.data cannot be used: {error}.") from error


@dataclasses.dataclass(frozen=True)
class Trained:
  """A checkpoint, opened: what it takes to run its model.

  Attributes:
    place: of the checkpoint.
    config: of the run that made it, with `entities`, names of what a prompter knows.
    objective, options, tokenizer: as they were in training.
    variables: host arrays {"params": ..., ...}.
  """

  place: epath.Path
  config: ml_collections.ConfigDict
  objective: object
  options: pipeline.InputOptions
  tokenizer: text.Tokenizer | None
  variables: dict


def open_checkpoint(place: str) -> Trained:
  """The model of a workdir (its newest checkpoint), of one `checkpoints/<step>`, or of a converted directory.

  Raises:
    UserError: where there is no checkpoint that can be read.
  """
  checkpoint, variables = checkpoints.read(place)
  home = checkpoints.home(checkpoint)
  config = ml_collections.ConfigDict(checkpoints.manifest(checkpoint)["config"], convert_dict=True)
  kept, named = home / LABELS, home / ENTITIES
  config.entities = named.read_text().splitlines() if named.exists() else []
  options = input_options(config.data, tuple(kept.read_text().splitlines()) if kept.exists() else ())
  special = options.text is not None and options.text.special_tokens
  tokenizer = text.load_tokenizer(home, special_tokens=special)
  objective = objectives.build(config, options, tokenizer.vocabulary_size if tokenizer else 0)
  return Trained(checkpoint, config, objective, options, tokenizer, variables)


def starts(init_from: str) -> list[str]:
  """The places of `config.init_from`: one, or several behind commas, each with a part of the model."""
  return [place.strip() for place in init_from.split(",") if place.strip()]


def complete(config: ml_collections.ConfigDict, workdir: str) -> None:
  """Fills, in place, what the config leaves open: from the run in the workdir, else from what it starts from."""
  stored = epath.Path(workdir) / "config.json"
  source = None
  if stored.exists():
    source = workdir_lib.read_config(workdir)
  elif config.init_from:
    source = _together([checkpoints.read_manifest(place)["config"] for place in starts(config.init_from)])
  objectives.inherit(config, source)


def _together(configs: list[dict]) -> dict:
  """The first of several configs; what its model does not say (0, -1, "") is that of the next one which does."""
  said = [{k: v for k, v in config["model"].items() if v not in (0, -1, "")} for config in reversed(configs)]
  return {**configs[0], "model": functools.reduce(operator.or_, said, configs[0]["model"])}


def open_inputs(config: ml_collections.ConfigDict, workdir: str) -> Inputs:
  """Opens the data set; without a directory in the config, miniature clips are made in the workdir.

  The tokenizer and the classes of the workdir come first, then those of `init_from`: their weights know no other.
  """
  directory = config.data.directory
  if not directory and config.data.get("mixture"):
    directory = mixture(config.data)[0][0]
  if not directory:
    from vatt_jax.preparation import miniature  # Media libraries are not needed otherwise.

    place = cache_directory() if "://" in workdir else epath.Path(workdir)
    directory = processes.first_then_others(lambda: miniature.prepare(str(place / "miniature")))
  directory = remote.local_copy(directory)
  homes = [checkpoints.home(epath.Path(place)) for place in starts(config.init_from)]
  names = ()
  if config.data.get("label") is not None:
    kept = epath.Path(workdir) / LABELS
    names = tuple(kept.read_text().splitlines()) if kept.exists() else _class_names(config.data, directory)
  options = input_options(config.data, names)
  special = options.text is not None and options.text.special_tokens
  tokenizer = text.load_tokenizer(workdir, *homes, directory, special_tokens=special) if options.text else None
  named = [path for home in (epath.Path(workdir), *homes) if (path := home / ENTITIES).exists()]
  return Inputs(directory, options, tokenizer, named[0].read_bytes() if named else b"")


def mixture(data: ml_collections.ConfigDict) -> list[tuple[str, int]]:
  """`config.data.mixture` as (directory, weight) pairs; UserError where it is none."""
  try:
    pairs = [(remote.local_copy(str(directory)), int(weight)) for directory, weight in data.mixture]
    if all(directory and weight > 0 for directory, weight in pairs) and data.mixture_by in ("example", "batch"):
      return pairs
  except (TypeError, ValueError):
    pass
  raise UserError(
    f"config.data.mixture = {data.mixture} by {data.mixture_by!r} cannot be used: it is a list of (directory, weight), "
    'weights are whole and positive, and mixture_by is "example" or "batch".'
  )


def _class_names(data: ml_collections.ConfigDict, directory: str) -> tuple[str, ...]:
  """The labels of the data set; for questions its most frequent answers, as many as the config has classes."""
  if data.get("text") is None or data.text.get("examples") != "questions":
    return tuple(records_lib.labels(directory))
  return tuple(records_lib.answers(directory)[: data.label.classes or None])


def keep_vocabularies(inputs: Inputs, workdir: str) -> None:
  """Copies tokenizer and class names beside the weights that are trained with them."""
  if inputs.tokenizer:
    text.save_tokenizer(inputs.tokenizer, workdir)
  path = epath.Path(workdir) / ENTITIES
  if inputs.entities and not path.exists():
    storage.write(path, inputs.entities)
  path = epath.Path(workdir) / LABELS
  if inputs.options.label and inputs.options.label.names and not path.exists():
    storage.write(path, "".join(f"{name}\n" for name in inputs.options.label.names))


@dataclasses.dataclass(frozen=True)
class StepWithoutData:
  """A training step and what it takes, for programs that have no data set.

  Attributes:
    mesh: of the devices.
    objective: as on one device.
    batch: shapes of a global batch.
    setup: of the step on the mesh.
  """

  mesh: Mesh
  objective: object
  batch: dict[str, jax.ShapeDtypeStruct]
  setup: setup_lib.Setup


def step_without_data(config, vocabulary_size: int, devices=None) -> StepWithoutData:
  """The step of `config` on these devices; None: those that there are.

  Raises:
    UserError: for a config that describes no model, or a mesh or batch size that the devices cannot share.
  """
  mesh = mesh_lib.make_mesh(config.mesh, devices)
  mesh_lib.check_batch_size(config.batch_size, mesh, config.accumulate)
  options = input_options(config.data)
  objective = objectives.build(config, options, vocabulary_size)
  batch = pipeline.batch_spec(options, config.batch_size)
  return StepWithoutData(mesh, objective, batch, setup_lib.prepare(config, objective.on_mesh(mesh), batch, mesh))


def build_objective(config: ml_collections.ConfigDict, inputs: Inputs):
  return objectives.build(config, inputs.options, inputs.vocabulary_size)


class Evaluation:
  """The evaluators of a config, ready to run on any variables of its model.

  Evaluators of splits that the data set does not have are left out, and so are sets in which nothing can be compared;
  `say` tells which and why, `alive` is called with every batch.

  Attributes:
    shown: name -> what the last run found beside figures, for the report.
  """

  def __init__(
    self, config, objective, inputs: Inputs, mesh, say: Callable[[str], None] = print,
    alive: Callable[[], None] = lambda: None,
  ):  # fmt: skip
    self._say = say
    self._shards = mesh.shape["replica"] * mesh.shape["data"]
    placed = lambda name: sharding.on_mesh(
      getattr(objective, name), objective.partition_rules, mesh, config.get("fsdp", False)
    )
    compiled = lambda name: jax.jit(placed(name), out_shardings=mesh_lib.replicated(mesh))

    def place(batch):
      alive()
      return mesh_lib.whole_to_devices(batch, mesh)

    part = mesh_lib.part_of_process(mesh)
    gather = lambda batch: {name: processes.to_host(value) for name, value in place(batch).items()}
    matches = hasattr(objective, "match_tokens") and "vtm" in objective.model.parts
    self._setting = evaluators.Setting(
      encode=compiled("encode"),
      tokens=compiled("tokens") if matches else None,
      match=compiled("match_tokens") if matches else None,
      look=compiled("look") if hasattr(objective, "look") else None,
      entities=tuple(inputs.entities.decode("utf-8", "replace").splitlines()),
      spaces=objective.spaces,
      **({"temperatures": objective.temperatures} if hasattr(objective, "temperatures") else {}),
      directory=inputs.directory,
      options=inputs.options,
      tokenizer=inputs.tokenizer,
      place=place,
      part=part,
      **({"gather": gather} if part[1] > 1 else {}),
      model=str(config.model),
    )
    self._look = None
    if inside.can_look(objective):
      look = functools.partial(inside.look, objective, rows=FOLLOWED)
      placed_look = sharding.on_mesh(look, objective.partition_rules, mesh, config.get("fsdp", False))
      self._look = jax.jit(placed_look, out_shardings=mesh_lib.replicated(mesh))
      self._shared = inside.is_shared(objective)
    self._evaluators = {}
    self.shown = {}
    for name, evaluator in config.evaluators.items():
      evaluators.check(name, evaluator)
      splits = records_lib.splits(self._setting_of(evaluator).directory)
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
      rows = self._rows(evaluator)
      try:
        result = evaluators.run(name, evaluator, self._setting_of(evaluator), variables, rows, progress)
      except NothingToCompare as error:
        self._say(f"evaluator {name!r}: {error}")
        continue
      metrics |= result.metrics
      if result.shown is not None:
        self.shown[name] = result.shown
    return metrics

  def look_inside(self, variables: dict) -> Inside | None:
    """What the model does with some clips of the first evaluator's split, for the report; None for models it does not know.

    All processes of a run take part.
    """
    if self._look is None or not self._evaluators:
      return None
    first = next(iter(self._evaluators.values()))
    setting = self._setting_of(first)
    return look_inside(self._look, setting, variables, first.split, self._shared, self._rows(first))

  def _setting_of(self, evaluator) -> evaluators.Setting:
    """An evaluator may have a data set of its own."""
    directory = evaluator.get("directory", "")
    if not directory:
      return self._setting
    return dataclasses.replace(self._setting, directory=remote.local_copy(directory))

  def _rows(self, evaluator) -> int:
    """Of a batch: a multiple of what devices share."""
    return -(-evaluator.batch_size // self._shards) * self._shards


def on_devices(tree: dict, mesh) -> dict:
  """Host arrays as arrays that every device of the mesh holds."""
  return jax.device_put(tree, mesh_lib.replicated(mesh))


def load_parameters(state: State, objective, place: str, ignore: str = "") -> tuple[State, list[str]]:
  """A fresh state with the variables of another run's checkpoint, or of a converted directory.

  The objective picks what it has use for (`adopt`); position tables of another length are resized.

  Args:
    place: one or several, see `starts`; of what two have, the later one's is taken.
    ignore: regex of the variables, "params/...", that may be missing, unexpected or of another shape.

  Returns:
    The state, and the names of variables that stayed as they were.

  Raises:
    UserError: naming what is missing, unexpected or of another shape.
  """
  loaded = {}
  for part in starts(place):
    loaded |= _names(objective.adopt(checkpoints.read(part)[1]))
  mine = {"params": state.params, **state.model_state}
  want = _names(mine)
  may_differ = lambda name: bool(ignore) and re.search(ignore, name) is not None
  may_miss = lambda name: may_differ(name) or bool(objective.fresh) and re.search(objective.fresh, name) is not None
  fits = lambda name: positions.fits(name, loaded[name].shape, want[name].shape)
  wrong = [f"missing {name}" for name in want.keys() - loaded.keys() if not may_miss(name)]
  wrong += [f"unexpected {name}" for name in loaded.keys() - want.keys() if not may_differ(name)]
  taken = {name for name in want.keys() & loaded.keys() if fits(name)}
  other = want.keys() & loaded.keys() - taken
  wrong += [f"{n} is {loaded[n].shape}, not {want[n].shape}" for n in other if not may_differ(n)]
  if wrong:
    raise UserError(
      f"{place} does not fit this model:\n  "
      + "\n  ".join(sorted(wrong)[:20])
      + "\nWhat may differ all the same can be "
      "named by a regex, --config.init_ignore=REGEX."
    )

  def take(path, old):
    name = sharding.path_name(path)
    if name not in taken:
      return old
    new = loaded[name]
    return jax.device_put(positions.resize(name, new, len(old)) if new.shape != old.shape else new, old.sharding)

  placed = jax.tree_util.tree_map_with_path(take, mine)
  params = placed.pop("params")
  ema = jax.tree.map(jnp.copy, params) if state.ema else {}
  return state.replace(params=params, model_state=placed, ema=ema), sorted(want.keys() - taken)


def _names(tree: dict) -> dict:
  return {sharding.path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def write_report(workdir: str, config, results: dict, shown: dict, look: Inside | None = None) -> None:
  """`report.html` from what a run measured, the sets it was evaluated on (`Evaluation.shown`), and a look inside."""
  program = epath.Path(sys.argv[0]).stem
  _write_report(
    str(epath.Path(workdir) / "report.html"),
    title=f"{epath.Path(workdir).name}: {config.objective.name}",
    subtitle=f"{config.total_steps:,} steps of {config.batch_size} clips",
    history=workdir_lib.read_metrics(workdir),
    results=results,
    sets=[each for each in shown.values() if isinstance(each, EmbeddedSet)],
    classified=[each for each in shown.values() if isinstance(each, ClassifiedSet)],
    more=[each for each in shown.values() if isinstance(each, Section)],
    inside=look,
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
