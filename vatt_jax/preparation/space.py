"""How much disk a data set needs: estimated from a sample of its files before the long work starts."""

from collections.abc import Mapping, Sequence
import shutil
import sys

from etils import epath
import numpy as np

from vatt_jax.errors import UserError
from vatt_jax.preparation.cache import Cache
from vatt_jax.preparation.units import Unit

SAMPLE = 8


def expected_bytes(units: Sequence[Unit]) -> float:
  """About how many bytes the clips of `units` have: the mean of a sample, spread evenly, times their number.

  Units that have no `expected_bytes` count nothing.
  """
  able = [unit for unit in units if hasattr(unit, "expected_bytes")]
  sample = [able[i * len(able) // SAMPLE] for i in range(SAMPLE)] if len(able) > SAMPLE else able
  return len(able) * float(np.mean([unit.expected_bytes() for unit in sample])) if sample else 0.0


def check(
  units: Sequence[Unit], cache: Cache, identities: Mapping[str, str], output: epath.Path, progress: bool
) -> None:
  """Says how much room `units` need and how much there is.

  What is decoded lies in the cache and, by the end, in the records: twice, or once where it is in the cache already.

  Raises:
    UserError: there is not enough.
  """
  missing = [unit for unit in units if not cache.path(identities[unit.name]).exists()]
  everything = expected_bytes(units)
  need = everything + everything * len(missing) / max(1, len(units))
  free = shutil.disk_usage(output).free
  if need and progress:
    print(f"disk: about {_size(need)} needed, {_size(free)} free", file=sys.stderr)
  if need > free:
    raise UserError(
      f"{output} needs about {_size(need)} (clips and their cache) and has {_size(free)}. Choose another --output, "
      "fewer --frames_per_second or a smaller --short_side; --nocheck_disk tries nevertheless."
    )


def _size(count: float) -> str:
  for unit in ("B", "kB", "MB", "GB"):
    if count < 999.5:
      return f"{count:.3g} {unit}"
    count /= 1000
  return f"{count:,.1f} TB"
