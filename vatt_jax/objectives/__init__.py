"""What is learned. One file per objective; `build` finds it by the name in the config.

An objective offers
  init(rng, batch) -> variables: {"params": ..., and what else the model keeps};
  loss(variables, batch, rng, train) -> (loss, metrics, model_state);
  encode(variables, batch) -> name -> embeddings, for evaluators;
  spaces: ("video", "text") -> the two outputs that meet, one entry for each pair of modalities;
  batch_keys: the keys it needs of a batch;
  partition_rules: (regex on the parameter path, axes) in order, see `training.sharding`.
The training loop knows nothing else about it.
"""

from vatt_jax.errors import UserError
from vatt_jax.objectives import vatt

BUILDERS = {"vatt": vatt.from_config}


def build(config, options, vocabulary_size: int):
  """The objective that `config.objective.name` asks for.

  Args:
    config: the whole config of the run.
    options: `data.pipeline.InputOptions`, for grids and lengths.
    vocabulary_size: V.

  Raises:
    UserError: for an unknown name or a field that does not fit.
  """
  name = config.objective.name
  if name not in BUILDERS:
    raise UserError(f"config.objective.name = {name!r} is not one of {', '.join(BUILDERS)}.")
  try:
    return BUILDERS[name](config, options, vocabulary_size)
  except (TypeError, ValueError) as error:
    raise UserError(f"the config does not describe a model: {error}") from error
