"""State, step, optimizer, mesh, checkpoints and workdir, each alone."""

import json
import os

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import common
from vatt_jax.errors import UserError
from vatt_jax.training import checkpoints, claims, mesh as mesh_lib, optimizers, sharding, workdir
from vatt_jax.training.state import fingerprint, init_state
from vatt_jax.training.step import make_step


class LineFit:
  """The smallest objective: y = w x."""

  partition_rules = ((".*", ()),)

  def init(self, rng, batch):
    return {"params": {"w": jnp.ones([2])}, "seen": {"count": jnp.zeros([])}}

  def loss(self, variables, batch, rng, train):
    loss = jnp.mean((batch["x"] @ variables["params"]["w"] - batch["y"]) ** 2)
    return loss, {"loss": loss, "draw": jax.random.uniform(rng)}, {"seen": {"count": variables["seen"]["count"] + 1}}


BATCH = {"x": np.eye(2, dtype=np.float32), "y": np.array([3.0, -1.0], np.float32)}


@pytest.fixture
def fit():
  optimizer = optax.adam(0.1)
  state = init_state(LineFit(), optimizer, jax.random.key(0), BATCH)
  return jax.jit(make_step(LineFit(), optimizer, seed=7)), state


def test_a_step_learns_and_counts(fit):
  step, state = fit
  for _ in range(200):
    state, metrics = step(state, BATCH)
  assert int(state.step) == 200 and metrics["loss"] < 1e-2
  assert float(state.model_state["seen"]["count"]) == 200


def test_randomness_is_a_function_of_the_step(fit):
  step, state = fit
  first, metrics = step(state, BATCH)
  _, again = step(state, BATCH)
  _, later = step(first, BATCH)
  assert metrics["draw"] == again["draw"] != later["draw"]


@pytest.mark.parametrize("name", ["adam", "sgd", "another"])
def test_a_non_finite_update_is_left_out_and_counted(name):
  config = common.sgd() if name == "sgd" else common.adam()
  config.update({"learning_rate": 0.1, "warmup_steps": 2})
  optimizer = optimizers.guarded(optax.adam(0.1)) if name == "another" else optimizers.from_config(config, 1000)[0]
  state = init_state(LineFit(), optimizer, jax.random.key(0), BATCH)
  step = jax.jit(make_step(LineFit(), optimizer, seed=7))
  state, _ = step(state, BATCH)
  bad = {**BATCH, "y": np.array([np.nan, 0.0], np.float32)}
  after, _ = step(*[step(state, bad)[0], bad])
  assert int(after.step) == 3 and int(after.skipped) == 2
  jax.tree.map(
    np.testing.assert_array_equal,
    (after.params, after.opt_state, after.model_state),
    (state.params, state.opt_state, state.model_state),
  )
  recovered, _ = step(after, BATCH)
  assert int(recovered.skipped) == 0 and np.all(np.isfinite(recovered.params["w"]))


def test_a_moving_average_is_kept_and_evaluated(fit, tmp_path):
  optimizer = optax.adam(0.1)
  state = init_state(LineFit(), optimizer, jax.random.key(0), BATCH, average=True)
  step = jax.jit(make_step(LineFit(), optimizer, 7, ema_decay=0.9))
  expected = np.asarray(state.params["w"])
  for k in range(20):
    state, _ = step(state, BATCH)
    decay = min(0.9, (1 + k) / (10 + k))
    expected = decay * expected + (1 - decay) * np.asarray(state.params["w"])
  np.testing.assert_allclose(state.ema["w"], expected, rtol=1e-5)
  assert state.variables["params"] is state.ema and fit[1].variables["params"] is fit[1].params
  checkpoint_run(tmp_path, state, [1]).close()
  loaded = checkpoints.restore_variables(checkpoints.find(str(tmp_path)))
  np.testing.assert_array_equal(loaded["params"]["w"], state.ema["w"])


def test_schedule_has_the_published_values():
  """VATT: 1e-4 -> 5e-5 over 0.5 M steps with 5k warm-up; values measured on the official schedule."""
  schedule = optimizers.warmup_cosine(1e-4, 5e-5, 5_000, 500_000)
  expected = {0: 0.0, 2_500: 5e-5, 5_000: 1e-4, 100_000: 9.559e-5, 252_500: 7.5e-5, 500_000: 5e-5}
  for step, value in expected.items():
    np.testing.assert_allclose(schedule(step), value, rtol=1e-4, atol=1e-12)


def test_a_quarter_cosine_is_there_by_name():
  """The paper's word for its decay: slow at first, steepest at the end."""
  schedule = optimizers.warmup_cosine(1.0, 0.5, 0, 100, "quarter_cosine")
  for step, value in {0: 1.0, 50: 0.5 + 0.5 * np.cos(np.pi / 4), 100: 0.5}.items():
    np.testing.assert_allclose(schedule(step), value, rtol=1e-6)


def test_sgd_with_momentum_clips_only_what_it_should():
  config = common.sgd()
  config.update({"learning_rate": 1.0, "warmup_steps": 0, "clip_global_norm": 0.5, "clip_only": "^tower/"})
  optimizer, _ = optimizers.from_config(config, 10**9)
  params = {"tower": {"w": np.zeros(4, np.float32)}, "classifier": np.zeros(1, np.float32)}
  grads = {"tower": {"w": np.full(4, 3.0, np.float32)}, "classifier": np.full(1, 3.0, np.float32)}
  state = optimizer.init(params)
  first, state = optimizer.update(grads, state, params)
  np.testing.assert_allclose(first["tower"]["w"], -0.25, rtol=1e-5)  # norm 6 -> 0.5
  np.testing.assert_allclose(first["classifier"], -3.0, rtol=1e-5)
  second, _ = optimizer.update(grads, state, params)
  np.testing.assert_allclose(second["classifier"], -3.0 * 1.9, rtol=1e-5)  # momentum 0.9, not Nesterov's


def test_mesh_fills_in_and_refuses():
  assert dict(mesh_lib.make_mesh((1, -1, 2)).shape) == {"replica": 1, "data": 4, "model": 2}
  with pytest.raises(UserError, match="needs 3 devices, there are 8"):
    mesh_lib.make_mesh((1, 3, 1))
  with pytest.raises(UserError, match="does not divide by the 8 devices"):
    mesh_lib.check_batch_size(12, mesh_lib.make_mesh((1, -1, 1)))
  with pytest.raises(UserError, match="accumulate = 3 does not divide the 2 clips"):
    mesh_lib.check_batch_size(16, mesh_lib.make_mesh((1, 8, 1)), 3)


def test_the_first_matching_rule_decides():
  mesh = mesh_lib.make_mesh((1, 4, 2))
  shapes = {"a": {"kernel": jax.ShapeDtypeStruct((8, 8), jnp.float32)}, "b": jax.ShapeDtypeStruct((4,), jnp.float32)}
  rules = ((r"a/kernel", ("data", "model")), (".*", ()))
  assert sharding.shardings(shapes, rules, mesh)["a"]["kernel"].shard_shape((8, 8)) == (8, 4)
  placed = sharding.shardings(shapes, rules, mesh, fsdp=True)
  assert placed["a"]["kernel"].shard_shape((8, 8)) == (2, 4) and placed["b"].shard_shape((4,)) == (4,)
  assert "68 parameters" in sharding.parameter_table(shapes, placed)
  with pytest.raises(ValueError, match="no partition rule matches b"):
    sharding.shardings(shapes, ((r"a/", ()),), mesh)


def test_fingerprint_sees_every_bit_and_no_order():
  params = {"b": np.float32([1, 2]), "a": {"c": np.float32([3])}}
  same = {"a": {"c": jnp.float32([3])}, "b": jnp.float32([1, 2])}
  assert fingerprint(params) == fingerprint(same)
  assert fingerprint(params) != fingerprint(
    {**params, "b": np.float32([1, np.nextafter(np.float32(2), np.float32(3))])}
  )


def checkpoint_run(folder, state, steps):
  store = checkpoints.Checkpoints(str(folder), keep=2)
  for step in steps:
    store.save(step, state.replace(step=jnp.int32(step)), {"step": step, "config": {}})
  store.wait()
  return store


def test_a_checkpoint_that_is_evaluated_is_kept_meanwhile(fit, tmp_path):
  _, state = fit
  store = checkpoint_run(tmp_path, state, [1, 2])
  save = lambda step: (store.save(step, state, {"step": step}), store.wait())
  with claims.Claims(str(tmp_path / claims.FOLDER)).take("own-1"):
    save(3)
    save(4)
    assert checkpoints.steps(str(tmp_path)) == [1, 3, 4]
  save(5)
  assert checkpoints.steps(str(tmp_path)) == [4, 5]


def test_checkpoints_keep_the_newest_and_a_readable_manifest(fit, tmp_path):
  _, state = fit
  store = checkpoint_run(tmp_path, state, [1, 2, 3])
  assert checkpoints.steps(str(tmp_path)) == [2, 3]
  assert checkpoints.manifest(checkpoints.find(str(tmp_path)))["step"] == 3
  assert int(store.restore_newest(state).step) == 3
  loaded = checkpoints.restore_variables(checkpoints.find(str(tmp_path)))
  np.testing.assert_array_equal(loaded["params"]["w"], state.params["w"])
  assert set(loaded) == {"params", "seen"}


@pytest.mark.parametrize("damage", ["truncate", "delete"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(fit, tmp_path, damage):
  _, state = fit
  checkpoint_run(tmp_path, state, [1, 2]).close()
  for path in sorted((tmp_path / "checkpoints/2/state").rglob("*")):
    if path.is_file():
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]) if damage == "truncate" else path.unlink()
  said = []
  store = checkpoints.Checkpoints(str(tmp_path), report=said.append)
  assert int(store.restore_newest(state).step) == 1
  assert len(said) == 1 and "checkpoints/2 is damaged" in said[0]
  assert (tmp_path / "checkpoints/2.damaged").exists()
  store.save(2, state, {"step": 2})
  store.wait()
  assert checkpoints.steps(str(tmp_path)) == [1, 2]


def test_of_a_workdir_the_newest_that_can_be_read_is_read(fit, tmp_path):
  _, state = fit
  checkpoint_run(tmp_path, state, [1, 2, 3]).close()
  (tmp_path / "checkpoints/3/manifest.json").write_text('{"st')
  for path in (tmp_path / "checkpoints/2/state").rglob("*"):
    if path.is_file():
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  said = []
  with pytest.raises(checkpoints.Damaged, match="checkpoints/2 cannot be read"):
    checkpoints.read(str(tmp_path), said.append)
  assert len(said) == 1 and "checkpoints/3 cannot be read" in said[0] and said[0].endswith("Step 2 is used.")
  (tmp_path / "checkpoints/2").rename(tmp_path / "checkpoints/2.damaged")
  checkpoint_run(tmp_path, state, [1]).close()
  assert checkpoints.steps(str(tmp_path)) == [1, 3]
  found, variables = checkpoints.read(str(tmp_path), said.append)
  assert found.name == "1" and len(said) == 2
  assert checkpoints.read_manifest(str(tmp_path))["step"] == 1
  np.testing.assert_array_equal(variables["params"]["w"], state.params["w"])
  with pytest.raises(checkpoints.Damaged, match="checkpoints/3 cannot be read"):  # Asked for by name.
    checkpoints.read(str(tmp_path / "checkpoints" / "3"))


def test_no_checkpoint_is_told(tmp_path):
  with pytest.raises(UserError, match="no checkpoint"):
    checkpoints.find(str(tmp_path))


def test_one_run_per_workdir(tmp_path):
  with workdir.lock(str(tmp_path)):
    with pytest.raises(UserError, match=f"in use by process {os.getpid()}"), workdir.lock(str(tmp_path)):
      pass
  with workdir.lock(str(tmp_path)):
    pass


def test_another_config_is_refused_with_the_difference(tmp_path):
  config = {"seed": 0, "mesh": [1, -1, 1], "total_steps": 10, "model": {"width": 8}}
  assert workdir.check_config(str(tmp_path), config) == []
  workdir.store_config(str(tmp_path), config)
  assert workdir.check_config(str(tmp_path), {**config, "mesh": [1, 2, 4]}) == []
  assert "total_steps: 10 -> 20" in workdir.check_config(str(tmp_path), {**config, "total_steps": 20})[0]
  with pytest.raises(UserError, match=r"model\.width: 8 -> 16"):
    workdir.check_config(str(tmp_path), {**config, "total_steps": 20, "model": {"width": 16}})
  assert json.loads((tmp_path / "config.json").read_text())["model"]["width"] == 8


def test_a_field_that_newer_code_added_is_used_and_named(tmp_path):
  stored = {"seed": 0, "model": {"width": 8}}
  workdir.store_config(str(tmp_path), stored)
  newer = {"seed": 0, "fsdp": "auto", "model": {"width": 8, "attention": "auto", "scale": None}}
  (warning,) = workdir.check_config(str(tmp_path), newer)
  assert 'model.attention = "auto", model.scale = null' in warning and "fsdp" not in warning  # That one may change.
  with pytest.raises(UserError, match=r"model\.width: 8 -> 16") as refused:
    workdir.check_config(str(tmp_path), {"seed": 0, "model": {"width": 16, "attention": "auto"}})
  assert "attention" not in str(refused.value)
  with pytest.raises(UserError, match=r"model\.width: 8 -> \(absent\)"):
    workdir.check_config(str(tmp_path), {"seed": 0, "model": {"attention": "auto"}})


def test_metrics_of_work_that_is_done_again_are_removed(tmp_path):
  log = workdir.MetricsLog(str(tmp_path), 0)
  for step in (10, 20, 30):
    log.write(step, {"loss": 1.0 / step})
  log.close()
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write('{"step": 40, "lo')  # cut off by a kill
  workdir.MetricsLog(str(tmp_path), 20).close()
  assert [row["step"] for row in workdir.read_metrics(str(tmp_path))] == [10, 20]


def test_the_linear_schedule_counts_updates_from_one():
  rate = optimizers.warmup_linear(1e-4, 1e-8, 50, 1000)
  at = lambda update: float(rate(update - 1))
  assert at(25) == pytest.approx(5e-5) and at(50) == pytest.approx(1e-4) and at(1) > 0
  assert at(525) == pytest.approx(5e-5) and at(1000) == pytest.approx(1e-8)


def test_what_is_measured_again_replaces_its_row(tmp_path):
  path = epath.Path(tmp_path) / "eval.jsonl"
  put = lambda step, by, value: workdir.put_json_line(
    path, {"step": step, "by": by, "value": value}, same=("step", "by")
  )
  put(1, "own", 0.1), put(1, "other", 0.2), put(2, "own", 0.3)
  path.write_text(path.read_text() + '{"step": 2, "b')  # cut off by a kill
  put(1, "own", 0.4)
  assert [row["value"] for row in workdir.read_json_lines(path)] == [0.2, 0.3, 0.4]
  put(3, "own", 0.5)
  assert len(path.read_text().splitlines()) == 4
