"""Captioning: what a word may see, what counts, and that what was learned is written."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.models.test_alpro import TINY, random_variables, tiny_batch
from tests.test_configs import load
from vatt_jax import jobs, objectives
from vatt_jax.data import pipeline, records
from vatt_jax.models.alpro import Alpro
from vatt_jax.objectives.alpro import TERMS, AlproObjective
from vatt_jax.objectives.captioning import Captioning

SMALL = {name: value for name, value in TINY.items() if name != "parts"}
MODEL = Alpro(**SMALL, parts=("mlm",), causal=True)
OBJECTIVE = Captioning(MODEL, length=6, begin_id=-3, end_id=-2)


@pytest.fixture(scope="module")
def fitted():
  return random_variables(OBJECTIVE, tiny_batch(4))


@pytest.fixture(scope="module")
def logits(fitted):
  run = jax.jit(lambda batch: MODEL.apply(fitted, batch, train=False)["mlm"])
  return lambda **changes: np.asarray(run(tiny_batch(4) | changes))


@pytest.fixture(scope="module")
def run(fitted):
  """Batch -> gradients and metrics."""
  loss = lambda params, batch: OBJECTIVE.loss({"params": params}, batch, jax.random.key(0), False)[:2]
  compiled = jax.jit(jax.grad(loss, has_aux=True))
  return lambda **changes: compiled(fitted["params"], tiny_batch(4) | changes)


def test_a_word_sees_what_stands_before_it_and_the_video(logits):
  """A change at place 3 is seen from there on and nowhere before; another video is seen everywhere."""
  ids, plain = tiny_batch(4)["text/ids"], logits()
  changed = ids.copy()
  changed[:, 0, 3] = 5 + (ids[:, 0, 3] - 4) % 15
  found = logits(**{"text/ids": changed})
  np.testing.assert_allclose(found[:, :3], plain[:, :3], atol=1e-5)
  assert np.abs(found - plain)[[0, 2, 3], 3:].max(axis=(1, 2)).min() > 1e-2  # The second has three tokens.
  other = logits(**{"video/patches": tiny_batch(4, seed=7)["video/patches"]})
  assert np.abs(other - plain).max(axis=2).min() > 1e-3


def test_padding_says_nothing(logits, run):
  batch = tiny_batch(4)
  mask = batch["text/mask"]
  other = {"text/ids": np.where(mask, batch["text/ids"], 7)}
  np.testing.assert_allclose(logits(**other)[mask[:, 0]], logits()[mask[:, 0]], atol=1e-5)
  longer = {name: np.pad(batch[name], [(0, 0), (0, 0), (0, 2)]) for name in ("text/ids", "text/mask")}
  for changed in (other, longer):
    np.testing.assert_allclose(run(**changed)[1]["loss"], run()[1]["loss"], rtol=1e-5)


def test_the_loss_is_the_cross_entropy_of_the_next_token(logits, run):
  present = np.array([True, False, True, True])
  batch, found = tiny_batch(4), run(**{"video/present": present})[1]
  ids, mask, scores = batch["text/ids"][:, 0], batch["text/mask"][:, 0], logits().astype(np.float64)
  losses, right = [], []
  for row in np.flatnonzero(present):
    for place in range(mask[row].sum() - 1):
      here, wanted = scores[row, place], ids[row, place + 1]
      losses.append(np.log(np.exp(here).sum()) - here[wanted])
      right.append(here.argmax() == wanted)
  np.testing.assert_allclose(found["loss"], np.mean(losses), rtol=1e-5)
  np.testing.assert_allclose(found["train/token_accuracy"], np.mean(right), rtol=1e-6)


def test_where_nothing_is_present_nothing_is_learned(run):
  nobody = np.zeros(4, bool)
  grads, metrics = run(**{"video/present": nobody, "text/present": nobody, "text/mask": np.zeros([4, 1, 6], bool)})
  assert metrics["loss"] == 0 and not any(np.any(leaf) for leaf in jax.tree.leaves(grads))


def test_pretraining_brings_all_of_it(fitted):
  pretraining = AlproObjective(Alpro(**SMALL, parts=TERMS), dict.fromkeys(TERMS, 1.0), mask_id=-1)
  source = jax.eval_shape(lambda: pretraining.init(jax.random.key(0), tiny_batch(4)))
  shapes = lambda tree: jax.tree.map(lambda leaf: leaf.shape, tree)
  assert shapes(OBJECTIVE.adopt(source)) == shapes(fitted)
  config = load("configs/finetune/captioning.py", "")[1]
  for name in ("alpro", "captioning"):  # Sizes come along, whichever of the two it was.
    objectives.inherit(config, {"objective": {"name": name}, "model": SMALL})
    assert config.model.text_size == SMALL["text_size"] and config.model.fusion_layers == SMALL["fusion_layers"]


def test_writing_is_greedy_and_ends(fitted):
  """As the whole model, called for each place, would write; after [SEP] there is padding."""
  batch = tiny_batch(4)
  objective = dataclasses.replace(OBJECTIVE, length=8, end_id=int(np.argmax(fitted["params"]["mlm"]["bias"])))
  found = np.asarray(jax.jit(objective.generate)(fitted, {"video/patches": batch["video/patches"]}))
  ids, ended = np.zeros([4, 1, 8], np.int32), np.zeros(4, bool)
  ids[:, 0, 0] = 17
  whole = jax.jit(lambda ids: MODEL.apply(fitted, batch | {"text/ids": ids, "text/mask": ids >= 0}, train=False)["mlm"])
  for place in range(1, 8):
    ids[:, 0, place] = np.where(ended, 0, np.argmax(whole(ids)[:, place - 1], axis=-1))
    ended |= ids[:, 0, place] == objective.end_id
  assert found.dtype == np.int32 and (found == ids[:, 0]).all() and ended.any()


def test_captions_that_were_learned_are_written(miniature):
  """Twelve clips, whose squares stand in different places, and their captions by heart."""
  config = load("configs/finetune/captioning.py", "smoke")[1]
  config.data.directory, config.data.text.length, config.model.dropout, config.model.drop_path = miniature, 16, 0.0, 0.0
  objectives.inherit(config, None)
  inputs = jobs.open_inputs(config, "")
  objective = jobs.build_objective(config, inputs)
  batches = pipeline.evaluation_batches(records.Records(miniature, "train"), 14, inputs.options, inputs.tokenizer)
  batch = jax.tree.map(jnp.asarray, next(iter(batches)))
  here = batch["video/present"] & batch["text/present"]
  variables = jax.jit(lambda: objective.init(jax.random.key(0), batch))()
  optimizer = optax.adam(3e-3)

  @jax.jit
  def steps(params, state):
    def one(carry, _):
      params, state = carry
      grads = jax.grad(lambda params: objective.loss({"params": params}, batch, jax.random.key(0), True)[0])(params)
      updates, state = optimizer.update(grads, state, params)
      return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(one, (params, state), length=100)[0]

  params, state = variables["params"], optimizer.init(variables["params"])
  for _ in range(4):
    params, state = steps(params, state)
  written = objective.encode({"params": params}, batch)["captions"]
  assert here.sum() == 12 and (written == batch["text/ids"][:, 0])[here].all()


def test_captions_need_an_end():
  config = load("configs/finetune/captioning.py", "smoke")[1]
  config.data.text.special_tokens = False
  with pytest.raises(Exception, match="special_tokens: a caption begins and ends"):
    jobs.build_objective(config, jobs.Inputs("", jobs.input_options(config.data), None))
