"""What a model does with some clips of a split, for the report: see `objectives.inside`."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

import jax
import numpy as np

from vatt_jax.data import records as records_lib
from vatt_jax.evaluation.embeddings import MODALITIES
from vatt_jax.evaluation.views import Setting, Views

CLIPS = 256  # that are looked at
FOLLOWED = 8  # of them, those whose attention is followed


@dataclasses.dataclass(frozen=True)
class Followed:
  """One clip, and where the attention of its aggregation token goes.

  Attributes:
    caption: of the clip, or its label.
    frames: uint8 (T/t, H, W, 3), the middle one of each layer of patches in time; None without video.
    frames_heat: float32 (T/t, H/h, W/w), sum 1.
    waveform: int16 (samples,); None without sound, or where a spectrogram is heard.
    spectrogram: float32 (frames, bands); None where a waveform is heard.
    sound_heat: float32 (N,) along the waveform, or (frames/f, bands/b); sum 1.
  """

  caption: str
  frames: np.ndarray | None = None
  frames_heat: np.ndarray | None = None
  waveform: np.ndarray | None = None
  spectrogram: np.ndarray | None = None
  sound_heat: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Inside:
  """Some clips of a split, on their way through the encoders; row i of everything belongs to clip i.

  Attributes:
    split: where they come from.
    shared: whether one encoder serves all modalities.
    inputs: modality -> float32 (n, D), the mean of the tokens that enter the encoder.
    outputs: modality -> float32 (n, D), what is pooled.
    present: modality -> bool (n,).
    activity: modality -> float64 (layers, F), the mean over clips of how strongly each unit fires.
    captions, languages, labels: n strings each, "" where there is none.
    followed: a few of the clips.
    sample_rate_hz: of their waveforms.
  """

  split: str
  shared: bool
  inputs: Mapping[str, np.ndarray]
  outputs: Mapping[str, np.ndarray]
  present: Mapping[str, np.ndarray]
  activity: Mapping[str, np.ndarray]
  captions: Sequence[str]
  languages: Sequence[str]
  labels: Sequence[str]
  followed: Sequence[Followed]
  sample_rate_hz: int = 0

  def __len__(self) -> int:
    return len(self.captions)


def look_inside(
  look: Callable[[dict, dict], dict], setting: Setting, variables: dict, split: str, shared: bool, batch_size: int
) -> Inside:
  """Looks at up to `CLIPS` clips of a split, drawn at random, always the same ones.

  Args:
    look: jitted, (variables, batch) -> what `objectives.inside.look` returns.
    shared: whether one encoder serves all modalities.
    batch_size: a multiple of the devices that share a batch.
  """
  whole = records_lib.open_split(setting.directory, split)
  chosen = np.random.default_rng(0).permutation(len(whole))[:CLIPS]
  records = records_lib.Some(whole, chosen)
  views = Views(records, setting, batch_size)
  columns: dict[str, list[np.ndarray]] = {}
  followed = []
  for rows, batch in views:
    out = jax.device_get(look(variables, setting.place(batch)))
    for key in [key for key in out if not key.endswith("/rollout")]:
      columns.setdefault(key, []).append(np.asarray(out[key], np.float32)[: len(rows)])
    for name in MODALITIES:
      if f"{name}/present" in batch:
        columns.setdefault(f"{name}/present", []).append(batch[f"{name}/present"][: len(rows)])
    if not followed:
      heats = {key.split("/")[0]: value for key, value in out.items() if key.endswith("/rollout")}
      batch = setting.gather(batch)  # With pictures and sounds of the clips that are shown.
      followed = [_follow(i, batch, heats, setting.options) for i in range(min(FOLLOWED, len(rows)))]
  good = views.readable()
  columns = {key: np.concatenate(parts)[good] for key, parts in columns.items()}
  of = lambda what: {key.split("/")[0]: value for key, value in columns.items() if key.endswith(f"/{what}")}
  present, activity = of("present"), of("activity")
  labels, captions, languages = (_strings(records, good, what) for what in ("label", "caption", "language"))
  named = [
    dataclasses.replace(clip, caption=_strings(records, [i], "caption")[0] or _strings(records, [i], "label")[0])
    for i, clip in enumerate(followed)
    if i not in views.broken
  ]
  firing = {
    name: value[present[name]].mean(axis=0, dtype=np.float64) for name, value in activity.items() if present[name].any()
  }
  audio = setting.options.audio
  return Inside(
    split, shared, of("input"), of("output"), present, firing, captions, languages, labels, named,
    audio.sample_rate_hz if audio else 0,
  )  # fmt: skip


def _strings(records, numbers, what: str) -> list[str]:
  key = {"caption": "captions/text"}.get(what, what)
  rows = (records_lib.decode(records[int(number)])[key] or [b""] for number in numbers)
  return [row[len(row) // 2].decode("utf-8", "replace") for row in rows]


def _follow(i: int, batch: dict, heats: dict[str, np.ndarray], options) -> Followed:
  """Row i of a batch, back from patches to what a person sees and hears."""
  parts = {}
  if "video" in heats and batch["video/present"][i]:
    grid, patch = options.video.grid, options.video.patch
    frames = join_patches(batch["video/patches"][i], grid, patch)
    parts["frames"] = frames[patch[0] // 2 :: patch[0]]
    parts["frames_heat"] = heats["video"][i].reshape(grid)
  if "audio" in heats and batch["audio/present"][i]:
    values, grid = batch["audio/patches"][i], options.audio.grid
    parts["sound_heat"] = heats["audio"][i].reshape(grid)
    if len(grid) == 1:
      parts["waveform"] = values.reshape(-1)
    else:
      t, f = options.audio.spectrogram_patch
      parts["spectrogram"] = values.reshape(*grid, t, f).swapaxes(1, 2).reshape(grid[0] * t, grid[1] * f)
  return Followed("", **parts)


def join_patches(patches: np.ndarray, grid: tuple[int, int, int], patch: tuple[int, int, int]) -> np.ndarray:
  """(N, P) in the order of the grid, P in (t, y, x, channel) order -> (T, H, W, 3)."""
  parts = patches.reshape(*grid, *patch, 3)
  size = [n * p for n, p in zip(grid, patch)]
  return parts.transpose(0, 3, 1, 4, 2, 5, 6).reshape(*size, 3)
