"""A look inside: clips find their way back from patches, and the rows of everything belong together."""

import numpy as np

from vatt_jax.data import patches as patches_lib, pipeline
from vatt_jax.data.audio import AudioOptions
from vatt_jax.data.video import VideoOptions
from vatt_jax.evaluation import inside
from vatt_jax.evaluation.views import Setting


def test_patches_join_to_the_frames_they_came_from():
  frames = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3)).astype(np.uint8)
  cut = patches_lib.video_patches(frames, (2, 3, 4))
  np.testing.assert_array_equal(inside.join_patches(cut, (2, 2, 2), (2, 3, 4)), frames)


def test_some_clips_are_looked_at(miniature):
  options = pipeline.InputOptions(
    video=VideoOptions(frames=4, frames_per_second=10.0, size=48, patch=(2, 16, 16), drop_rate=0.0),
    audio=AudioOptions(samples=3200, sample_rate_hz=8000, patch=160, drop_rate=0.0),
  )
  seen = []

  def look(variables, batch):
    """The colour of a clip is all that enters and leaves; attention rests on the second patch."""
    seen.append(len(batch["video/patches"]))
    colour = batch["video/patches"].reshape(len(batch["video/patches"]), -1, 3).mean(axis=1)
    heat = np.eye(18, dtype=np.float32)[[1] * 8]
    wave = np.full([8, 20], 1 / 20, np.float32)
    return {
      "video/input": colour, "video/output": -colour, "video/rollout": heat, "audio/rollout": wave,
      "video/activity": np.stack([colour, 2 * colour], axis=1),
    }  # fmt: skip

  setting = Setting(look, {}, miniature, options, None)
  found = inside.look_inside(look, setting, {}, "train", shared=True, batch_size=8)
  assert seen == [8] * 6 and len(found) == 48 and found.split == "train"
  np.testing.assert_array_equal(found.outputs["video"], -found.inputs["video"])
  here = found.present["video"]
  assert 0 < here.sum() < 48  # Some lack picture; they take no part in what units do.
  np.testing.assert_allclose(found.activity["video"][1], 2 * found.inputs["video"][here].mean(axis=0), rtol=1e-5)
  for label in set(found.labels):  # Clips of one label have one colour: rows belong to their labels.
    rows = here & (np.array(found.labels) == label)
    assert len(np.unique(found.inputs["video"][rows].argmin(axis=1))) <= 2
  clip = next(clip for clip in found.followed if clip.frames is not None and clip.waveform is not None)
  assert (
    clip.frames.shape == (2, 48, 48, 3) and clip.frames_heat.shape == (2, 3, 3) and clip.frames_heat[0, 0, 1] == 1.0
  )
  assert clip.waveform.shape == (3200,) and clip.waveform.dtype == np.int16 and clip.sound_heat.shape == (20,)
  again = inside.look_inside(look, setting, {}, "train", shared=True, batch_size=8)
  assert again.captions == found.captions and found.captions != sorted(found.captions)
