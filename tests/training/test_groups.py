"""Parameter groups: rates of their own, freezing and layer-wise rates by regex."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import common
from vatt_jax.errors import UserError
from vatt_jax.training import optimizers
from vatt_jax.training.groups import Group, Groups
from vatt_jax.training.state import init_state
from vatt_jax.training.step import make_step

PARAMS = {
  "video": {"positions": np.ones((4, 2), np.float32), **{f"layer_{i}": {"kernel": np.ones((2, 2), np.float32)} for i in range(12)}},
  "audio": {f"layer_{i}": {"kernel": np.ones((2, 2), np.float32), "bias": np.ones(2, np.float32)} for i in range(2)},
  "classifier": {"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)},
}  # fmt: skip


def groups_of(*rows) -> dict:
  return Groups(rows).of(PARAMS)


def update(name: str, rows, gradient: float = 1.0, steps: int = 1, **fields):
  """The last of some updates with the same gradient everywhere it is not held."""
  config = getattr(common, name)()
  config.update({"learning_rate": 1.0, "final_learning_rate": 1.0, "warmup_steps": 0, "groups": rows, **fields})
  optimizer, _ = optimizers.from_config(config, 10)
  grads = jax.tree.map(
    lambda x, trained: np.full_like(x, gradient if trained else 0.0), PARAMS, Groups(rows).trained(PARAMS)
  )
  state = optimizer.init(PARAMS)
  for _ in range(steps):
    updates, state = optimizer.update(grads, state, PARAMS)
  return updates, state


def test_the_first_row_that_matches_decides():
  found = groups_of(
    ("^video/pos", {"rate": 0}), ("^video/", {"rate": 0.1, "weight_decay": 0.5}), ("bias$", {"weight_decay": 0})
  )
  assert found["video"]["positions"] == Group(0.0) and found["video"]["layer_3"]["kernel"] == Group(0.1, 0.5)
  assert found["audio"]["layer_0"]["bias"] == Group(1.0, 0) and found["audio"]["layer_0"]["kernel"] == Group()


def test_rates_fall_from_the_top_layer_of_each_stack():
  found = groups_of((r"layer_(\d+)/", {"rate": 2.0, "layer_rate": 0.5}))
  assert [found["video"][f"layer_{i}"]["kernel"].rate for i in (11, 10, 2)] == [2.0, 1.0, 2.0 * 0.5**9]
  assert [found["audio"][f"layer_{i}"]["bias"].rate for i in (1, 0)] == [2.0, 1.0]  # Its own top, not the video's.
  assert found["classifier"]["kernel"] == Group()


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_updates_are_scaled_and_frozen_parameters_stay(name):
  rows = (("^video/layer_0/", {"rate": 0.25}), ("^audio/", {"rate": 0.0}))
  plain, _ = update(name, (), steps=3)
  updates, state = update(name, rows, steps=3)
  np.testing.assert_allclose(
    updates["video"]["layer_0"]["kernel"], 0.25 * plain["video"]["layer_0"]["kernel"], rtol=1e-6
  )
  np.testing.assert_array_equal(updates["classifier"]["bias"], plain["classifier"]["bias"])
  assert not any(np.any(x) for x in jax.tree.leaves(updates["audio"]))
  count = lambda tree: sum(np.size(x) for x in jax.tree.leaves(tree))
  frozen = count(PARAMS["audio"])
  assert count(update(name, ())[1]) - count(state) == (2 if name == "adam" else 1) * frozen  # No moments of it.


def test_weight_decay_of_its_own_leaves_biases_alone_too():
  rows = (("^classifier/", {"weight_decay": 0.5}), ("^audio/", {"rate": 0.0}))
  updates, _ = update("adam", rows, gradient=0.0, weight_decay=0.1)
  np.testing.assert_allclose(updates["classifier"]["kernel"], -0.5)
  np.testing.assert_allclose(updates["video"]["layer_4"]["kernel"], -0.1, rtol=1e-6)
  assert not np.any(updates["classifier"]["bias"]) and not np.any(updates["audio"]["layer_0"]["kernel"])
  with pytest.raises(UserError, match="sgd has no weight decay"):
    update("sgd", rows)


def test_without_groups_the_optimizer_is_optax_its_own():
  """And its state has the same structure, which checkpoints hold."""
  config = common.adam()
  config.update({"weight_decay": 0.1, "warmup_steps": 0})
  optimizer, schedule = optimizers.from_config(config, 10)
  reference = optax.adamw(
    schedule, 0.9, 0.999, 1e-7, weight_decay=0.1, mask=lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree)
  )
  ours, theirs = optimizer.init(PARAMS), reference.init(PARAMS)
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  grads = jax.tree.map(lambda x: 0.3 * x, PARAMS)
  jax.tree.map(
    np.testing.assert_array_equal, optimizer.update(grads, ours, PARAMS)[0], reference.update(grads, theirs, PARAMS)[0]
  )


def test_what_is_frozen_has_no_gradient_nor_a_share_in_its_norm():
  config = common.sgd()
  config.update({"learning_rate": 0.1, "warmup_steps": 0, "groups": (("^b$", {"rate": 0.0}),)})
  groups = Groups(config.groups)
  optimizer, _ = optimizers.from_config(config, 10)

  class Both:
    def init(self, rng, batch):
      return {"params": {"a": jnp.full((2,), 3.0), "b": jnp.full((2,), 4.0)}}

    def loss(self, variables, batch, rng, train):
      loss = jnp.sum(variables["params"]["a"] ** 2 + variables["params"]["b"] ** 2)
      return loss, {"loss": loss}, {}

  batch = {"x": np.zeros((2,), np.float32)}
  objective = Both()
  state = init_state(objective, optimizer, jax.random.key(0), batch)
  step = jax.jit(make_step(objective, optimizer, 0, hold=groups.hold))
  state, metrics = step(state, batch)
  assert np.all(state.params["b"] == 4.0) and np.all(state.params["a"] < 3.0)
  assert metrics["gradient_norm"] == pytest.approx(6.0 * 2**0.5)
  text = jax.jit(make_step(objective, optimizer, 0, hold=groups.hold)).lower(state, batch).as_text()
  both = jax.jit(make_step(objective, optimizer, 0)).lower(state, batch).as_text()
  assert text.count("stablehlo.multiply") < both.count("stablehlo.multiply")


def test_the_summary_says_how_each_row_learns():
  rows = (
    ("^video/pos", {"rate": 0}),
    (r"layer_(\d+)/", {"layer_rate": 0.5}),
    ("^classifier/", {"rate": 10.0, "weight_decay": 0.1}),
  )
  assert Groups(rows).summary(PARAMS).splitlines() == [
    "  ^video/pos: 8 parameters, frozen",
    r"  layer_(\d+)/: 60 parameters, rate x 0.000488 to 1",
    "  ^classifier/: 9 parameters, rate x 10, weight decay 0.1",
  ]
  assert not Groups(()) and not Groups(()).summary(PARAMS)


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    ((("^vdieo/", {"rate": 0.1}),), "'\\^vdieo/' matches no parameter; parameters are"),
    ((("^video/", {"rate": 0.1}), ("positions", {"rate": 0.0})), "comes after rows that match all"),
    (((".", {"rate": 0.0}),), "all parameters are frozen"),
    ((("^video/", {"lr": 0.1}),), "'lr' of '\\^video/' is not one of rate, layer_rate, weight_decay"),
    ((("^video/", {"rate": -0.1}),), "rate = -0.1 of '\\^video/' is not a number of at least 0"),
    ((("^video/", {"rate": "0.1"}),), "is not a number"),
    ((("^video/(", {"rate": 0.1}),), "is not \\(regex, fields\\)"),
    ((("^video/", 0.1),), "is not \\(regex, fields\\), as in"),
    (("^video/", {"rate": 0.1}), "is not \\(regex, fields\\)"),  # A comma short of a table.
    ((("layer_", {"layer_rate": 0.1}),), "the number of the layer in parentheses"),
    (((r"(layer)_\d+", {"layer_rate": 0.1}),), "'layer' is not the number of a layer"),
  ],
)  # fmt: skip
def test_mistakes_are_named(rows, message):
  with pytest.raises(UserError, match=message):
    Groups(rows).of(PARAMS)
