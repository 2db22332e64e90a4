"""What a checkpoint holds, parameter by parameter."""

import collections

import numpy as np

from vatt_jax.training import checkpoints


def describe(place: str) -> str:
  """The model, the parameters and the sums of its modules, as text.

  Raises:
    UserError: where there is no checkpoint.
  """
  checkpoint, variables = checkpoints.read(place)
  manifest = checkpoints.manifest(checkpoint)
  config = manifest["config"]
  arrays = checkpoints.flat(variables)
  sums = collections.Counter()
  lines = [f"{checkpoint}, step {manifest['step']}, objective {config['objective']['name']}", ""]
  lines.append(f"{'parameter':60s} {'shape':>20s} {'dtype':>9s} {'mean':>10s} {'deviation':>10s}")
  for name, value in arrays.items():
    sums["/".join(name.split("/")[:2])] += value.size
    shape = " x ".join(map(str, value.shape)) or "scalar"
    wide = value.astype(np.float64)
    lines.append(f"{name:60s} {shape:>20s} {value.dtype.name:>9s} {wide.mean():10.3g} {wide.std():10.3g}")
    if not np.isfinite(wide).all():
      lines.append(f"{name} has values that are not finite")
  lines += ["", *(f"{name:60s} {count:>20,d}" for name, count in sums.items())]
  trained = sum(value.size for name, value in arrays.items() if name.startswith("params/"))
  size = sum(value.nbytes for value in arrays.values())
  lines += [f"{'trained parameters':60s} {trained:>20,d}", f"{'bytes':60s} {size:>20,d}", ""]
  lines += [f"model.{name} = {value!r}" for name, value in sorted(config["model"].items())]
  return "\n".join(lines)
