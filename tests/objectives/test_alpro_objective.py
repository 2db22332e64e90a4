"""ALPRO's objectives: what they learn from, what they leave alone, and what they take over from each other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.models.test_alpro import TINY, random_variables, tiny_batch
from vatt_jax.models.alpro import Alpro
from vatt_jax.objectives.alpro import TERMS, AlproObjective
from vatt_jax.objectives.alpro_qa import UNTRAINED, AlproAnswers

SMALL = {name: value for name, value in TINY.items() if name != "parts"}
EVERY = dict.fromkeys(TERMS, 1.0)


def model(*parts):
  return Alpro(**SMALL, parts=parts)


def names(tree):
  """Leaves by name; without the keys' biases, which a softmax over keys cannot see."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  named = {"/".join(part.key for part in path): leaf for path, leaf in leaves}
  return {name: leaf for name, leaf in named.items() if not name.endswith("key/bias")}


@pytest.fixture(scope="module")
def fitted():
  objective = AlproObjective(model(*TERMS), EVERY, mask_id=-1, label_filter="none", mask_rate=0.5)
  return objective, random_variables(objective, tiny_batch(4))


@pytest.fixture(scope="module")
def run(fitted):
  objective, _ = fitted

  @jax.jit
  def run(variables, batch):
    def loss(params):
      total, metrics, state = objective.loss(variables | {"params": params}, batch, jax.random.key(0), True)
      return total, (metrics, state)

    return jax.grad(loss, has_aux=True)(variables["params"])

  return run


def test_everything_learns_but_the_prompter(fitted, run):
  _, variables = fitted
  grads, (metrics, state) = run(variables, tiny_batch(4))
  np.testing.assert_allclose(metrics["loss"], sum(metrics[f"loss/{term}"] for term in TERMS), rtol=1e-5)
  still = {name for name, value in names(grads).items() if not np.any(value)}
  assert still == set()
  assert set(state) == {"prompter"} and set(state["prompter"]) == {
      "video", "video_projection", "temperature", "video_prompts", "image_prompts",
  }  # fmt: skip


def test_what_is_absent_says_nothing(fitted, run):
  """With the rows of one clip and one caption exchanged for others, nothing changes where they do not exist."""
  _, variables = fitted
  batch, other = tiny_batch(4), tiny_batch(4, seed=7)
  present = {"video/present": np.array([1, 1, 0, 1], bool), "text/present": np.array([1, 0, 1, 1], bool)}
  changed = {**batch, **present}
  changed["video/patches"] = np.where(
    present["video/present"][:, None, None], batch["video/patches"], other["video/patches"]
  )
  changed["text/ids"] = np.where(present["text/present"][:, None, None], batch["text/ids"], 0)
  grads, (metrics, _) = run(variables, {**batch, **present})
  again, (changed_metrics, _) = run(variables, changed)
  for term in TERMS:
    np.testing.assert_allclose(metrics[f"loss/{term}"], changed_metrics[f"loss/{term}"], rtol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), grads, again)
  nobody = {**batch, "video/present": np.zeros(4, bool)}
  grads, (metrics, _) = run(variables, nobody)
  assert metrics["loss"] == 0 and all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("trained", ["all", "official"])
def test_questions_may_leave_the_video_encoder_as_the_published_code_does(trained):
  objective = AlproAnswers(model("qa"), trained)
  batch = tiny_batch() | {"label": np.array([0, 2, -1])}
  variables = random_variables(objective, batch)
  loss = lambda params: objective.loss({"params": params}, batch, jax.random.key(0), False)[0]
  grads = names(jax.jit(jax.grad(loss))(variables["params"]))
  still = {name for name, value in grads.items() if not np.any(value)}
  assert still == ({name for name in grads if UNTRAINED.match(name)} if trained == "official" else set())
  if trained == "official":
    assert len(still) == 2 * (7 + 7 + 4)  # of each layer both attentions and the MLP


def test_what_one_stage_takes_over_from_another(fitted):
  _, pretrained = fitted
  retrieval = AlproObjective(model("vtc", "vtm"), {"vtc": 1.0, "vtm": 1.0})
  taken = retrieval.adopt(pretrained)
  assert set(taken) == {"params"}
  assert set(taken["params"]) == {"video", "text", "video_projection", "text_projection", "temperature", "vtm"}
  prompter = AlproObjective(model("vtc"), {"vtc": 1.0})
  assert not any("layer_2" in name for name in names(prompter.adopt(pretrained)["params"]["text"]))
  assert "layer_2" in pretrained["params"]["text"]
  # The prompter's own checkpoint with its prompts becomes the teacher and nothing else.
  prompts = {name: pretrained["prompter"][name] for name in ("video_prompts", "image_prompts")}
  taken = AlproObjective(model(*TERMS), EVERY).adopt({"params": pretrained["params"], "prompter": prompts})
  assert taken["params"] == {} and set(taken["prompter"]) == set(pretrained["prompter"])


def test_pictures_take_the_prompts_for_pictures(fitted):
  objective, variables = fitted
  patches = tiny_batch(4)["video/patches"]
  patches[1, 6:] = patches[1, :6]  # The second frame is the first.
  run = jax.jit(lambda variables, patches: objective.entities(variables, patches, objective._still(patches)))
  found = run(variables, patches)
  swapped = dict(
    zip(("video_prompts", "image_prompts"), (variables["prompter"][n] for n in ("image_prompts", "video_prompts")))
  )
  others = run(variables | {"prompter": variables["prompter"] | swapped}, patches)
  plain = jax.jit(objective.entities)(variables, patches)
  np.testing.assert_allclose(found[np.array([0, 2, 3])], plain[np.array([0, 2, 3])], atol=1e-6)
  np.testing.assert_allclose(others[1], plain[1], atol=1e-6)
  assert np.abs(found[1] - plain[1]).max() > 1e-3


def test_wrong_settings_are_named():
  with pytest.raises(ValueError, match="itm"):
    AlproObjective(model("vtc"), {"itm": 1.0})
  with pytest.raises(ValueError, match="negatives 'near' is not one of local, global"):
    AlproObjective(model("vtc"), {"vtc": 1.0}, negatives="near")
  with pytest.raises(ValueError, match="trained 'some' is not one of all, official"):
    dataclasses.replace(AlproAnswers(model("qa")), trained="some")


@pytest.mark.slow
def test_matching_is_learned_where_there_is_something_to_see():
  """Of three pairs one matches, so that "no match" is right in 2/3. Hard negatives are told apart by what they show.

  Clips that look alike are not: their hardest negatives are each other, and the prior is all that can be learned (as of the
  miniature clips, whose captions say the tone and a number, and whose pictures show one of four colours).
  """
  rows, rng = 16, np.random.default_rng(0)
  size = "2x32x64x2x16"
  parts = ("vtc", "vtm")
  alpro = Alpro(
      video_size=size, text_size="4x32x64x2x16", video_grid=(2, 4, 4), vocabulary_size=64, fusion_layers=2,
      embedding_width=16, max_length=8, parts=parts, drop_path=0.0, dropout=0.0,
  )  # fmt: skip
  objective = AlproObjective(alpro, dict.fromkeys(parts, 1.0), mask_id=-1)
  optimizer = optax.adam(optax.linear_schedule(0.0, 2e-3, 30), b2=0.98)
  pictures, words = rng.integers(0, 256, (rows, 1, 16, 48)), rng.integers(5, 60, (rows, 1, 6))

  def accuracy(kinds):
    """Of the last 20 of 120 steps, on clips of which so many are different."""
    which = np.arange(rows) % kinds
    batch = jax.tree.map(jnp.asarray, {
        "video/patches": np.repeat(pictures[which], 2, axis=1).reshape(rows, 32, 48).astype(np.uint8),
        "video/positions": np.broadcast_to(np.arange(32, dtype=np.int32), (rows, 32)),
        "text/ids": words[which].astype(np.int32), "text/mask": np.ones([rows, 1, 6], bool),
        "video/present": np.ones(rows, bool), "text/present": np.ones(rows, bool),
    })  # fmt: skip
    params = objective.init(jax.random.key(0), batch)["params"]
    state, seen = optimizer.init(params), []
    for i in range(120):
      params, state, right = step(params, state, batch, jax.random.key(i))
      seen.append(float(right))
    return np.mean(seen[-20:])

  @jax.jit
  def step(params, state, batch, key):
    loss = lambda params: objective.loss({"params": params}, batch, key, True)[:2]
    grads, metrics = jax.grad(loss, has_aux=True)(params)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, metrics["train/matching_accuracy"]

  assert accuracy(kinds=rows) > 0.9
  assert abs(accuracy(kinds=2) - 2 / 3) < 0.08
