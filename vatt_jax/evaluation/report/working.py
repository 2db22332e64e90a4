"""The model at work: which units of its layers fire for which modality, and what its attention rests on."""

import io

import numpy as np
from PIL import Image

from vatt_jax.evaluation.embeddings import MODALITIES
from vatt_jax.evaluation.inside import Followed, Inside
from vatt_jax.evaluation.report import figures, media, page
from vatt_jax.evaluation.report.markup import Markup, join, tag

_FRAMES = 4  # of each clip
_HEAT = (224, 40, 90)  # the colour that attention is shown in
_PICTURE_BYTES = 24_000
_SOUND_BYTES = 120_000


def units_section(inside: Inside) -> Markup:
  """A strip for each layer, and how strongly it fires on the whole."""
  names = [name for name in MODALITIES if name in inside.activity]
  layers = len(inside.activity[names[0]])
  parts = []
  if inside.shared and len(names) > 1:
    parts += [
      page.lead(
        f"One encoder serves all modalities; here is what each unit of its {layers} feed-forward layers fires for, over "
        f"{len(inside)} clips of “{inside.split}”. A strip is a layer, the first one on top; its units stand sorted by the "
        "modality that most of their activity comes from, in that modality's colour, and grey where they fire for all "
        "alike. Wide stripes of strong colour are experts for one modality; grey is what modalities share. In VATT "
        "(figure 4) early units fire for text, middle and late ones for video and sound, the last ones for all."
      ),
      figures.unit_strips({name: inside.activity[name] for name in names}),
    ]
  else:
    parts.append(
      page.lead(
        "Each modality has an encoder of its own, so there are no units that could be shared; how strongly each layer "
        "fires on the whole can be compared all the same."
      )
    )
  curves = [
    figures.Curve(name, np.arange(1, len(rows) + 1), rows.mean(axis=1), page.modality_colour(name))
    for name, rows in ((name, inside.activity[name]) for name in names)
  ]
  words = tag(
    "p", tag("small", "How strongly a layer's units fire, mean over its units (positive part of the activation).")
  )
  parts += [tag("h4", "Activity of each layer"), figures.line_chart(curves, x_name="layer"), words]
  return join(parts)


def attention_section(inside: Inside) -> Markup:
  """Pictures under heat, and sounds with heat along them."""
  clips = [clip for clip in inside.followed if clip.frames_heat is not None or clip.sound_heat is not None]
  if not clips:
    return page.missing("None of the clips that were looked at has video or sound.")
  tops = [heat.max() * heat.size for clip in clips for heat in (clip.frames_heat, clip.sound_heat) if heat is not None]
  full = max(1.05, float(np.quantile(tops, 0.9)))
  lead = page.lead(
    f"What the embedding of a clip is made of: attention rollout follows the weights of all layers from the aggregation "
    f"token back to each patch. No colour: a patch counts as much as it would if all counted the same, or less; full "
    f"colour: {full:.1f} times as much. A good encoder looks at the thing, not at the ground, and listens to the word, "
    "not to the silence around it; even colour means that it does not choose. Heat says where it looks, not what it sees."
  )
  return join([lead, tag("div", [_clip(clip, full, inside.sample_rate_hz) for clip in clips], class_="followed")])


def _clip(clip: Followed, full: float, rate_hz: int) -> Markup:
  parts = [tag("figcaption", tag("b", tag("bdi", page.shorten(clip.caption or "(no caption)", 60))))]
  if clip.frames_heat is not None:
    strength = _strength(clip.frames_heat, full)
    chosen = np.unique(np.linspace(0, len(clip.frames) - 1, min(_FRAMES, len(clip.frames))).round().astype(int))
    pictures = []
    for i in chosen:
      plain = media.picture(_jpeg(_large(clip.frames[i])), _PICTURE_BYTES, clip.caption)
      heated = media.picture(
        _jpeg(under_heat(clip.frames[i], strength[i])), _PICTURE_BYTES, f"attention on {clip.caption}"
      )
      pictures.append(tag("div", plain, heated, class_="pair"))
    parts.append(tag("div", pictures, class_="frames"))
  if clip.sound_heat is not None:
    strength = _strength(clip.sound_heat, full)
    if clip.waveform is not None:
      parts.append(figures.heated_waveform(clip.waveform, strength, len(clip.waveform) / rate_hz))
      parts.append(media.sound(clip.waveform, rate_hz, _SOUND_BYTES))
    else:
      grey = np.interp(clip.spectrogram, [clip.spectrogram.min(), clip.spectrogram.max() + 1e-9], [0, 255]).astype(
        np.uint8
      )
      upright = lambda x: x.T[::-1]  # Time runs to the right, low notes lie below.
      picture = under_heat(np.repeat(upright(grey)[:, :, None], 3, axis=2), upright(strength))
      parts.append(media.picture(_jpeg(picture), _PICTURE_BYTES, "attention on the spectrogram"))
  return tag("figure", parts)


def _strength(heat: np.ndarray, full: float) -> np.ndarray:
  """0 for a patch that counts as much as others or less, 1 for `full` times as much."""
  return np.clip((heat * heat.size - 1) / (full - 1), 0, 1)


def under_heat(frame: np.ndarray, strength: np.ndarray) -> np.ndarray:
  """A picture, paler, with colour where attention rests.

  Args:
    frame: uint8 (H, W, 3).
    strength: (h, w) in [0, 1], one for each patch.

  Returns:
    uint8 (H', W', 3), at least 160 pixels high.
  """
  large = _large(frame).astype(np.float32)
  size = large.shape[1], large.shape[0]
  smooth = Image.fromarray((255 * strength).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
  alpha = 0.72 * np.asarray(smooth, np.float32)[:, :, None] / 255
  grey = large.mean(axis=2, keepdims=True)
  pale = 0.45 * large + 0.35 * grey + 0.2 * 255
  return np.clip((1 - alpha) * pale + alpha * np.array(_HEAT, np.float32)[None, None], 0, 255).astype(np.uint8)


def _large(frame: np.ndarray) -> np.ndarray:
  """At least 160 pixels high."""
  factor = max(1, -(-160 // frame.shape[0]))
  size = frame.shape[1] * factor, frame.shape[0] * factor
  return np.asarray(Image.fromarray(np.ascontiguousarray(frame)).resize(size, Image.Resampling.BICUBIC))


def _jpeg(picture: np.ndarray) -> bytes:
  file = io.BytesIO()
  Image.fromarray(picture).save(file, "JPEG", quality=85)
  return file.getvalue()
