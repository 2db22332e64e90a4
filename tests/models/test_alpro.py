"""ALPRO's model: sizes as published, what its inputs may and may not change."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vatt_jax.models import timesformer
from vatt_jax.models.alpro import DEAD_PARTS, VIDEO_CLASSES, Alpro

PUBLISHED = dict(video_size="base", text_size="base", vocabulary_size=30_522)
TINY = dict(
    video_size="2x16x24x2x8", text_size="4x16x24x2x8", video_grid=(2, 2, 3), vocabulary_size=20, fusion_layers=2,
    embedding_width=8, entities=5, answers=3, max_length=8, parts=("vtc", "vtm", "mlm", "pem", "qa"),
)  # fmt: skip


def tiny_batch(rows=3, grid=(2, 2, 3), seed=0):
  rng = np.random.default_rng(seed)
  tokens = math.prod(grid)
  lengths = np.resize([6, 3, 5], rows)
  mask = np.arange(6)[None] < lengths[:, None]
  return {
      "video/patches": rng.integers(0, 256, (rows, tokens, 12)).astype(np.uint8),
      "video/positions": np.broadcast_to(np.arange(tokens, dtype=np.int32), (rows, tokens)),
      "text/ids": np.where(mask, rng.integers(5, 20, (rows, 6)), 0).astype(np.int32)[:, None], "text/mask": mask[:, None],
      "video/present": np.ones(rows, bool), "text/present": np.ones(rows, bool),
  }  # fmt: skip


def random_variables(model, batch, scale=0.3):
  """Weights of a model, or of an objective, that are nowhere zero, unlike fresh ones."""
  more = {"train": False} if isinstance(model, Alpro) else {}
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), batch, **more))
  rng = np.random.default_rng(1)
  draw = lambda path, x: np.float32(rng.normal(1 if path[-1].key == "scale" else 0, scale, x.shape) if x.shape else 0.2)
  return jax.tree_util.tree_map_with_path(draw, shapes)


def parameters(frames, parts, **more):
  model = Alpro(**PUBLISHED, video_grid=(frames, 14, 14), parts=parts, **more)
  batch = {
      "video/patches": jax.ShapeDtypeStruct((1, frames * 196, 768), jnp.uint8),
      "text/ids": jax.ShapeDtypeStruct((1, 1, 30), jnp.int32), "text/mask": jax.ShapeDtypeStruct((1, 1, 30), bool),
  }  # fmt: skip
  shapes = jax.eval_shape(lambda b: model.init(jax.random.key(0), b, train=False), batch)
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize("kind, frames, parts, more, published", [
    ("retrieval", 8, ("vtc", "vtm"), {}, 231_475_917), ("prompter", 4, ("vtc",), {}, 231_472_845),
    ("qa", 16, ("qa",), {"answers": 1500}, 234_346_095), ("qa", 16, ("qa",), {"answers": 2423}, 235_764_746),
])  # fmt: skip
def test_as_many_parameters_as_published(kind, frames, parts, more, published):
  with_dead = parameters(frames, parts + DEAD_PARTS[kind], **more) + VIDEO_CLASSES * (768 + 1)
  assert with_dead == published
  assert parameters(frames, parts, **more) < published


def test_pretraining_has_a_model_and_its_teacher():
  head = VIDEO_CLASSES * (768 + 1)
  student = parameters(4, ("vtc", "vtm", "mlm", "pem")) + head
  teacher = parameters(4, ("vtc", *DEAD_PARTS["prompter"])) + head
  assert student + teacher == 465_663_874


def test_shapes():
  model, batch = Alpro(**TINY), tiny_batch()
  out = jax.jit(lambda v: model.apply(v, batch, train=False))(random_variables(model, batch))
  assert {name: value.shape for name, value in out.items()} == {
      "video/tokens": (3, 7, 16), "text/tokens": (3, 6, 16), "video/vtc": (3, 8), "text/vtc": (3, 8), "vtm": (3, 2),
      "mlm": (3, 6, 20), "pem": (3, 5), "qa": (3, 3),
  }  # fmt: skip
  np.testing.assert_allclose(np.linalg.norm(out["video/vtc"], axis=-1), 1.0, atol=1e-5)


def test_it_starts_as_a_picture_encoder():
  """Time embeddings and temporal projections are zero: frames may be permuted, and equal frames count once."""
  video = dict(layers=2, width=16, feed_forward=24, heads=2, head_width=8)
  encoder = timesformer.TimeSformer(**video, grid=(4, 2, 2))
  frames = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 12)).astype(np.uint8)
  flat = lambda x: x.reshape(1, -1, 12)
  variables = jax.jit(lambda: encoder.init(jax.random.key(0), flat(frames), train=False))()
  run = jax.jit(lambda x: encoder.apply(variables, x, train=False))
  np.testing.assert_allclose(run(flat(frames)), run(flat(frames[:, [2, 0, 3, 1]])), atol=1e-5)
  single = timesformer.TimeSformer(**video, grid=(1, 2, 2))
  first = jax.tree_util.tree_map_with_path(
    lambda path, x: x[:1] if path[-1].key == "temporal_positions" else x, variables
  )
  still = np.repeat(frames[:, :1], 4, axis=1)
  np.testing.assert_allclose(run(flat(still)), single.apply(first, flat(frames[:, :1]), train=False), atol=1e-5)


def test_padding_says_nothing():
  model, batch = Alpro(**TINY), tiny_batch()
  variables = random_variables(model, batch)
  run = jax.jit(lambda b: model.apply(variables, b, train=False))
  longer = {**batch, **{name: np.pad(batch[name], [(0, 0), (0, 0), (0, 2)]) for name in ("text/ids", "text/mask")}}
  out, padded = run(batch), run(longer)
  for name in ("text/vtc", "vtm", "pem", "qa"):
    np.testing.assert_allclose(out[name], padded[name], atol=1e-5)


def test_floats_are_the_same_pictures():
  pixels = np.random.default_rng(0).integers(0, 256, (2, 12)).astype(np.uint8)
  scaled = pixels.astype(np.float32) / 127.5 - 1.0
  np.testing.assert_allclose(timesformer.normalise(pixels), timesformer.normalise(scaled), atol=1e-5)
  white = (1.0 - np.array(timesformer.MEAN)) / np.array(timesformer.DEVIATION)
  np.testing.assert_allclose(timesformer.normalise(np.full(3, 255, np.uint8)), white, rtol=1e-5)


def test_paths_drop_by_row():
  ones = jnp.ones([64, 3, 2])
  dropped = timesformer.DropPath(0.5).apply({}, ones, True, rngs={"dropout": jax.random.key(0)})
  rows = dropped.reshape(64, -1)
  assert (rows == rows[:, :1]).all() and set(np.unique(rows)) == {0.0, 2.0}


def test_part_of_a_clip_is_refused():
  model, batch = Alpro(**TINY), tiny_batch()
  with pytest.raises(ValueError, match="11 patches are not the 2 x 6"):
    model.init(jax.random.key(0), {**batch, "video/patches": batch["video/patches"][:, :11]}, train=False)


def test_memory_saved_changes_nothing():
  model, batch = Alpro(**TINY), tiny_batch()
  variables = random_variables(model, batch)

  def gradient(model):
    total = lambda v: sum(jnp.sum(jnp.sin(x)) for x in model.apply(v, batch, train=False).values())
    return jax.jit(jax.grad(total))(variables)

  saved = gradient(model.clone(remat="full"))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), gradient(model), saved)
