"""What ALPRO starts from: a BERT and a ViT, in the forms they are published in."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.conversion import alpro_files as files, alpro_reference as reference
from tests.conversion.alpro_files import HEADS, PATCH, SIDE, TEXT_LAYERS, VIDEO_LAYERS, WIDTH
import vatt_jax
from vatt_jax import convert
from vatt_jax.conversion import Options, bert, vit
from vatt_jax.errors import UserError

OPTIONS = Options(num_heads=HEADS)
EVERY_LAYER = range(TEXT_LAYERS)


def doubles(values):
  return {name: np.asarray(value, np.float64) for name, value in values.items()}


@pytest.mark.parametrize("stem", ["", "bert."])
def test_bert_reads_strings(tmp_path, stem):
  values = files.write_bert(tmp_path, stem)
  convert.convert("bert", str(tmp_path), str(tmp_path / "ours"), OPTIONS)
  model = vatt_jax.load(str(tmp_path / "ours"))
  ids = np.zeros([2, 12], np.int32)
  ids[0, :5], ids[1, :5] = [2, 5, 6, 7, 3], [2, 6, 8, 1, 3]
  expected = reference.text_tokens(doubles(values), stem, ids, EVERY_LAYER, HEADS)
  found = model.encode(text=["A Cats", "cat SIT ?"])
  assert found.keys() == {"text/tokens"} and found["text/tokens"].shape == (2, 12, WIDTH)
  np.testing.assert_allclose(found["text/tokens"], expected, atol=1e-4)
  with pytest.raises(UserError, match="no encoder for video"):
    model.encode(video=np.zeros([1, 4, 12, 12, 3], np.uint8))


def test_bert_with_its_language_head_and_early_names(tmp_path):
  values = files.random_values(files.bert("bert.") | files.language_head(""))
  early = {
    name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
    for name, value in values.items()
  }
  result = bert.convert(bert.open_checkpoint(files.write(tmp_path / "pytorch_model.bin", early)), OPTIONS)
  assert result.config["objective"]["terms"]["mlm"] and result.tokenizer is None
  params = result.variables["params"]
  np.testing.assert_array_equal(params["mlm"]["norm"]["scale"], values["cls.predictions.transform.LayerNorm.weight"])
  np.testing.assert_array_equal(
    params["mlm"]["transform"]["kernel"], values["cls.predictions.transform.dense.weight"].T
  )


def hugging_face(values):
  """The same ViT under Hugging Face's names."""
  names = {
      "cls_token": "vit.embeddings.cls_token", "pos_embed": "vit.embeddings.position_embeddings",
      "patch_embed.proj.": "vit.embeddings.patch_embeddings.projection.", "blocks.": "vit.encoder.layer.",
      ".norm1.": ".layernorm_before.", ".norm2.": ".layernorm_after.", ".attn.proj.": ".attention.output.dense.",
      ".mlp.fc1.": ".intermediate.dense.", ".mlp.fc2.": ".output.dense.", "head.": "classifier.",
  }  # fmt: skip
  out = {}
  for name, value in values.items():
    for old, new in names.items():
      name = name.replace(old, new)
    if name.startswith("norm."):
      name = f"vit.layer{name}"
    if ".attn.qkv." in name:
      for part, third in zip(("query", "key", "value"), np.split(value, 3)):
        out[name.replace(".attn.qkv.", f".attention.attention.{part}.")] = np.ascontiguousarray(third)
    else:
      out[name] = value
  return out


@pytest.mark.parametrize("form", ["timm", "hugging_face"])
def test_a_vit_sees_each_frame_alone(tmp_path, form):
  values = files.random_values(files.vit())
  path = str(tmp_path / "model.safetensors")
  save_file(values if form == "timm" else hugging_face(values), path)
  convert.convert("vit", path, str(tmp_path / "ours"), Options(num_heads=HEADS, frames=2))
  model = vatt_jax.load(str(tmp_path / "ours"))
  frames = np.random.default_rng(0).integers(0, 256, (2, 2, SIDE * PATCH, SIDE * PATCH, 3)).astype(np.uint8)
  v = doubles(values) | {"time_embed": np.zeros([1, 2, WIDTH])}
  for i in range(VIDEO_LAYERS):
    for part in ("temporal_attn.qkv", "temporal_attn.proj", "temporal_norm1", "temporal_fc"):
      same = (
        part.replace("temporal_attn", "attn").replace("temporal_norm1", "norm1").replace("temporal_fc", "attn.proj")
      )
      for end in ("weight", "bias"):
        v[f"blocks.{i}.{part}.{end}"] = v[f"blocks.{i}.{same}.{end}"] * (part != "temporal_fc")
  np.testing.assert_allclose(
    model.encode(video=frames)["video/tokens"], reference.video_tokens(v, "", frames, HEADS), atol=1e-4
  )
  layer = vit.convert(vit.open_checkpoint(path), OPTIONS).variables["params"]["video"]["layer_1"]
  jax.tree.map(np.testing.assert_array_equal, layer["temporal_attention"], layer["attention"])
