"""Attention against its formula, dropout against its statistics, and both on any mesh."""

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from vatt_jax import placement
from vatt_jax.models import text, transformer
from vatt_jax.models.dropout import Dropout, drop, keep_mask
from vatt_jax.training import mesh as mesh_lib
from vatt_jax.training.flops import count_matmul_flops

ROWS, TOKENS, WIDTH = 8, 12, 16


def attention(**fields):
  return transformer.Attention(heads=3, head_width=8, **fields)


@pytest.fixture(scope="module")
def inputs():
  x = np.random.default_rng(0).normal(size=(ROWS, TOKENS, WIDTH)).astype(np.float32)
  params = attention().init(jax.random.key(0), x, None, False)["params"]
  return jax.tree.map(lambda p: p + 0.1, params), x


def apply(module, params, x, bias=None, train=False, key=1):
  return module.apply({"params": params}, x, bias, train, rngs={"dropout": jax.random.key(key)})


def formula(params, x, bias):
  """Multi-head attention in NumPy, one head and row at a time."""
  project = lambda name: x @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])
  q, k, v = (project(name).reshape(ROWS, TOKENS, 3, 8) for name in ("query", "key", "value"))
  mixed = np.zeros_like(q)
  for row in range(ROWS):
    for head in range(3):
      scores = q[row, :, head] @ k[row, :, head].T / np.sqrt(8) + bias[row, head]
      weights = np.exp(scores - scores.max(axis=1, keepdims=True))
      mixed[row, :, head] = weights / weights.sum(axis=1, keepdims=True) @ v[row, :, head]
  return mixed.reshape(ROWS, TOKENS, 24) @ np.asarray(params["out"]["kernel"]) + np.asarray(params["out"]["bias"])


@pytest.mark.parametrize("long", [1, 1000], ids=["one head after another", "all heads at once"])
@pytest.mark.parametrize("shape", [(1, 3, TOKENS, TOKENS), (ROWS, 1, 1, TOKENS), (ROWS, 3, TOKENS, TOKENS)])
def test_attention_is_its_formula(inputs, long, shape):
  params, x = inputs
  bias = np.random.default_rng(1).normal(size=shape).astype(np.float32)
  found = jax.jit(lambda: apply(attention(long=long), params, x, bias))()
  expected = formula(params, x, np.broadcast_to(bias, (ROWS, 3, TOKENS, TOKENS)))
  np.testing.assert_allclose(found, expected, atol=2e-5)


def test_parameters_are_those_that_published_weights_fill(inputs):
  assert {name: {k: v.shape for k, v in layer.items()} for name, layer in inputs[0].items()} == {
    **dict.fromkeys(("query", "key", "value"), {"kernel": (16, 24), "bias": (24,)}),
    "out": {"kernel": (24, 16), "bias": (16,)},
  }


def test_long_and_short_sequences_train_alike(inputs):
  """The same dropped weights, values and gradients, that of the bias included."""
  params, x = inputs
  bias = np.random.default_rng(1).normal(size=(1, 3, TOKENS, TOKENS)).astype(np.float32)

  def run(long):
    loss = lambda params, x, bias: jnp.sum(jnp.sin(apply(attention(long=long), params, x, bias, train=True)))
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(params, x, bias)

  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4, rtol=1e-4), run(1), run(1000))


def test_gradients_are_those_of_finite_differences(inputs):
  params, x = inputs
  run = jax.jit(lambda x: jnp.sum(jnp.sin(apply(attention(long=1), params, x, train=True))))
  direction = np.random.default_rng(2).normal(size=x.shape).astype(np.float32)
  slope = jnp.vdot(jax.jit(jax.grad(run))(x), direction)
  np.testing.assert_allclose(slope, (run(x + 1e-2 * direction) - run(x - 1e-2 * direction)) / 2e-2, rtol=1e-2)


@pytest.mark.parametrize("long", [1, 1000])
def test_any_mesh_drops_the_same(inputs, long):
  params, x = inputs
  run = jax.jit(lambda x: apply(attention(long=long), params, drop(x, jax.random.key(3), 0.5), train=True))
  sharded = jax.device_put(x, NamedSharding(mesh_lib.make_mesh((1, -1, 1)), PartitionSpec("data")))
  np.testing.assert_allclose(run(sharded), run(x), atol=1e-5)


def test_every_head_and_pair_draws_its_own():
  """With equal keys and values, heads and rows differ by what was dropped alone."""
  module = attention(use_bias=False, dropout=0.5)
  x = np.ones((2, TOKENS, WIDTH), np.float32)
  params = module.init(jax.random.key(0), x, None, False)["params"]
  params["out"]["kernel"] = jnp.repeat(jnp.eye(3, 16), 8, axis=0)  # One number for each head: how much it kept.
  params["value"]["kernel"] = jnp.ones_like(params["value"]["kernel"])
  kept = np.asarray(apply(module, params, x, train=True))[..., :3].reshape(-1, 3)
  assert len(np.unique(kept, axis=0)) > 20 and np.abs(np.corrcoef(kept.T)[0, 1]) < 0.6


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(2, 3, 500, 700), (2_000_000,), (2_000_000, 1)])
def test_dropout_has_its_rate_and_keeps_the_mean(rate, shape):
  dropped = np.asarray(jax.jit(lambda: drop(jnp.ones(shape), jax.random.key(5), rate))())
  assert abs(np.mean(dropped == 0) - rate) < 1e-3
  np.testing.assert_allclose(dropped[dropped != 0], 1 / (1 - rate), rtol=1e-6)


def test_masks_have_no_pattern():
  """Neighbours in both directions, rows, columns and other keys are as independent as coins."""
  mask = lambda key: np.asarray(keep_mask(jax.random.key(key), (2000, 1000), 0.5)).astype(np.float64) * 2 - 1
  m = mask(0)
  for other in (mask(1), np.roll(m, 1, 0), np.roll(m, 1, 1), np.roll(m, (1, 1), (0, 1)), np.roll(m, 64, 1), m[::-1]):
    assert abs(np.mean(m * other)) < 4 / np.sqrt(m.size)
  assert abs(m.mean(0).std() * np.sqrt(2000) - 1) < 0.1 and abs(m.mean(1).std() * np.sqrt(1000) - 1) < 0.1
  assert np.abs(m[:400] @ m[:400].T - 1000 * np.eye(400)).max() < 6 * np.sqrt(1000)


def test_dropout_follows_its_key_and_rests_in_inference():
  x = jnp.ones((50, 40))
  run = lambda key, **fields: Dropout(0.3, **fields).apply({}, x, rngs={"dropout": jax.random.key(key)})
  np.testing.assert_array_equal(run(0), run(0))
  assert np.any(run(0) != run(1))
  np.testing.assert_array_equal(run(0, deterministic=True), x)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gelu_is_exact_and_keeps_the_dtype(dtype):
  x = jnp.linspace(-6, 6, 1001).astype(dtype)
  found, expected = transformer.gelu(x), nn.gelu(x.astype(jnp.float32), approximate=False)
  assert found.dtype == dtype and drop(x, jax.random.key(0), 0.1).dtype == dtype
  np.testing.assert_allclose(found.astype(jnp.float32), expected, atol=1e-6 if dtype == jnp.float32 else 2e-2)


@pytest.mark.parametrize("kind", [transformer.Encoder, text.T5Encoder])
@pytest.mark.parametrize("fields", [{"scan": True}, {"remat": "full"}, {"scan": True, "remat": "dots"}])
def test_forms_of_an_encoder_share_parameters_and_results(kind, fields, inputs):
  x = inputs[1]
  mask = jnp.ones(x.shape[:2], bool)
  plain = kind(layers=3, feed_forward=24, heads=2, head_width=8)
  other = plain.clone(**fields)
  variables = plain.init(jax.random.key(0), x, mask, train=False)
  names = lambda variables: [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(variables)]
  assert names(other.init(jax.random.key(0), x, mask, train=False)) == names(variables)

  def value(encoder):
    def loss(variables):
      out = encoder.apply(variables, x, mask, train=False)
      return (out**2 * jnp.arange(1.0, WIDTH + 1)[None, None]).mean(), out

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)

  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), value(other), value(plain))
  trained = other.apply(variables, x, mask, train=True, rngs={"dropout": jax.random.key(1)})
  assert np.isfinite(trained).all() and np.abs(trained - other.apply(variables, x, mask, train=False)).max() > 1e-3


@pytest.mark.parametrize("fields", [{}, {"scan": True}, {"scan": True, "layers": 1}, {"remat": "full"}])
@pytest.mark.parametrize("long", [True, False])
def test_the_first_token_needs_no_other_in_the_last_layer(fields, long):
  """The same output and gradients, from fewer products; every token is computed where that is asked for."""
  fields = {"layers": 2} | fields
  encoder = transformer.Encoder(feed_forward=24, heads=2, head_width=8, dropout=0.0, **fields)
  x = jax.random.normal(jax.random.key(0), (2, 300 if long else TOKENS, WIDTH))
  mask = jnp.arange(x.shape[1])[None] < jnp.array([[9], [400]])
  variables = encoder.init(jax.random.key(1), x, mask, train=True)
  output = lambda variables, **first: encoder.apply(variables, x, mask, train=True, **first)[:, :1]
  both = lambda **first: jax.jit(jax.value_and_grad(lambda v: jnp.sum(jnp.sin(output(v, **first)))))(variables)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), both(first=True), both())
  count = lambda **first: count_matmul_flops(lambda v: output(v, **first), variables)
  assert count(first=True) < 0.8 * count()
  with placement.every_token():
    assert count(first=True) == count()


def test_bfloat16_computes_near_float32_and_returns_float32(inputs):
  x = inputs[1]
  plain = transformer.Encoder(layers=2, feed_forward=24, heads=2, head_width=8)
  variables = plain.init(jax.random.key(0), x, train=False)
  half = plain.clone(dtype="bfloat16").apply(variables, x, train=False)
  full = plain.apply(variables, x, train=False)
  assert (
    half.dtype == jnp.float32 and variables["params"]["layer_0"]["attention"]["query"]["kernel"].dtype == jnp.float32
  )
  assert 1e-5 < np.abs(half - full).mean() < 0.05
