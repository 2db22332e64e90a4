"""Every layout of batch and parameters, in time and over devices, computes what one device computes; dropout is on."""

import importlib

import jax
import numpy as np
import optax
import pytest

from vatt_jax import jobs
from vatt_jax.data import pipeline
from vatt_jax.training import mesh as mesh_lib, sharding
from vatt_jax.training.state import init_state
from vatt_jax.training.step import make_step

LAYOUTS = {  # mesh, fsdp, and fields of the config
  "data": ((1, 8, 1), False, {}),
  "slices, ring": ((2, 4, 1), False, {"objective.ring": True}),
  "fsdp": ((1, 8, 1), True, {}),
  "fsdp within slices": ((2, 4, 1), True, {"model.remat": "full"}),
  "tensor": ((1, 2, 4), False, {}),
  "all, in pieces": ((2, 2, 2), True, {"objective.ring": True, "accumulate": 2, "model.remat": "full"}),
  "one device, in pieces": ((1, 1, 1), False, {"accumulate": 4}),
  "one device, remat": ((1, 1, 1), False, {"model.remat": "dots"}),
}


def random_batch(spec):
  random = np.random.default_rng(0)

  def fill(name, like):
    if name.endswith("positions"):
      return np.broadcast_to(np.arange(like.shape[1], dtype=np.int32), like.shape)
    if like.dtype == bool:
      return random.random(like.shape) < 0.9
    high = {"uint8": 256, "int16": 9000, "int32": 11}[np.dtype(like.dtype).name]
    return random.integers(0, high, like.shape).astype(like.dtype)

  return {name: fill(name, like) for name, like in spec.items()}


def three_steps(shape, fsdp, fields, argument):
  """Loss, gradient norm and parameters after three steps of plain gradient descent."""
  config = importlib.import_module("configs.pretrain.vatt").get_config(argument)
  config.update_from_flattened_dict(fields)
  options = jobs.input_options(config.data)
  mesh = mesh_lib.make_mesh(shape, jax.devices()[: int(np.prod(shape))])
  objective = jobs.build_objective(config, jobs.Inputs("", options, None)).on_mesh(mesh)
  spec = pipeline.batch_spec(options, 16)
  optimizer = optax.sgd(0.01)
  init = lambda: init_state(objective, optimizer, jax.random.key(0), spec)
  placed = sharding.shardings(jax.eval_shape(init), objective.partition_rules, mesh, fsdp)
  state = jax.jit(init, out_shardings=placed)()
  step = jax.jit(
    sharding.on_mesh(make_step(objective, optimizer, 0), objective.partition_rules, mesh, fsdp), donate_argnums=0,
    in_shardings=(placed, mesh_lib.batch_sharding(mesh)), out_shardings=(placed, mesh_lib.replicated(mesh)),
  )  # fmt: skip
  batch = mesh_lib.to_devices(random_batch(spec), mesh)
  for _ in range(3):
    state, metrics = step(state, batch)
  return jax.device_get((metrics["loss"], metrics["gradient_norm"], state.params)), state


@pytest.fixture(scope="module", params=["ma_medium,smoke", pytest.param("mbs,smoke", marks=pytest.mark.slow)])
def one_device(request):
  return request.param, three_steps((1, 1, 1), False, {}, request.param)[0]


SLOW = ("data", "fsdp", "tensor", "one device, remat")  # The others have their parts.


@pytest.mark.parametrize("layout", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in LAYOUTS])
def test_equals_one_device(layout, one_device):
  argument, (loss, norm, params) = one_device
  (found_loss, found_norm, found_params), state = three_steps(*LAYOUTS[layout], argument)
  np.testing.assert_allclose(found_loss, loss, rtol=1e-5)
  np.testing.assert_allclose(found_norm, norm, rtol=1e-4)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found_params, params)
  shape, fsdp, _ = LAYOUTS[layout]
  kernel = state.params["encoder" if "ma_" in argument else "video"]
  kernel = (kernel if "ma_" in argument else kernel["encoder"])["layer_0"]["feed_forward_in"]["kernel"]
  assert kernel.addressable_shards[0].data.size == kernel.size // ((shape[1] if fsdp else 1) * shape[2])
