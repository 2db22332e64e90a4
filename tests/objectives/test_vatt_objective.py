"""The VATT objective: which pairs are compared, with what weight, and what it reports."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.test_vatt import TINY, tiny_batch
from vatt_jax.losses.nce import mil_nce
from vatt_jax.models.vatt import Vatt
from vatt_jax.objectives.vatt import PAIRS, Contrast, VattObjective, duplicate_share, overlapping_share

TWO = {"video_audio": Contrast(1.0), "video_text": Contrast(3.0), "audio_text": Contrast(0.0)}


def batch():
  return tiny_batch() | {f"{modality}/present": np.array([1, 1, 0], bool) for modality in ("video", "audio", "text")}


@pytest.fixture(scope="module")
def fitted():
  objective = VattObjective(Vatt(**TINY, dropout=0.0), TWO)
  variables = jax.jit(lambda: objective.init(jax.random.key(0), batch()))()
  return objective, variables


def run(objective, variables, train=False):
  return jax.jit(lambda v: objective.loss(v, batch(), jax.random.key(1), train))(variables)


def test_the_loss_is_the_weighted_mean_of_the_pairs(fitted):
  objective, variables = fitted
  loss, metrics, _ = run(objective, variables)
  out = jax.jit(objective.encode)(variables, batch())
  present = batch()["text/present"]
  sound = mil_nce(out["video/va"], out["audio/va"][:, None], present, temperature=0.07, video_present=present)
  words = mil_nce(out["video/vt"], out["text/vt"], present, temperature=0.07, video_present=present)
  np.testing.assert_allclose(metrics["loss/video_audio"], sound, rtol=1e-5)
  np.testing.assert_allclose(metrics["loss/video_text"], words, rtol=1e-5)
  np.testing.assert_allclose(loss, (sound + 3 * words) / 4, rtol=1e-5)
  assert "loss/audio_text" not in metrics


def test_overlaps_are_counted_and_masked_if_asked(fitted):
  """The two clips that are present show the same seconds: masked, none has a negative, and the loss is at its floor."""
  objective, variables = fitted
  spans = {"clip/source": np.array([5, 5, -1], np.int32), "clip/span": np.array([[0, 3], [1, 4], [0, 3]], np.float32)}
  run = lambda objective: jax.jit(lambda v, b: objective.loss(v, b, jax.random.key(1), False))(
    variables, batch() | spans
  )
  loss, metrics, _ = run(objective)
  assert metrics["data/overlapping_clips"] == pytest.approx(2 / 3)
  assert overlapping_share(*(part[1:] for part in spans.values())) == 0.0
  np.testing.assert_allclose(run(dataclasses.replace(objective, mask_overlaps=True))[0], np.log(2), rtol=1e-5)
  assert loss > np.log(2) + 0.1


def test_windows_around_a_caption_are_all_its_positives(fitted):
  """Three windows against one caption: MIL-NCE with the sides changed. Sound belongs to the first window."""
  objective, variables = fitted
  several = batch()
  for key in ("video/patches", "video/positions"):
    several[key] = np.stack([several[key], several[key][::-1], np.roll(several[key], 1, axis=0)], 1)
  for key in ("text/ids", "text/mask"):
    several[key] = several[key][:, :1]
  out = jax.jit(objective.encode)(variables, several)
  single = jax.jit(objective.encode)(variables, batch())
  np.testing.assert_allclose(out["video/vt"][:, 0], single["video/vt"], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(out["video/vt"][:, 1], single["video/vt"][::-1], rtol=1e-4, atol=1e-5)
  metrics = jax.jit(lambda v: objective.loss(v, several, jax.random.key(1), False))(variables)[1]
  present = several["text/present"]
  words = mil_nce(out["text/vt"][:, 0], out["video/vt"], present, temperature=0.07, video_present=present)
  sound = mil_nce(out["video/va"][:, 0], out["audio/va"][:, None], present, temperature=0.07, video_present=present)
  np.testing.assert_allclose(metrics["loss/video_text"], words, rtol=1e-5)
  np.testing.assert_allclose(metrics["loss/video_audio"], sound, rtol=1e-5)


def test_the_sum_is_an_option(fitted):
  objective, variables = fitted
  summed = dataclasses.replace(objective, reduction="sum")
  np.testing.assert_allclose(run(summed, variables)[0], 4 * run(objective, variables)[0], rtol=1e-5)


def test_training_returns_new_batch_statistics_and_keeps_frozen_tables(fitted):
  objective, variables = fitted
  state = run(objective, variables, train=True)[2]
  assert set(state) == {"batch_stats", "frozen"}
  np.testing.assert_array_equal(jax.tree.leaves(state["frozen"])[0], jax.tree.leaves(variables["frozen"])[0])
  assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (state["batch_stats"], variables["batch_stats"]))))


def test_sound_meets_text_through_video_unless_the_pair_is_trained():
  spaces = lambda pairs, own: VattObjective(Vatt(**TINY, audio_text=own), pairs).spaces[("audio", "text")]
  assert spaces(TWO, False) == ("audio/vt", "text/vt")
  assert spaces(TWO | {"audio_text": Contrast()}, True) == ("audio/at", "text/at")


def test_wrong_settings_are_named():
  with pytest.raises(ValueError, match="video_smell"):
    VattObjective(Vatt(**TINY), {"video_smell": Contrast()})
  with pytest.raises(ValueError, match="positive weight"):
    VattObjective(Vatt(**TINY), {"video_audio": Contrast(0.0)})
  with pytest.raises(ValueError, match="asymmetric, asymmetric_once, symmetric, sigmoid"):
    Contrast(loss="nce")
  with pytest.raises(ValueError, match="temperature 0 is not positive"):
    Contrast(temperature=0)
  with pytest.raises(ValueError, match="ring is for"):
    VattObjective(Vatt(**TINY), {"video_text": Contrast(loss="sigmoid")}, ring=True)


def test_any_pair_is_compared_in_its_own_way():
  """All six pairs, two modalities together among them; what a pair learns of its own starts as the table says."""
  pairs = {name: Contrast() for name in PAIRS} | {
    "video_text": Contrast(loss="sigmoid", temperature=0.1),
    "videoaudio_text": Contrast(temperature=0.2, learned=True),
  }
  model = Vatt(**TINY, dropout=0.0, audio_text=True, joined=("videoaudio", "videotext", "audiotext"))
  objective = VattObjective(model, pairs)
  variables = jax.jit(lambda: objective.init(jax.random.key(0), batch()))()
  learned = variables["params"]["contrast"]
  assert set(learned) == {"video_text", "videoaudio_text"}
  assert learned["video_text"] == {"bias": -10.0}
  loss = lambda params: objective.loss({**variables, "params": params}, batch(), jax.random.key(1), True)[:2]
  (total, metrics), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
  assert np.isfinite(total) and metrics["temperature/videoaudio_text"] == pytest.approx(0.2)
  temperatures = objective.temperatures(variables)
  assert temperatures["video", "text"] == 0.1 and temperatures["videoaudio", "text"] == pytest.approx(0.2)
  assert {f"loss/{name}" for name in PAIRS} <= set(metrics)
  assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads["contrast"]))
  assert objective.spaces["videoaudio", "text"] == ("videoaudio/va_t", "text/va_t")
  out = jax.jit(objective.encode)(variables, batch())
  assert out["videoaudio/va_t"].shape[0] == out["text/va_t"].shape[0] == 3
  assert all(output in out for outputs in objective.spaces.values() for output in outputs)


def test_a_pair_may_have_captions_of_its_own_kind():
  """Of four captions two are of the sound and two of the picture; the second clip has none of the sound."""
  pairs = {name: Contrast() for name in ("audio_text_sound", "video_text_picture", "videotext_audio_sound")}
  model = Vatt(**TINY, dropout=0.0, audio_text=True, joined=("videotext",))
  objective = VattObjective(model, pairs, kinds=("sound", "picture"))
  whole = batch()
  for key in ("text/ids", "text/mask"):
    whole[key] = np.concatenate([whole[key], np.roll(whole[key], 1, axis=0)], axis=1)
  whole["text/kinds"] = np.array([[1, 1], [0, 1], [1, 1]], bool)
  variables = jax.jit(lambda: objective.init(jax.random.key(0), whole))()
  out = jax.jit(objective.encode)(variables, whole)
  metrics = jax.jit(lambda v: objective.loss(v, whole, jax.random.key(1), False))(variables)[1]
  here, heard, seen = whole["audio/present"], whole["text/kinds"][:, 0], whole["text/kinds"][:, 1]
  expected = {
    "audio_text_sound": (out["audio/at"], out["text/at"][:, :2], heard, here),
    "video_text_picture": (out["video/vt"], out["text/vt"][:, 2:], seen, here),
    "videotext_audio_sound": (out["audio/vt_a"], out["videotext/vt_a"][:, :2], heard & here, here),
  }
  for pair, (one, several, present, one_present) in expected.items():
    value = mil_nce(one, several, present, temperature=0.07, video_present=one_present)
    np.testing.assert_allclose(metrics[f"loss/{pair}"], value, rtol=1e-5)
  with pytest.raises(ValueError, match="pair video_text needs '' in data.text.kinds"):
    VattObjective(model, {"video_text": Contrast()}, kinds=("sound",))
  with pytest.raises(ValueError, match="pairs .'video_audio_sound'. are not among"):
    VattObjective(model, {"video_audio_sound": Contrast()}, kinds=("sound",))


def test_duplicate_captions_are_counted_among_present_ones():
  ids = jnp.array([[1, 2, 0], [1, 2, 0], [3, 0, 0], [1, 2, 0], [3, 4, 0]])
  assert duplicate_share(ids, jnp.array([True, True, True, False, True])) == pytest.approx(2 / 4)
  assert duplicate_share(ids, jnp.array([True, False, True, False, True])) == 0.0
