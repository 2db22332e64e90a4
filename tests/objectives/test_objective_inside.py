"""What is watched inside of a model is what the model does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from tests.test_train import smoke_config
from vatt_jax import jobs, objectives, placement
from vatt_jax.data import pipeline
from vatt_jax.objectives import inside


def test_rollout_is_the_product_of_half_identities():
  """Two layers, two heads, four tokens, in NumPy."""
  random = np.random.default_rng(0)
  queries, keys = random.normal(size=(2, 2, 1, 4, 2, 3)).astype(np.float32)  # (layers, B, 1 + N, A, K)
  mixed = []
  for q, k in zip(queries, keys):
    weights = special.softmax(np.einsum("bnak,bmak->banm", q, k), axis=-1).mean(axis=1)[0]
    mixed.append(0.5 * weights + 0.5 * np.eye(4))
  row = (mixed[1] @ mixed[0])[0, 1:]  # The later layer stands on the left.
  found = inside.rollout(list(jnp.asarray(queries)), list(jnp.asarray(keys)))
  np.testing.assert_allclose(found, (row / row.sum())[None], rtol=1e-5)


def test_attention_that_is_even_counts_all_alike():
  nothing = [jnp.zeros([2, 6, 1, 4])] * 3
  np.testing.assert_allclose(inside.rollout(nothing, nothing), np.full([2, 5], 0.2), rtol=1e-6)


def batch_like(spec, seed=0):
  random = np.random.default_rng(seed)
  batch = {}
  for name, leaf in spec.items():
    high = {"text/ids": 20, "text/mask": 2}.get(name, 200)
    batch[name] = random.integers(0, high, leaf.shape).astype(leaf.dtype)
    if name.endswith("positions"):
      batch[name] = np.broadcast_to(np.arange(leaf.shape[-1], dtype=np.int32), leaf.shape)
  return batch


@pytest.mark.parametrize("agnostic, scan", [(True, False), (True, True), (False, False)])
def test_a_look_changes_nothing_and_sees_what_leaves(agnostic, scan):
  size = "2x32x64x2x16"
  config = smoke_config(model__agnostic=agnostic, model__scan=scan, model__video_size=size, model__audio_size=size)
  options = jobs.input_options(config.data)
  objective = objectives.build(config, options, 32)
  batch = batch_like(pipeline.batch_spec(options, 4))
  batch["text/mask"][..., 0] = True
  variables = objective.init(jax.random.key(0), batch)
  assert inside.can_look(objective) and inside.is_shared(objective) == agnostic
  found = jax.jit(lambda v, b: inside.look(objective, v, b, rows=2))(variables, batch)
  out = objective.encode(variables, batch)
  layers, units = 2, found["video/activity"].shape[2]
  for name in ("video", "audio", "text"):
    pooled = out[f"{name}/pooled"]
    np.testing.assert_allclose(found[f"{name}/output"], pooled[:, 0] if name == "text" else pooled, atol=1e-5)
    assert len(found[f"{name}/input"]) == 4
  for name in ("video", "audio"):
    np.testing.assert_allclose(found[f"{name}/rollout"].sum(axis=1), 1.0, rtol=1e-5)
    assert found[f"{name}/rollout"].shape == (2, batch[f"{name}/patches"].shape[1])
    assert found[f"{name}/activity"].shape == (4, layers, units) and (found[f"{name}/activity"] >= 0).all()
  assert ("text/activity" in found) == agnostic
  if not scan:  # By another way: what Flax captures of the second layer.
    captured = lambda module, _: module.name == "feed_forward_in"
    clips = {key: value for key, value in batch.items() if key.startswith("video/")}
    with placement.every_token():
      _, seen = objective.model.apply(
        variables, clips, train=False, capture_intermediates=captured, mutable="intermediates"
      )
    tower = seen["intermediates"] if agnostic else seen["intermediates"]["video"]
    (before,) = tower["encoder"]["layer_1"]["feed_forward_in"]["__call__"]
    fires = jnp.maximum(jax.nn.gelu(before, approximate=False), 0.0).mean(axis=1)
    np.testing.assert_allclose(found["video/activity"][:, 1], fires, rtol=1e-4, atol=1e-6)
  # A caption's padding takes no part: other words behind the mask change nothing.
  other = {**batch, "text/ids": np.where(batch["text/mask"], batch["text/ids"], 7).astype(np.int32)}
  again = inside.look(objective, variables, other, rows=2)
  np.testing.assert_allclose(again["text/input"], found["text/input"], atol=1e-6)
