"""Where VATT's paper and official code differ: both are there by name, the code's by default where weights need it.

Numbers are those of the list in the model's documentation: what each option changes is what the source says.
"""

import jax
import numpy as np
import pytest

from tests.models.test_vatt import TINY, tiny_batch
from vatt_jax.models.vatt import Vatt


def names_of(**changes):
  """Path -> shape of every parameter."""
  model = Vatt(**{**TINY, **changes})
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), tiny_batch(), train=False))["params"]
  return {"/".join(key.key for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)}


def build(**changes):
  model = Vatt(**{**TINY, **changes})
  return model, jax.jit(lambda key: model.init(key, tiny_batch(), train=False))(jax.random.key(0))


def added(changes):
  """Parameter names that a change of options adds and removes, against the default."""
  default, changed = names_of().keys(), names_of(**changes).keys()
  return changed - default, default - changed


def test_batch_norm_after_each_linear_map_of_the_heads():
  new, gone = added({"head_norms": "all"})
  maps = {f"heads/{name}_norm/{part}" for name in ("audio_to_va", "text_to_vt") for part in ("scale", "bias")}
  assert new == maps and not gone


def test_a_linear_map_from_va_to_vt():
  new, gone = added({"va_to_vt": "linear"})
  assert not new and gone == {"heads/va_to_vt_norm/scale", "heads/va_to_vt_norm/bias"}
  model, variables = build(va_to_vt="linear")
  kernel = variables["params"]["heads"]["va_to_vt_projection"]["kernel"]
  out = model.apply(variables, tiny_batch(), train=False)
  np.testing.assert_allclose(out["video/vt"], out["video/va"] @ kernel, atol=1e-5)


def test_a_position_for_the_aggregation_token():
  new, gone = added({"aggregation_position": True})
  assert new == {"video/aggregation_position", "audio/aggregation_position"} and not gone


def test_positions_added_without_a_norm():
  new, gone = added({"normalised_positions": False})
  assert not new
  assert gone == {f"{tower}/positions/norm/{part}" for tower in ("video", "audio") for part in ("scale", "bias")}


def test_learned_word_vectors():
  assert "text/words/embedding" not in names_of()
  assert names_of(trainable_words=True)["text/words/embedding"].shape == (11, 8)
  names = names_of(trainable_words=True, word_projection=False)
  assert names["text/words/embedding"].shape == (11, 32) and "text/pre_projection/kernel" not in names


def test_t5_as_published():
  default, exact = names_of(), names_of(text_form="t5")
  assert "text/encoder/layer_0/feed_forward_norm/bias" in default
  assert "text/encoder/layer_0/feed_forward_norm/bias" not in exact
  assert exact.keys() < default.keys()


def test_modality_agnostic_without_the_extra_projections():
  default = names_of(agnostic=True)
  bare = names_of(agnostic=True, post_width=0)
  extra = {
    f"{tower}/{name}_projection/{part}"
    for tower in ("video", "audio")
    for name in ("pre", "post")
    for part in ("kernel", "bias")
  }
  extra |= {"text/post_projection/kernel", "text/post_projection/bias"}
  assert default.keys() - bare.keys() == extra
  model, variables = build(agnostic=True, post_width=0)
  assert model.apply(variables, tiny_batch(), train=False)["text/pooled"].shape == (3, 2, 32)


@pytest.mark.parametrize("form, width", [("bert", 32), ("linear", 2048), ("t5", 32)])
def test_text_towers_run_and_ignore_padding(form, width):
  model, variables = build(text_form=form)
  batch = tiny_batch()
  batch["text/ids"][:, :, 3:], batch["text/mask"] = 0, np.arange(5) < 3 + np.zeros((3, 2, 1), int)
  apply = jax.jit(lambda batch: model.apply(variables, batch, train=False)["text/pooled"])
  out = apply(batch)
  assert out.shape == (3, 2, width)
  other = {**batch, "text/ids": np.where(batch["text/mask"], batch["text/ids"], 7)}
  np.testing.assert_allclose(out, apply(other), atol=1e-5)


def test_the_mean_over_words_needs_no_token():
  model, variables = build(text_form="t5", text_aggregation="mean")
  assert "aggregation" not in variables["params"]["text"]
  assert model.apply(variables, tiny_batch(), train=False)["text/pooled"].shape == (3, 2, 32)


def test_the_joint_space_is_one():
  model, variables = build(head="joint")
  out = model.apply(variables, tiny_batch(), train=False)
  assert out["video/va"].shape == out["text/vt"].shape[-1:] or out["video/va"].shape == (3, 12)
  np.testing.assert_array_equal(out["video/va"], out["video/vt"])
  np.testing.assert_array_equal(out["audio/va"], out["audio/vt"])


def test_a_modality_may_be_left_out(tmp_path):
  model, variables = build()
  batch = tiny_batch()
  whole = model.apply(variables, batch, train=False)
  sound = model.apply(variables, {k: v for k, v in batch.items() if k.startswith("audio/")}, train=False)
  assert set(sound) == {"audio/pooled", "audio/va", "audio/vt"}
  np.testing.assert_allclose(sound["audio/vt"], whole["audio/vt"], atol=1e-5)
