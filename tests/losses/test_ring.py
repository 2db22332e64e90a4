"""The ring equals the plain form, without the matrix of all similarities."""

import functools

import jax
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from vatt_jax.losses.nce import mil_nce, mil_nce_once, plain_sums, symmetric_nce
from vatt_jax.losses.ring import ring_sums
from vatt_jax.training.mesh import make_mesh

SHAPES = {1: (1, 1, 1), 2: (1, 2, 1), 8: (2, 2, 2)}


def batch(rows, candidates=3, width=8):
  random = np.random.default_rng(0)
  video, text = random.normal(size=(rows, width)), random.normal(size=(rows, candidates, width))
  return video, text, np.arange(rows) % 5 > 0, np.arange(rows) % 7 > 0


def where(rows):
  """Clips of three films and of unknown ones: every sixth row, so of other devices, shows the same film."""
  source = np.arange(rows) % 6 % 4 - 1
  start = np.random.default_rng(1).uniform(0, 20, rows).astype(np.float32)
  return source.astype(np.int32), np.stack([start, start + 5], 1)


@pytest.mark.parametrize("devices", SHAPES)
@pytest.mark.parametrize("loss", [mil_nce, mil_nce_once, symmetric_nce])
@pytest.mark.parametrize("double, spans", [(True, None), (False, None), (True, where(32))], ids=["64", "32", "spans"])
def test_value_and_gradients_equal_the_plain_form(devices, loss, double, spans):
  mesh = make_mesh(SHAPES[devices], jax.devices()[:devices])
  rows = NamedSharding(mesh, PartitionSpec(("replica", "data")))
  with jax.enable_x64(double):
    video, text, present, here = batch(32)
    if not double:
      video, text = video.astype(np.float32), text.astype(np.float32)

    def function(sums):
      value = lambda v, t, p, h, s: loss(v, t, p, temperature=0.07, video_present=h, spans=s, sums=sums)
      return jax.jit(jax.value_and_grad(value, (0, 1)))

    expected = function(plain_sums)(video, text, present, here, spans)
    ring = functools.partial(ring_sums, mesh=mesh, chunk=4)
    found = function(ring)(*jax.device_put((video, text, present, here, spans), rows))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6 if double else 1e-5, atol=1e-12 if double else 2e-6),
    found,
    expected,
  )


def test_a_learned_temperature_has_the_same_gradient():
  mesh = make_mesh(SHAPES[8], jax.devices()[:8])
  rows = NamedSharding(mesh, PartitionSpec(("replica", "data")))
  video, text, present, here = batch(32)
  video, text = jax.device_put((video.astype(np.float32), text.astype(np.float32)), rows)

  def gradient(sums):
    value = lambda log_t: mil_nce(video, text, present, temperature=jax.numpy.exp(log_t), video_present=here, sums=sums)
    return jax.jit(jax.grad(value))(np.float32(-2.0))

  found, expected = gradient(functools.partial(ring_sums, mesh=mesh, chunk=4)), gradient(plain_sums)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  assert abs(expected) > 0.1


def test_no_device_holds_the_matrix():
  """At a global batch of 4,096 on eight devices; by the compiler's account of temporaries."""
  mesh = make_mesh((1, 8, 1))
  place = lambda *shape, dtype=np.float32: jax.ShapeDtypeStruct(
    shape, dtype, sharding=NamedSharding(mesh, PartitionSpec(("replica", "data")))
  )
  shapes = place(4096, 64), place(4096, 1, 64), place(4096, dtype=bool)

  def temporaries(sums):
    loss = jax.grad(lambda v, t, p: mil_nce(v, t, p, temperature=0.07, sums=sums), (0, 1))
    return jax.jit(loss).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

  matrix = 4096 * 4096 * 4 // 8  # A device's share of the plain form.
  assert temporaries(None) > matrix
  assert temporaries(functools.partial(ring_sums, mesh=mesh, chunk=64)) < matrix / 2
