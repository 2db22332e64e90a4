"""A checkpoint as one directory that anything can read: model.safetensors, parameters.md, manifest.json, vocabulary."""

from etils import epath

from vatt_jax import jobs
from vatt_jax.data import text
from vatt_jax.errors import UserError
from vatt_jax.training import checkpoints
from vatt_jax.training.state import fingerprint

TABLE = "parameters.md"
_NAMES = """# Parameters

`{file}` holds the arrays below under these names. A name is the path of the parameter: first the collection (`params`:
trained; `batch_stats`: means and variances of batch norms; `frozen`: tables that are not trained), then the modules from
the outside in: the tower or the heads, `layer_0` ... in the order of computation, and the layer's part. `kernel` is (in, out):
y = x @ kernel + bias. Queries, keys and values of several heads lie side by side in the last axis, head by head.
`scale` and `bias` belong to norms, `embedding` has a row for each id, `positions/axis_0` ... are the tables of time, height and
width (or of the sequence). Patches of video are flattened in the order time, y, x, channel.

`vatt_jax.load` and `config.init_from` read this directory; `manifest.json` says what the model is.

| name | dtype | shape |
| --- | --- | --- |
"""


def export(trained: jobs.Trained, output: str, files: dict[str, bytes] | None = None) -> bool:
  """Writes the weights of a checkpoint, with all that `vatt_jax.load` needs, into the new directory `output`.

  Args:
    files: name -> content, what else lies there.

  Returns:
    Whether anything was written: the same weights and files are not written again.

  Raises:
    UserError: when `output` holds something else or cannot be written.
  """
  place, made = epath.Path(output), fingerprint(trained.variables)
  manifest = checkpoints.manifest(trained.place)
  request = {"fingerprint": made, "files": sorted(files or {})}
  if place.exists() and (not place.is_dir() or any(place.iterdir())):
    if _request_of(place) != request:
      raise UserError(f"--output={output} holds something else already; choose a new directory.")
    return False
  home = checkpoints.home(trained.place)
  beside = {name: (home / name).read_bytes() for name in (jobs.LABELS, jobs.ENTITIES) if (home / name).exists()}
  if trained.tokenizer:
    beside[f"{text.FOLDER}/{trained.tokenizer.file}"] = trained.tokenizer.content
  beside[TABLE] = table(trained.variables).encode()
  manifest = {**manifest, "versions": jobs.versions(), "export": {**request, "checkpoint": str(trained.place)}}
  try:
    checkpoints.save_variables(output, trained.variables, manifest, {**beside, **(files or {})}, portable=True)
  except OSError as error:
    raise UserError(f"--output={output} cannot be written: {error.strerror or error}.") from error
  return True


def table(variables: dict) -> str:
  """The documented list of the parameters, in Markdown."""
  rows = checkpoints.flat(variables).items()
  lines = [f"| `{name}` | {leaf.dtype.name} | {' x '.join(map(str, leaf.shape)) or 'scalar'} |" for name, leaf in rows]
  return _NAMES.format(file=checkpoints.SAFETENSORS) + "\n".join(lines) + "\n"


def _request_of(place: epath.Path) -> dict | None:
  try:
    found = checkpoints.manifest(place)["export"]
    return {name: found[name] for name in ("fingerprint", "files")}
  except (OSError, UserError, KeyError):
    return None
