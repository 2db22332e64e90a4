"""ALPRO's objectives on VATT's towers: what is added up, who learns, what the teacher says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.test_vatt import TINY, tiny_batch
from vatt_jax.models.vatt import Vatt
from vatt_jax.objectives.vatt import Contrast, VattObjective
from vatt_jax.objectives.vatt_prompted import VattPrompted

PAIRS = {pair: Contrast() for pair in ("video_audio", "video_text", "audio_text")}


def batch():
  return tiny_batch() | {f"{modality}/present": np.ones(3, bool) for modality in ("video", "audio", "text")}


@pytest.fixture(scope="module")
def taught():
  """An objective, its variables, and the other VATT that is its teacher, with prompts."""
  model = Vatt(**TINY, audio_text=True, dropout=0.0)
  objective = VattPrompted(model, PAIRS, matching=2.0, entities=3.0, known=4, width=8, label_filter="none")
  variables = jax.jit(lambda: objective.init(jax.random.key(0), batch()))()
  rng = np.random.default_rng(0)
  other = jax.jit(lambda: VattObjective(model, PAIRS).init(jax.random.key(7), batch()))()
  prompts = {f"{m}_prompts": rng.normal(size=(4, 10)).astype(np.float32) for m in ("video", "audio", "image")}
  teacher = objective.adopt({**other, "prompter": prompts})["prompter"]
  shapes = lambda tree: jax.tree.map(np.shape, tree)
  assert shapes(teacher) == shapes(variables["prompter"])
  return objective, {**variables, "prompter": teacher}, other, prompts


@pytest.fixture(scope="module")
def learned(taught):
  objective, variables, _, _ = taught

  def loss(params):
    total, metrics, state = objective.loss({**variables, "params": params}, batch(), jax.random.key(1), True)
    return total, (metrics, state)

  return jax.jit(jax.grad(loss, has_aux=True))(variables["params"])


def test_the_terms_add_up(learned):
  _, (metrics, state) = learned
  means = {
    term: (metrics[f"loss/{term}_video"] + metrics[f"loss/{term}_audio"]) / 2 for term in ("matching", "entities")
  }
  contrast = sum(metrics[f"loss/{pair}"] for pair in PAIRS) / 3
  np.testing.assert_allclose(metrics["loss"], contrast + 2 * means["matching"] + 3 * means["entities"], rtol=1e-5)
  assert means["matching"] > 0 and means["entities"] > 0 and "prompter" in state


def test_the_heads_and_towers_learn(learned):
  grads, _ = learned
  for modality in ("video", "audio"):
    assert all(np.any(leaf) for leaf in jax.tree.leaves(grads["pair_heads"][modality]["clip"]))
    assert np.any(grads["pair_heads"][modality]["entities"]["kernel"])


def test_the_teacher_says_what_the_other_vatt_says_of_the_prompts(taught):
  objective, variables, other, prompts = taught
  labels = jax.jit(objective.frozen)(variables, batch())
  out = jax.jit(VattObjective(objective.model, PAIRS).encode)(other, batch())
  for modality, output in (("video", "video/vt"), ("audio", "audio/at")):
    clips = out[output] / jnp.linalg.norm(out[output], axis=1, keepdims=True)
    expected = jax.nn.softmax(clips @ prompts[f"{modality}_prompts"].T / 0.07)
    np.testing.assert_allclose(labels[modality], expected, atol=1e-5)


def test_entities_need_a_teacher():
  with pytest.raises(ValueError, match="init_from is a place that `prompt` wrote"):
    VattPrompted(Vatt(**TINY), PAIRS, entities=1.0)
