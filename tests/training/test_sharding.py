"""Where parameters lie, what the partitioner makes of it, and what it costs: read off compiled programs."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from vatt_jax import placement
from vatt_jax.models.linear import Dense, Embed
from vatt_jax.models.transformer import Encoder
from vatt_jax.training import collectives, mesh as mesh_lib, sharding

RULES = sharding.TRANSFORMER_RULES
WIDTH, LAYERS = 64, 3


def spec(name, shape, mesh=(1, 8, 1), fsdp=True):
  return sharding.partition(name, shape, RULES, mesh_lib.make_mesh(mesh), fsdp)


def test_the_first_rule_that_matches_decides():
  assert spec("video/layer_0/attention/query/kernel", (64, 64), (1, 4, 2)) == PartitionSpec("data", "model")
  assert spec("opt_state/0/mu/video/layer_0/attention/out/kernel", (64, 64), (1, 4, 2)) == PartitionSpec(
    "model", "data"
  )
  assert spec("video/layer_0/attention/query/kernel", (64, 64), (1, 4, 2), fsdp=False) == PartitionSpec(None, "model")
  assert spec("model_state/frozen/text/words/embedding", (64, 64)) == PartitionSpec()
  assert spec("video/layer_0/attention_norm/scale", (64,)) == PartitionSpec()
  assert spec("step", ()) == PartitionSpec()


def test_data_moves_to_a_dimension_that_it_divides():
  assert spec("words/embedding", (30_522, 768)) == PartitionSpec(None, "data")
  assert spec("words/embedding", (32, 300)) == PartitionSpec("data", None)
  assert spec("heads/video_hidden/kernel", (64, 3)) == PartitionSpec("data", None)
  assert spec("heads/video_hidden/kernel", (3, 3)) == PartitionSpec(None, None)


def compiled(mesh, fsdp, passes=1, **fields):
  """Gradient of what an encoder makes of `passes` inputs by its parameters, for the mesh; and the parameters' shapes."""
  mesh = mesh_lib.make_mesh(mesh)
  encoder = Encoder(LAYERS, 4 * WIDTH, heads=4, head_width=16, scan=True, remat="full", **fields)
  x = jax.ShapeDtypeStruct((16, 10, WIDTH), jnp.float32)
  params = jax.eval_shape(lambda x: encoder.init(jax.random.key(0), x, train=False), x)["params"]

  def loss(params, x):
    if passes > 1:
      params = placement.weights(params)
    return sum(jnp.sum(encoder.apply({"params": params}, x + i, train=False) ** 2) for i in range(passes))

  gradient = sharding.on_mesh(jax.grad(loss), RULES, mesh, fsdp)
  placed = sharding.shardings(params, RULES, mesh, fsdp)
  step = jax.jit(gradient, in_shardings=(placed, mesh_lib.batch_sharding(mesh)), out_shardings=placed)
  return collectives.count(step.lower(params, x).compile().as_text()), params


def test_weights_are_gathered_twice_and_nothing_else_travels():
  """Six kernels a layer, forward and, recomputed, backward; activations stay where their clips are."""
  found, params = compiled((1, 8, 1), fsdp=True)
  kernels = sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
  others = sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 1)
  assert found["all-gather"] == {"count": 2 * 6 * LAYERS, "bytes": 2 * kernels * 4 * 7 // 8}
  # The CPU's compiler knows no reduce-scatter: it sums everywhere, then slices.
  assert found["all-reduce"]["bytes"] == pytest.approx(2 * (kernels + others) * 4 * 7 / 8, rel=0.02)
  assert set(found) == {"all-gather", "all-reduce"}


def test_what_several_share_is_gathered_once():
  found, params = compiled((1, 8, 1), fsdp=True, passes=2)
  kernels = sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
  assert found["all-gather"] == {"count": 6 * LAYERS, "bytes": kernels * 4 * 7 // 8}


def test_tensors_travel_by_sums_alone():
  found, _ = compiled((1, 1, 8), fsdp=False)
  assert set(found) == {"all-reduce"}


def test_without_a_mesh_nothing_is_asked_for():
  hlo = jax.jit(lambda x: Encoder(1, 32, 2, 8).init_with_output(jax.random.key(0), x, train=False)[0]).lower(
    jax.ShapeDtypeStruct((2, 3, 16), jnp.float32)
  )
  assert "Sharding" not in hlo.as_text() and "sdy" not in hlo.as_text()


def test_gathered_layers_are_flax_layers():
  x = jnp.arange(6.0).reshape(2, 3)
  variables = Dense(4).init(jax.random.key(0), x)
  np.testing.assert_array_equal(Dense(4).apply(variables, x), x @ variables["params"]["kernel"])
  table = Embed(5, 4).init(jax.random.key(0), jnp.array([1]))["params"]["embedding"]
  mesh = mesh_lib.make_mesh((1, 8, 1))
  table = jnp.tile(table, (1, 2))
  lookup = sharding.on_mesh(lambda ids: Embed(5, 8).apply({"params": {"embedding": table}}, ids), RULES, mesh, True)
  np.testing.assert_array_equal(jax.jit(lookup)(jnp.array([1, 4])), table[jnp.array([1, 4])])


def test_gradients_of_gathered_weights_are_split():
  mesh = mesh_lib.make_mesh((1, 8, 1))
  split = NamedSharding(mesh, PartitionSpec("data", None))
  weights = jax.device_put(jnp.arange(32.0).reshape(8, 4), split)
  loss = sharding.on_mesh(
    lambda w: jnp.sum(Dense(4, use_bias=False, name="query").apply({"params": {"kernel": w}}, jnp.ones((8, 8)))),
    ((r"kernel$", ("data", None)),), mesh, True,
  )  # fmt: skip
  gradient = jax.jit(jax.grad(loss))(weights)
  assert gradient.sharding.is_equivalent_to(split, 2)
  np.testing.assert_array_equal(gradient, np.full((8, 4), 8.0))


def test_the_table_names_parameters_and_bytes():
  mesh = mesh_lib.make_mesh((1, 8, 1))
  params = {"layer_0": {"query": {"kernel": jax.ShapeDtypeStruct((1024, 512), jnp.float32)}}}
  state = {"mu": params, "nu": params}
  text = sharding.parameter_table(params, sharding.shardings(params, RULES, mesh, True), state,
                                  sharding.shardings(state, RULES, mesh, True))  # fmt: skip
  assert "layer_0/query/kernel" in text and "524,288 parameters" in text
  assert "0.25 MiB of parameters and 0.50 MiB of optimizer on each device" in text
