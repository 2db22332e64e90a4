"""T5's encoder: what converted weights compute, and what is said when a file is not as expected."""

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.conversion import official, reference
import vatt_jax
from vatt_jax import convert
from vatt_jax.conversion import Options, t5
from vatt_jax.errors import UserError
from vatt_jax.models.text import T5Encoder

LENGTH = 24  # distances beyond the single buckets


def save(path, values, **more):
  """A file as published: the encoder, and what is left behind."""
  decoder = {
    name: np.zeros([2], np.float32) for name in ("decoder.block.0.layer.0.layer_norm.weight", "lm_head.weight")
  }
  save_file({**values, **decoder, "encoder.embed_tokens.weight": values["shared.weight"], **more}, path)
  return str(path)


def test_it_computes_what_the_reference_does(tmp_path):
  values = official.random_values(official.t5())
  convert.convert("t5", save(tmp_path / "model.safetensors", values), str(tmp_path / "ours"), Options())
  model = vatt_jax.load(str(tmp_path / "ours"))
  ids = np.random.default_rng(1).integers(1, 13, (2, LENGTH)).astype(np.int32)
  ids[1, 9:] = 0
  expected = reference.t5({name: value.astype(np.float64) for name, value in values.items()}, ids)
  found = model.encode(text=ids)
  assert found.keys() == {"text/pooled"}
  np.testing.assert_allclose(found["text/pooled"], [expected[0].mean(0), expected[1, :9].mean(0)], atol=1e-5)
  assert model.config.model.text_size == "2x16x20x3x4"
  with pytest.raises(UserError, match="no encoder for video"):
    model.encode(video=np.zeros([1, 4, 32, 32, 3], np.uint8))


def test_tokens_too(tmp_path):
  """Word by word, before the mean over words."""
  values = official.random_values(official.t5())
  conversion = t5.convert(t5.open_checkpoint(save(tmp_path / "model.safetensors", values)), Options())
  ids = np.random.default_rng(1).integers(1, 13, (2, LENGTH)).astype(np.int32)
  encoder = T5Encoder(2, 20, 3, 4, exact=True)
  text = conversion.variables["params"]["text"]
  words = text["words"]["embedding"][ids]
  tokens = jax.jit(lambda p: encoder.apply({"params": p}, words, ids != 0, train=False))(text["encoder"])
  expected = reference.t5({name: value.astype(np.float64) for name, value in values.items()}, ids)
  np.testing.assert_allclose(tokens, expected, atol=1e-5)


def test_a_directory_half_precision_and_untied_names_will_do(tmp_path):
  values = official.random_values(official.t5())
  half = {name: value.astype(ml_dtypes.bfloat16) for name, value in values.items()}
  half["encoder.embed_tokens.weight"] = half.pop("shared.weight")
  save_file(half, tmp_path / "model.safetensors")
  variables = t5.open_checkpoint(str(tmp_path))
  words = t5.convert(variables, Options()).variables["params"]["text"]["words"]["embedding"]
  assert words.dtype == np.float32 and variables.dropped == ()
  np.testing.assert_allclose(words, values["shared.weight"], rtol=1e-2)


def test_what_is_left_behind_is_named(tmp_path):
  path = save(tmp_path / "model.safetensors", official.random_values(official.t5()))
  assert t5.open_checkpoint(path).dropped == (
    "decoder.block.0.layer.0.layer_norm.weight",
    "encoder.embed_tokens.weight",
    "lm_head.weight",
  )


def test_what_is_not_as_expected_is_told(tmp_path):
  path = tmp_path / "model.safetensors"
  with pytest.raises(UserError, match="there is no .*model.safetensors"):
    t5.open_checkpoint(str(tmp_path))
  path.write_bytes(b"nonsense" * 100)
  with pytest.raises(UserError, match="not a readable safetensors file"):
    t5.open_checkpoint(str(path))

  def convert(options=None, **changes):
    values = {name: x for name, x in (official.random_values(official.t5()) | changes).items() if x is not None}
    return t5.convert(t5.open_checkpoint(save(path, values)), Options(**(options or {})))

  convert()
  with pytest.raises(UserError, match="unknown encoder.adapter.weight"):
    convert(**{"encoder.adapter.weight": np.zeros([3], np.float32)})
  with pytest.raises(UserError, match="missing encoder.block.1.layer.1.layer_norm.weight"):
    convert(**{"encoder.block.1.layer.1.layer_norm.weight": None})
  with pytest.raises(UserError, match=r"SelfAttention.k.weight \(16, 12\) does not make .*key/kernel \(16, 12\)"):
    convert(**{"encoder.block.1.layer.0.SelfAttention.k.weight": np.zeros([16, 12], np.float32)})
  with pytest.raises(UserError, match="is a T5 1.1, with gated layers"):
    convert(**{"encoder.block.0.layer.1.DenseReluDense.wi_0.weight": np.zeros([20, 16], np.float32)})
  with pytest.raises(UserError, match="--num_heads says nothing about T5"):
    convert({"num_heads": 2})
