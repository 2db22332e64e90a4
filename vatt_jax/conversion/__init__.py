"""Official checkpoints as ours. One file per format; `CONVERTERS` finds it by the name behind --from.

A format offers
  open_checkpoint(place) -> Variables: what is in the file, and what of it no model needs;
  convert(variables, options) -> Conversion: our variables and the config that goes with them.
Dimensions are read off the file. Every variable is used, or left behind by name, or the conversion stops.
"""

from vatt_jax.conversion import alpro_torch, bert, t5, vatt_tf, vit
from vatt_jax.conversion.variables import Conversion, Options, Variables

CONVERTERS = {"vatt_tf": vatt_tf, "alpro_torch": alpro_torch, "bert": bert, "vit": vit, "t5": t5}
__all__ = ["CONVERTERS", "Conversion", "Options", "Variables"]
