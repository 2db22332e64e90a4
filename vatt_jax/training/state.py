"""The training state, and the fingerprint of its parameters."""

import hashlib
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from vatt_jax.training.processes import to_host
from vatt_jax.training.sharding import path_name


@struct.dataclass
class State:
  """Everything a checkpoint holds.

  Attributes:
    step: int32, batches seen.
    params: trained by the optimizer.
    model_state: what the model keeps besides (batch statistics, frozen tables).
    opt_state: of optax.
    skipped: int32, updates left out in a row because they were not finite.
    ema: exponential moving average of `params`, which is what gets evaluated; empty where none was asked for.
  """

  step: jax.Array
  params: Any
  model_state: Any
  opt_state: Any
  skipped: jax.Array
  ema: Any = struct.field(default_factory=dict)

  @property
  def variables(self) -> dict:
    """What the objective's `encode` takes: the averaged parameters if there are any, else the last ones."""
    return {"params": self.ema or self.params, **self.model_state}


def init_state(
  objective, optimizer: optax.GradientTransformation, rng: jax.Array, batch_spec: dict, *, average: bool = False
) -> State:
  """The state before the first step; call it under `eval_shape` or `jit`.

  Args:
    batch_spec: shapes and dtypes of a batch.
    average: whether to keep a moving average of the parameters.
  """
  model_state = objective.init(rng, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), batch_spec))
  params = model_state.pop("params")
  zero = jnp.zeros([], jnp.int32)
  return State(
    zero, params, model_state, optimizer.init(params), zero, jax.tree.map(jnp.copy, params) if average else {}
  )


def fingerprint(params) -> str:
  """SHA-256 over path, dtype, shape and little-endian bytes of every parameter, in the order of the paths."""
  digest = hashlib.sha256()
  leaves = {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
  for name in sorted(leaves):
    value = np.ascontiguousarray(to_host(leaves[name]))
    digest.update(f"{name} {value.dtype.name} {value.shape} ".encode())
    digest.update(value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes())
  return digest.hexdigest()
