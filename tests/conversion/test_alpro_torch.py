"""ALPRO's files: what converted weights compute, and what is said when a file is not as expected."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.conversion import alpro_files as files, alpro_reference as reference
from tests.conversion.alpro_files import FUSION, HEADS, PATCH, SIDE, TEXT_LAYERS
import vatt_jax
from vatt_jax import convert
from vatt_jax.conversion import Options, alpro_torch
from vatt_jax.errors import UserError
from vatt_jax.models import positions

OPTIONS = Options(num_heads=HEADS)
rng = np.random.default_rng(3)
FRAMES = rng.integers(0, 256, (3, 2, SIDE * PATCH, SIDE * PATCH, 3)).astype(np.uint8)
IDS = np.where(np.arange(8)[None] < np.array([[8], [5], [6]]), rng.integers(5, 20, (3, 8)), 0).astype(np.int32)


def converted(tmp_path, kind, options=OPTIONS, wrapper=None, legacy=False, **more):
  values = files.random_values(files.alpro(kind, **more))
  tree = {wrapper: values, "epoch": 3} if wrapper else values
  path = files.write(tmp_path / "alpro.pt", tree, legacy)
  convert.convert("alpro_torch", path, str(tmp_path / "ours"), options)
  doubles = {name: np.asarray(value, np.float64) for name, value in values.items()}
  return vatt_jax.load(str(tmp_path / "ours")), doubles


def fused(v, stem, frames=FRAMES, ids=IDS):
  video = reference.video_tokens(v, "visual_encoder.model.", frames, HEADS)
  text = reference.text_tokens(v, stem, ids, range(TEXT_LAYERS - FUSION), HEADS)
  upper = range(TEXT_LAYERS - FUSION, TEXT_LAYERS)
  return video, text, reference.fuse(v, stem, text, ids != 0, video, upper, HEADS)


def check_encoders(model, v, stem, frames=FRAMES):
  video, text, both = fused(v, stem, frames)
  out = model.encode(video=frames, text=IDS)
  np.testing.assert_allclose(out["video/tokens"], video, atol=1e-4)
  np.testing.assert_allclose(out["text/tokens"], text, atol=1e-4)
  for name, tokens, projection in (("video", video, "vision_proj"), ("text", text, "text_proj")):
    expected = reference.unit(reference.linear(v, projection, tokens[:, 0]))
    np.testing.assert_allclose(out[f"{name}/vtc"], expected, atol=1e-4)
  return both


@pytest.mark.parametrize("form", [{}, {"legacy": True}, {"wrapper": "model", "position_ids": False}])
def test_retrieval(tmp_path, form):
  model, v = converted(tmp_path, "retrieval", **form)
  both = check_encoders(model, v, "text_encoder.bert.")
  probability = reference.softmax(reference.linear(v, "itm_head", both[:, 0]))[:, 1]
  np.testing.assert_allclose(model.match(FRAMES, IDS), probability, atol=1e-4)
  with pytest.raises(UserError, match="not trained to answer"):
    model.answer(FRAMES, IDS)
  with pytest.raises(UserError, match="no prompter"):
    model.entities(FRAMES)
  with pytest.raises(UserError, match=r"\(T, H, W\) = \(2, 12, 12\), not \(1, 12, 12\)"):
    model.encode(video=FRAMES[:, :1])
  with pytest.raises(UserError, match="3 clips and 2 texts make no pairs"):
    model.match(FRAMES, IDS[:2])
  with pytest.raises(UserError, match="texts of 13 tokens are longer than the 12 positions"):
    model.encode(text=np.ones([1, 13], np.int32))


def test_questions(tmp_path):
  (tmp_path / "answers.txt").write_text("cat\ndog\nhouse\n")
  model, v = converted(tmp_path, "qa", Options(num_heads=HEADS, labels=str(tmp_path / "answers.txt")))
  both = check_encoders(model, v, "text_encoder.")
  np.testing.assert_allclose(model.answer(FRAMES, IDS), reference.two_layers(v, "classifier", both[:, 0]), atol=1e-4)
  assert tuple(model.config.answers) == ("cat", "dog", "house")


def test_the_prompter(tmp_path):
  model, v = converted(tmp_path, "prompter")
  check_encoders(model, v, "text_encoder.bert.")
  np.testing.assert_allclose(model.entities(FRAMES), reference.entities(v, FRAMES, HEADS, stem=""), atol=1e-4)
  with pytest.raises(UserError, match="not trained to match"):
    model.match(FRAMES, IDS)


def test_pretraining_with_its_prompter(tmp_path):
  model, v = converted(tmp_path, "pretraining")
  check_encoders(model, v, "text_encoder.bert.")
  np.testing.assert_allclose(model.entities(FRAMES), reference.entities(v, FRAMES, HEADS), atol=1e-4)


def test_pretraining_without_one(tmp_path):
  model, v = converted(tmp_path, "pretraining", prompter=False)
  check_encoders(model, v, "text_encoder.bert.")


def test_the_four_losses(tmp_path):
  model, v = converted(tmp_path, "pretraining")
  inside = np.zeros([3, SIDE, SIDE], bool)
  inside[0, :2, 1:], inside[1, 1:, :1], inside[2] = True, True, True
  pixels = inside.repeat(PATCH, 1).repeat(PATCH, 2)
  crops = np.where(pixels[:, None, :, :, None], FRAMES, 0)
  selected = (np.arange(8)[None] % 3 == 1) & (IDS != 0)
  hidden = np.where(selected, 3, IDS).astype(np.int32)
  expected = reference.losses(
    v, FRAMES, crops, IDS, hidden, selected, inside.reshape(3, -1), HEADS, TEXT_LAYERS, FUSION
  )  # fmt: skip
  batch, _ = model._batch(FRAMES, None, IDS)
  batch |= {"video/present": np.ones(3, bool), "text/present": np.ones(3, bool)}
  objective = dataclasses.replace(model._objective, label_filter="none")
  everyone = jnp.ones([3], bool)
  similar = lambda s, which: (jnp.argmax(jnp.where(jnp.eye(3, dtype=bool), -jnp.inf, s), axis=1), everyone)
  run = jax.jit(lambda *given: objective.loss_with(*given, similar, jax.random.key(0), False))
  total, metrics, _ = run(model._variables, batch, hidden, selected, inside.reshape(3, -1))
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[f"loss/{name}"], value, atol=1e-5, err_msg=name)
  np.testing.assert_allclose(total, sum(expected.values()), atol=3e-5)


def test_more_frames(tmp_path):
  """Time embeddings are repeated: 2 -> 4 is 0, 0, 1, 1."""
  model, v = converted(tmp_path, "retrieval", Options(num_heads=HEADS, frames=4))
  v["visual_encoder.model.time_embed"] = v["visual_encoder.model.time_embed"][:, [0, 0, 1, 1]]
  check_encoders(model, v, "text_encoder.bert.", FRAMES[:, [0, 1, 1, 0]])
  table = np.arange(4)[:, None]
  assert positions.nearest_table(table, 8).ravel().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
  assert positions.nearest_table(table, 2).ravel().tolist() == [0, 2]


@pytest.mark.parametrize("kind", ["prompter", "pretraining", "retrieval", "qa"])
def test_every_name_is_used_or_dropped(tmp_path, kind):
  shapes = files.alpro(kind)
  path = files.write(tmp_path / "alpro.pt", files.random_values(shapes))
  variables = alpro_torch.open_checkpoint(path)
  result = alpro_torch.convert(variables, OPTIONS)
  used = {name.partition("[")[0] for name in variables.shapes}
  dropped = {*variables.dropped, *result.dropped}
  assert used - set(result.dropped) | dropped == shapes.keys() and not (used - set(result.dropped)) & dropped
  assert {"visual_encoder.model.head.weight", "visual_encoder.model.head.bias"} <= dropped


def test_what_is_not_as_expected_is_told(tmp_path):
  path = tmp_path / "alpro.pt"
  values = files.random_values(files.alpro("retrieval"))
  with pytest.raises(UserError, match="there is no .*alpro.pt"):
    alpro_torch.open_checkpoint(str(path))
  path.write_bytes(b"nonsense" * 100)
  with pytest.raises(UserError, match="is not a readable file of torch"):
    alpro_torch.open_checkpoint(str(path))
  files.write(path, {"epoch": 3})
  with pytest.raises(UserError, match="holds no state dict"):
    alpro_torch.open_checkpoint(str(path))

  def run(options=OPTIONS, **changes):
    changed = {name: x for name, x in (values | changes).items() if x is not None}
    return alpro_torch.convert(alpro_torch.open_checkpoint(files.write(path, changed)), options)

  run()
  with pytest.raises(UserError, match="unknown adapter.weight"):
    run(**{"adapter.weight": np.zeros([3], np.float32)})
  with pytest.raises(UserError, match="missing visual_encoder.model.blocks.1.norm1.bias"):
    run(**{"visual_encoder.model.blocks.1.norm1.bias": None})
  with pytest.raises(UserError, match="16 wide, which heads 64 wide do not divide; give --num_heads"):
    run(Options())
  with pytest.raises(UserError, match="--labels says nothing about ALPRO, fine-tuned for retrieval"):
    run(Options(num_heads=HEADS, labels="answers.txt"))
  with pytest.raises(UserError, match="positions for 10 patches, which make no square picture"):
    run(**{"visual_encoder.model.pos_embed": np.zeros([1, 11, 16], np.float32)})
