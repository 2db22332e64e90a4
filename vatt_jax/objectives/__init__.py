"""What is learned. One file per objective; `build` finds it by the name in the config.

An objective offers
  init(rng, batch) -> variables: {"params": ..., and what else the model keeps};
  loss(variables, batch, rng, train) -> (loss, metrics, model_state);
  encode(variables, batch) -> name -> embeddings, or what else it says of a clip, for evaluators;
  spaces: ("video", "text") -> the two outputs that meet, one entry for each pair of modalities;
  batch_keys: the keys it needs of a batch;
  adopt(variables) -> another run's variables under its own names, what it has no use for left out;
  fresh: regex of the parameters that may be missing in what a run starts from;
  on_mesh(mesh) -> the same, its losses computed across these devices;
  with_grids(modality -> grid) -> the same for clips of another size;
  partition_rules: (regex on the parameter path, axes) in order, see `training.sharding`.
The training loop knows nothing else about it. Beside it, its file has `from_config` and `inherit`.
"""

from vatt_jax.errors import UserError
from vatt_jax.objectives import alpro, alpro_qa, captioning, classifier, vatt, vatt_prompted

OBJECTIVES = {
  "vatt": vatt, "vatt_prompted": vatt_prompted, "classifier": classifier, "alpro": alpro, "alpro_qa": alpro_qa,
  "captioning": captioning,
}  # fmt: skip


def build(config, options, vocabulary_size: int):
  """The objective that `config.objective.name` asks for.

  Args:
    config: the whole config of the run.
    options: `data.pipeline.InputOptions`, for grids and lengths.
    vocabulary_size: V.

  Raises:
    UserError: for an unknown name or a field that does not fit.
  """
  try:
    if options.video and options.video.windows > 1 and config.objective.name != "vatt":
      raise ValueError(f"data.video.windows is for the objective vatt, not for {config.objective.name}")
    return _module(config).from_config(config, options, vocabulary_size)
  except (TypeError, ValueError) as error:
    raise UserError(f"the config does not describe a model: {error}.") from error


def inherit(config, source: dict | None) -> None:
  """Fills, in place, what a config leaves to the checkpoint that it starts from.

  Args:
    source: the config of that checkpoint, or None where there is none.
  """
  _module(config).inherit(config, source)


def _module(config):
  name = config.objective.name
  if name not in OBJECTIVES:
    raise UserError(f"config.objective.name = {name!r} is not one of {', '.join(OBJECTIVES)}.")
  return OBJECTIVES[name]
