"""Training examples as the model sees them, as a page: what is left after cropping, colours, noise and DropToken."""

from collections.abc import Sequence
import io

from etils import epath
import numpy as np
from PIL import Image
import tensorflow as tf

from vatt_jax import jobs
from vatt_jax.data import pipeline, records as records_lib
from vatt_jax.data.audio import AudioOptions
from vatt_jax.data.video import VideoOptions
from vatt_jax.errors import UserError
from vatt_jax.evaluation.report import media
from vatt_jax.evaluation.report.markup import Markup, tag
from vatt_jax.evaluation.report.page import Section, document, lead
from vatt_jax.inspection.record import open_numbers

GREY = 128  # where a patch was dropped
SHOWN_FRAMES = 8
PICTURE_BYTES, SOUND_BYTES = 60_000, 600_000


def write(config, numbers: Sequence[int], epoch: int, path: str) -> None:
  """Writes the page of some training records.

  Args:
    config: of a training run; its seed and its data are used.
    epoch: which visit; every one has its own crops, colours and dropped patches.

  Raises:
    UserError: for a data set or a record that does not exist, or a page that cannot be written.
  """
  workdir = str(epath.Path(path).parent)
  jobs.complete(config, workdir)
  inputs = jobs.open_inputs(config, workdir)
  records = open_numbers(inputs.directory, "train", numbers)
  example = pipeline.example_function(inputs.options, inputs.tokenizer, config.seed, train=True)
  sections = []
  for number in numbers:
    seen = example(tf.constant(records[number]), tf.constant(epoch, tf.int64), tf.constant(number, tf.int64))
    seen = {name: value.numpy() for name, value in seen.items()}
    sections.append(Section(f"record-{number}", f"Record {number}", _example(seen, records[number], inputs.options)))
  shapes = [
    tag("li", f"{n}: {s.dtype} {s.shape}") for n, s in pipeline.batch_spec(inputs.options, config.batch_size).items()
  ]
  header = tag(
    "header",
    tag("h1", "A batch as the model sees it"),
    tag("style", _STYLE),
    lead(f"Records of {inputs.directory} in epoch {epoch}. Dropped patches are grey, dropped samples silent."),
    tag("ul", shapes),
  )
  try:
    epath.Path(path).write_text(document("A batch", header, sections))
  except OSError as error:
    raise UserError(f"--page={path} cannot be written: {error.strerror or error}.") from error


def _example(seen: dict[str, np.ndarray], record: bytes, options: pipeline.InputOptions) -> Markup:
  parts = []
  if "video/patches" in seen and seen["video/present"]:
    windows = seen["video/patches"].ndim - 1
    clips = (
      zip(seen["video/patches"], seen["video/positions"])
      if windows > 1
      else [(seen["video/patches"], seen["video/positions"])]
    )
    for patches, positions in clips:
      frames = unpatch_video(patches, positions, options.video)
      chosen = np.linspace(0, len(frames) - 1, min(SHOWN_FRAMES, len(frames))).astype(int)
      parts.append(tag("div", [media.picture(_jpeg(frames[i]), PICTURE_BYTES) for i in chosen], class_="frames"))
  if "audio/patches" in seen and seen["audio/present"]:
    if options.audio.spectrogram:
      parts.append(media.picture(_jpeg(_spectrogram(seen["audio/patches"], options.audio)), PICTURE_BYTES))
    else:
      wave = unpatch_audio(seen["audio/patches"], seen["audio/positions"], options.audio)
      parts.append(media.player(wave, options.audio.sample_rate_hz, SOUND_BYTES))
  if "text/ids" in seen:
    row = records_lib.decode(record)
    parts += [tag("p", text.decode("utf-8", "replace")) for text in row["captions/text"]]
    parts += [
      tag("p", tag("code", " ".join(map(str, ids[mask])))) for ids, mask in zip(seen["text/ids"], seen["text/mask"])
    ]
  if "label" in seen:
    parts.append(tag("p", f"label {seen['label']}"))
  return tag("div", parts or tag("p", "nothing of what the model looks at", class_="missing"))


def unpatch_video(patches: np.ndarray, positions: np.ndarray, options: VideoOptions) -> np.ndarray:
  """uint8 (K, P) and their positions -> frames uint8 (T, H, W, 3), grey where a patch is missing."""
  (T, H, W), (t, h, w) = options.grid, options.patch
  whole = np.full([T * H * W, t * h * w * 3], GREY, np.uint8)
  whole[positions] = patches
  return whole.reshape(T, H, W, t, h, w, 3).transpose(0, 3, 1, 4, 2, 5, 6).reshape(options.frames, *options.pixels, 3)


def unpatch_audio(patches: np.ndarray, positions: np.ndarray, options: AudioOptions) -> np.ndarray:
  """int16 (K, P) and their positions -> int16 (S,), silent where a patch is missing."""
  whole = np.zeros([options.samples // options.patch, options.patch], np.int16)
  whole[positions] = patches
  return whole.reshape(-1)


def _spectrogram(patches: np.ndarray, options: AudioOptions) -> np.ndarray:
  """Low notes at the bottom, as grey levels (mels, frames, 3)."""
  (T, M), (t, m) = options.grid, options.spectrogram_patch
  mel = patches.reshape(T, M, t, m).transpose(0, 2, 1, 3).reshape(T * t, M * m)
  return np.repeat((255 * mel.T[::-1, :, None]).astype(np.uint8), 3, axis=2)


def _jpeg(pixels: np.ndarray) -> bytes:
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "JPEG", quality=90)
  return file.getvalue()


_STYLE = Markup(
  ".frames { display: flex; flex-wrap: wrap; gap: 6px; } .frames img { width: 112px; border-radius: 6px; }"
)
