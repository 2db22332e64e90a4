"""The model family: exact parameter counts, and what the architecture promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vatt_jax.models.sizes import SIZES, size
from vatt_jax.models.text import relative_buckets
from vatt_jax.models.towers import gabor_init, to_unit_range
from vatt_jax.models.vatt import Vatt

TINY = dict(
    video_size="tiny", audio_size="tiny", text_size="tiny", video_grid=(2, 2, 2), audio_grid=(6,), text_length=5,
    vocabulary_size=11, word_width=8, post_width=16, va_width=12, vt_width=10,
)  # fmt: skip


def batch_of(rows, video_tokens, video_values, audio_tokens, audio_values, candidates, length):
  random = np.random.default_rng(0)
  ids = random.integers(1, 11, (rows, candidates, length)).astype(np.int32)
  places = lambda n: np.broadcast_to(np.arange(n, dtype=np.int32), (rows, n))
  return {
    "video/patches": random.integers(0, 256, (rows, video_tokens, video_values)).astype(np.uint8),
    "video/positions": places(video_tokens),
    "audio/patches": random.integers(-3000, 3000, (rows, audio_tokens, audio_values)).astype(np.int16),
    "audio/positions": places(audio_tokens),
    "text/ids": ids,
    "text/mask": ids != 0,
  }


def tiny_batch():
  return batch_of(3, 8, 12, 6, 20, 2, 5)


@pytest.fixture(scope="module", params=[False, True], ids=["specific", "agnostic"])
def tiny(request):
  model = Vatt(**TINY, agnostic=request.param, audio_text=True)
  return model, jax.jit(lambda key: model.init(key, tiny_batch(), train=False))(jax.random.key(0))


# Counted on the official models: trainable parameters.
COUNTS = {
  ("base", "base", "small", False): 193_877_292,
  ("medium", "base", "small", False): 260_905_772,
  ("large", "base", "small", False): 412_060_460,
  ("base", "base", "base", True): 93_965_568,
  ("medium", "medium", "medium", True): 162_990_336,
  ("large", "large", "large", True): 314_145_024,
}


@pytest.mark.parametrize("sizes", COUNTS, ids=lambda s: "-".join(map(str, s)))
def test_parameter_counts_are_the_published_ones(sizes):
  video, audio, text, agnostic = sizes
  model = Vatt(
      video_size=video, audio_size=audio, text_size=text, agnostic=agnostic, video_grid=(8, 14, 14), audio_grid=(1200,),
      text_length=16, vocabulary_size=65_536,
  )  # fmt: skip
  batch = batch_of(1, 784, 3072, 600, 128, 5, 16)
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), batch, train=False))
  assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == COUNTS[sizes]
  assert sum(x.size for x in jax.tree.leaves(shapes["frozen"])) == 65_536 * 300


def test_patches_are_a_set(tiny):
  """Positions travel with the patches: shuffling both changes nothing."""
  model, variables = tiny
  batch, order = tiny_batch(), np.random.default_rng(1).permutation(8)
  shuffled = {
    **batch,
    "video/patches": batch["video/patches"][:, order],
    "video/positions": batch["video/positions"][:, order],
  }
  apply = jax.jit(lambda batch: model.apply(variables, batch, train=False)["video/pooled"])
  np.testing.assert_allclose(apply(batch), apply(shuffled), atol=1e-5)
  moved = {**batch, "video/positions": batch["video/positions"][:, order]}
  assert np.abs(apply(batch) - apply(moved)).max() > 1e-3


def test_padding_does_not_change_a_sentence(tiny):
  model, variables = tiny
  apply = jax.jit(lambda batch: model.apply(variables, batch, train=False)["text/pooled"])
  batch = tiny_batch()
  batch["text/mask"] = np.arange(5) < 3 + np.zeros((3, 2, 1), int)
  other = {**batch, "text/ids": np.where(batch["text/mask"], batch["text/ids"], 7).astype(np.int32)}
  np.testing.assert_allclose(apply(batch), apply(other), atol=1e-6)


def test_outputs_and_shapes(tiny):
  model, variables = tiny
  shapes = {
    name: x.shape for name, x in jax.eval_shape(lambda: model.apply(variables, tiny_batch(), train=False)).items()
  }
  width = 16 if model.agnostic else size("tiny").width
  assert shapes == {
      "video/pooled": (3, width), "audio/pooled": (3, width), "text/pooled": (3, 2, width),
      "video/va": (3, 12), "audio/va": (3, 12), "video/vt": (3, 10), "audio/vt": (3, 10), "text/vt": (3, 2, 10),
      "audio/at": (3, 10), "text/at": (3, 2, 10),
  }  # fmt: skip


def test_sound_reaches_text_by_the_video_branch(tiny):
  """`audio/vt` is ReLU, linear, BatchNorm (with running statistics) of `audio/va`, with video's weights."""
  model, variables = tiny
  out = jax.jit(lambda: model.apply(variables, tiny_batch(), train=False))()
  kernel = variables["params"]["heads"]["va_to_vt_projection"]["kernel"]
  expected = np.maximum(out["audio/va"], 0) @ kernel / np.sqrt(1 + 1e-5)
  np.testing.assert_allclose(out["audio/vt"], expected, atol=1e-5)


def test_modality_agnostic_shares_only_the_encoder():
  model = Vatt(**TINY, agnostic=True)
  params = jax.eval_shape(lambda: model.init(jax.random.key(0), tiny_batch(), train=False))["params"]
  assert set(params) == {"encoder", "video", "audio", "text", "heads"}
  assert all("encoder" not in params[modality] for modality in ("video", "audio", "text"))


def test_training_updates_batch_statistics_and_uses_dropout(tiny):
  model, variables = tiny
  run = jax.jit(
    lambda key: model.apply(variables, tiny_batch(), train=True, rngs={"dropout": key}, mutable=["batch_stats"])
  )
  (first, state), (second, _) = run(jax.random.key(1)), run(jax.random.key(2))
  assert np.abs(first["text/vt"] - second["text/vt"]).max() > 1e-3
  moved = state["batch_stats"]["heads"]["video_to_va_norm"]["mean"]
  assert np.abs(moved).max() > 0


def test_relative_buckets_are_those_of_the_official_code():
  """Row 0 and column 0 of the 17 x 17 table, read off the official encoder (largest distance 64)."""
  table = relative_buckets(17)
  assert table[0].tolist() == [0, 17, 18, 19, 20, 21, 22, 23, 24, 24, 24, 25, 25, 25, 26, 26, 26]
  assert table[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 9, 9, 9, 10, 10, 10]


def test_pixels_and_samples_become_unit_range():
  np.testing.assert_allclose(to_unit_range(jnp.array([0, 255], jnp.uint8)), [-1, 1])
  np.testing.assert_allclose(to_unit_range(jnp.array([-32768, 16384], jnp.int16)), [-1, 0.5])


def test_gabor_start_is_unit_norm_and_covers_the_band():
  kernel = np.asarray(gabor_init(16_000)(jax.random.key(0), (160, 32), jnp.float32))
  np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-5)
  peaks = np.abs(np.fft.rfft(kernel[:, :16], axis=0)).argmax(axis=0)
  assert np.all(np.diff(peaks) >= 0) and peaks[0] <= 2 and peaks[-1] > 60


def test_unknown_size_lists_the_known_ones():
  with pytest.raises(ValueError, match="base") as error:
    size("huge")
  assert all(name in str(error.value) for name in SIZES)
