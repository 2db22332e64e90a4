"""Captioning: what a word may see, what counts, and that what was learned is written."""

import jax
import numpy as np
import optax
import pytest

from tests.models.test_alpro import TINY, random_variables, tiny_batch
from tests.test_configs import load
from vatt_jax import jobs, objectives
from vatt_jax.data import pipeline, records
from vatt_jax.errors import UserError
from vatt_jax.models.alpro import Alpro
from vatt_jax.objectives.alpro import TERMS, AlproObjective
from vatt_jax.objectives.captioning import Captioning


@pytest.fixture(scope="module")
def batch(miniature):
  """Sixteen clips whose squares stand in different places; of some there is no picture or no caption."""
  return next(iter(pipeline.evaluation_batches(records.Records(miniature, "train"), 16, *_inputs(miniature)[1:3])))


@pytest.fixture(scope="module")
def objective(miniature):
  config, options, tokenizer = _inputs(miniature)
  return jobs.build_objective(config, jobs.Inputs(miniature, options, tokenizer))


def _inputs(miniature):
  config = load("configs/finetune/captioning.py", "smoke")[1]
  config.data.directory, config.data.text.length = miniature, 48
  # Two layers that fuse: through the video, words that come later would be seen in the second one.
  config.model.update({"text_size": "3x32x64x2x16", "fusion_layers": 2, "max_length": 48})
  config.model.update({"dropout": 0.0, "drop_path": 0.0})
  objectives.inherit(config, None)
  inputs = jobs.open_inputs(config, "")
  return config, inputs.options, inputs.tokenizer


@pytest.fixture(scope="module")
def fitted(objective, batch):
  return random_variables(objective, batch, scale=0.1)


@pytest.fixture(scope="module")
def logits(objective, fitted, batch):
  run = jax.jit(lambda batch: objective.model.apply(fitted, batch, train=False)["mlm"])
  return lambda **changes: np.asarray(run(batch | changes))


@pytest.fixture(scope="module")
def gradient(objective):
  """Parameters and batch -> gradients and metrics."""
  loss = lambda params, batch: objective.loss({"params": params}, batch, jax.random.key(0), True)[:2]
  return jax.jit(jax.grad(loss, has_aux=True))


@pytest.fixture(scope="module")
def write(objective):
  return jax.jit(objective.encode)


def test_a_word_sees_what_stands_before_it_and_the_video(logits, batch):
  """A change at place 3 is seen from there on and nowhere before; another video is seen everywhere."""
  ids, plain = batch["text/ids"], logits()
  changed = ids.copy()
  changed[:, 0, 3] = 5 + (ids[:, 0, 3] - 4) % 15
  found = logits(**{"text/ids": changed})
  np.testing.assert_allclose(found[:, :3], plain[:, :3], atol=1e-5)
  assert np.abs(found - plain)[:, 3:].max(axis=2).min() > 1e-4
  other = logits(**{"video/patches": 255 - batch["video/patches"]})
  assert np.abs(other - plain).max(axis=2).min() > 1e-4


def test_padding_says_nothing(logits, batch):
  mask = batch["text/mask"]
  found = logits(**{"text/ids": np.where(mask, batch["text/ids"], 7)})
  assert not mask[batch["text/present"]].all()
  np.testing.assert_allclose(found[mask[:, 0]], logits()[mask[:, 0]], atol=1e-5)


def test_the_loss_is_the_cross_entropy_of_the_next_token(gradient, fitted, logits, batch):
  ids, mask, scores = batch["text/ids"][:, 0], batch["text/mask"][:, 0], logits().astype(np.float64)
  losses, right = [], []
  for row in np.flatnonzero(batch["video/present"] & batch["text/present"]):
    for place in range(mask[row].sum() - 1):
      here, wanted = scores[row, place], ids[row, place + 1]
      losses.append(np.log(np.exp(here).sum()) - here[wanted])
      right.append(here.argmax() == wanted)
  found = gradient(fitted["params"], batch)[1]
  np.testing.assert_allclose(found["loss"], np.mean(losses), rtol=1e-5)
  np.testing.assert_allclose(found["train/token_accuracy"], np.mean(right), rtol=1e-6)


def test_where_nothing_is_present_nothing_is_learned(gradient, fitted, batch):
  nobody = {name: np.zeros_like(batch[name]) for name in ("video/present", "text/present", "text/mask")}
  grads, metrics = gradient(fitted["params"], batch | nobody)
  assert metrics["loss"] == 0 and not any(np.any(leaf) for leaf in jax.tree.leaves(grads))


def test_the_likeliest_word_is_written(write, fitted, logits, batch):
  """As the whole model, called for each place, says."""
  written = np.asarray(write(fitted, {"video/patches": batch["video/patches"]})["captions"])
  everywhere = np.ones_like(batch["text/mask"])
  said = np.argmax(logits(**{"text/ids": written[:, None], "text/mask": everywhere}), axis=-1)
  end = batch["text/ids"].max()  # [SEP]; [MASK] is in no caption.
  before_end = np.cumsum(written[:, :-1] == end, axis=1) == 0
  assert written.dtype == np.int32 and (written[:, 0] == batch["text/ids"][0, 0, 0]).all()
  assert before_end.sum() > 100 and (written[:, 1:] == said[:, :-1])[before_end].all()


def test_captions_that_were_learned_are_written(write, gradient, fitted, batch):
  """From [CLS] to [SEP], and padding behind it."""
  params, optimizer = fitted["params"], optax.adam(4e-3)
  state = optimizer.init(params)
  update = jax.jit(lambda grads, state, params: _applied(params, *optimizer.update(grads, state)))
  for _ in range(500):
    params, state = update(gradient(params, batch)[0], state, params)
  written = np.asarray(write({"params": params}, {"video/patches": batch["video/patches"]})["captions"])
  here = batch["video/present"] & batch["text/present"]
  assert here.sum() >= 8 and (written == batch["text/ids"][:, 0])[here].all()


def _applied(params, updates, state):
  return optax.apply_updates(params, updates), state


def test_pretraining_brings_all_of_it():
  small = {name: value for name, value in TINY.items() if name != "parts"}
  shapes = lambda tree: jax.tree.map(lambda leaf: leaf.shape, tree)
  pretraining = AlproObjective(Alpro(**small, parts=TERMS), dict.fromkeys(TERMS, 1.0), mask_id=-1)
  own = Captioning(Alpro(**small, parts=("mlm",), causal=True), length=6)
  source, wanted = (jax.eval_shape(lambda o=o: o.init(jax.random.key(0), tiny_batch(4))) for o in (pretraining, own))
  assert shapes(own.adopt(source)) == shapes(wanted)
  config = load("configs/finetune/captioning.py", "")[1]
  objectives.inherit(config, {"objective": {"name": "captioning"}, "model": small})  # It goes on from its own, too.
  assert config.model.text_size == small["text_size"] and config.model.fusion_layers == small["fusion_layers"]


def test_captions_need_an_end():
  config = load("configs/finetune/captioning.py", "smoke")[1]
  config.data.text.special_tokens = False
  with pytest.raises(UserError, match="special_tokens: a caption begins and ends"):
    jobs.build_objective(config, jobs.Inputs("", jobs.input_options(config.data), None))
