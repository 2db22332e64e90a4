"""Attention kernels of accelerators equal plain attention; here the one for TPUs, interpreted."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vatt_jax import jobs
from vatt_jax.errors import UserError
from vatt_jax.models import kernels, transformer
from vatt_jax.objectives import attention
from vatt_jax.training import mesh as mesh_lib


def mesh(*shape):
  return mesh_lib.make_mesh(shape, jax.devices()[: int(np.prod(shape))])


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 2)])
def test_splash_is_attention(shape):
  """Values and gradients, lengths that are no multiple of a block; on several devices each has its rows and heads."""
  q, k, v = jax.random.normal(jax.random.key(0), (3, 4, 2, 150, 8))
  kernel = attention.for_mesh("splash", mesh(*shape), "float32")
  plain = lambda q, k, v: jnp.einsum("banm,bamk->bank", jax.nn.softmax(jnp.einsum("bank,bamk->banm", q, k)), v)
  both = lambda attend: jax.jit(jax.value_and_grad(lambda *x: jnp.sum(jnp.sin(attend(*x))), argnums=(0, 1, 2)))(q, k, v)
  (value, grads), (expected, expected_grads) = both(kernel), both(plain)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), grads, expected_grads)


@pytest.mark.parametrize("scan", [False, True])
def test_an_encoder_takes_the_kernel_where_nothing_is_dropped(scan):
  fields = dict(layers=2, feed_forward=16, heads=2, head_width=8, dropout=0.1, scan=scan)
  x = jax.random.normal(jax.random.key(1), (2, 300, 12))
  plain = transformer.Encoder(**fields)
  variables = plain.init(jax.random.key(2), x, train=False)
  calls = []

  def kernel(q, k, v):
    calls.append(q.shape)
    return kernels.splash(q, k, v, interpret=True)

  fast = transformer.Encoder(**fields, kernel=kernel)
  np.testing.assert_allclose(fast.apply(variables, x, train=False), plain.apply(variables, x, train=False), atol=1e-5)
  assert set(calls) == {(2, 2, 300, 8)}
  calls.clear()
  train = lambda model: model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(3)})
  np.testing.assert_array_equal(train(fast), train(plain))
  fast.apply(variables, x[:, :20], train=False)
  fast.apply(variables, x, jnp.ones([2, 300], bool), train=False)
  if not scan:  # A scanned layer is traced once more for the shapes of its parameters.
    assert not calls  # Weights are dropped, the sequence is short, or there is padding.
  train(fast.clone(attention_dropout=0.0))
  assert calls


def test_the_choice_is_by_device_and_what_cannot_be_is_refused():
  assert attention.for_mesh("auto", mesh(1, 1, 1), "bfloat16") is None
  assert attention.for_mesh("xla", mesh(1, 1, 1), "float32") is None
  with pytest.raises(UserError, match="needs a GPU"):
    attention.for_mesh("cudnn", mesh(1, 1, 1), "bfloat16")
  config = importlib.import_module("configs.pretrain.vatt").get_config("mbs,smoke")
  options = jobs.input_options(config.data)
  build = lambda: jobs.build_objective(config, jobs.Inputs("", options, None)).on_mesh(mesh(1, 1, 1)).model
  assert build().kernel is None
  for name, sentence in (("splash", "drops no attention weights"), ("flash", "is not one of auto, xla, cudnn, splash")):
    config.model.attention = name
    with pytest.raises(UserError, match=sentence):
      build()
  config.model.update({"attention": "splash", "attention_dropout": 0.0})
  assert build().kernel is not None and build().attention_dropout == 0.0
