"""Evaluation sets without an encoder: clips with a known share of meaning in their embeddings."""

import io

import numpy as np
from PIL import Image, ImageDraw
import pytest

from vatt_jax.evaluation.embeddings import EmbeddedSet

LANGUAGES = {"fr": "un chat", "ru": "кошка", "ca": "un gat", "el": "μια γάτα", "he": "חתול", "en": "a cat"}
LABELS = ("animals", "plants", "food", "vehicles", "clothes", "space", "symbols", "household", "sports", "people")


def picture(rng: np.random.Generator, hue: int, size: int = 128) -> bytes:
  """A JPEG of a round thing on a coloured ground."""
  image = Image.new("HSV", (size, size), (hue, 60, 230))
  draw = ImageDraw.Draw(image)
  for _ in range(4):
    x, y, radius = rng.integers(size // 5, 4 * size // 5, 2).tolist() + [int(rng.integers(size // 12, size // 4))]
    colour = (hue + int(rng.integers(-30, 30))) % 256, int(rng.integers(120, 255)), int(rng.integers(60, 220))
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
  file = io.BytesIO()
  image.convert("RGB").save(file, "JPEG", quality=85)
  return file.getvalue()


def sound(rng: np.random.Generator, seconds: float, rate_hz: int) -> np.ndarray:
  """A few tones that swell and fade, int16."""
  time = np.arange(int(seconds * rate_hz)) / rate_hz
  envelope = np.abs(np.sin(2 * np.pi * rng.uniform(1, 3) * time)) * np.exp(-time)
  tones = sum(np.sin(2 * np.pi * rng.uniform(100, 900) * time) for _ in range(3)) / 3
  return (20000 * envelope * tones).astype(np.int16)


def build_set(
  name: str = "test",
  clips: int = 24,
  languages: tuple[str, ...] = ("fr", "ru"),
  noise: float = 1.0,
  width: int = 32,
  seconds: float = 0.3,
  rate_hz: int = 16000,
  seed: int = 0,
) -> EmbeddedSet:
  """Clips whose modalities share a meaning vector, drawn around their category's centre, plus noise of each own."""
  rng = np.random.default_rng(seed)
  centres = 1.2 * rng.normal(size=(len(LABELS), width))
  labels = rng.integers(len(LABELS), size=clips)
  meaning = centres[labels] + rng.normal(size=(clips, width))
  outputs = ("video/va", "audio/va", "video/vt", "text/vt", "audio/vt", "audio/at", "text/at")
  strength = {"video": 1.3 * noise, "audio": noise, "text": 0.6 * noise}
  gap = {modality: 2 * rng.normal(size=width) for modality in strength}
  spoken = [languages[i % len(languages)] for i in range(clips)]
  return EmbeddedSet(
    name=name,
    embeddings={
      output: (meaning + gap[modality] + strength[modality] * rng.normal(size=meaning.shape)).astype(np.float32)
      for output in outputs
      for modality in [output.split("/")[0]]
    },
    present={modality: np.ones(clips, bool) for modality in strength},
    spaces={
      ("video", "text"): ("video/vt", "text/vt"),
      ("video", "audio"): ("video/va", "audio/va"),
      ("audio", "text"): ("audio/at", "text/at"),
    },
    captions=[f"{LANGUAGES[language]} {i}" for i, language in enumerate(spoken)],
    languages=spoken,
    labels=[LABELS[label] for label in labels],
    sources=[f"clip{i}.mp4" for i in range(clips)],
    thumbnails=[picture(rng, int(25 * label)) for label in labels],
    waveforms=[sound(rng, seconds, rate_hz) for _ in range(clips)],
    sample_rate_hz=rate_hz,
  )


def build_history(steps: int = 2000, batch_size: int = 64, sets: tuple[str, ...] = ("validation",)) -> list[dict]:
  """What metrics.jsonl of a healthy run looks like."""
  rng, rows = np.random.default_rng(0), []
  for step in range(20, steps + 1, 20):
    progress = step / steps
    terms = {
      f"loss/{pair}": np.log(batch_size) * (1 - share * (1 - np.exp(-4 * progress))) + rng.normal(0, 0.07)
      for pair, share in (("video_text", 0.7), ("video_audio", 0.35), ("audio_text", 0.6))
    }
    row = {"step": step, "loss": sum(terms.values()), **terms, "loss/log_batch_size": float(np.log(batch_size))}
    row |= {"time/step_seconds": 0.31 + rng.normal(0, 0.005), "time/data_wait_fraction": 0.02}
    row |= {"throughput/clips_per_second": batch_size / row["time/step_seconds"]}
    rows.append(row)
    if step % 200 == 0:
      figures = {}
      for name in sets:
        for direction, best in (
          ("video_to_text", 0.3),
          ("text_to_video", 0.28),
          ("audio_to_text", 0.45),
          ("text_to_audio", 0.42),
          ("video_to_audio", 0.15),
          ("audio_to_video", 0.17),
        ):
          recall = 0.058 + (best - 0.058) * (1 - np.exp(-3 * progress)) + rng.normal(0, 0.01)
          figures[f"eval/{name}/{direction}/recall_at_5"] = recall
          figures[f"eval/{name}/{direction}/chance_recall_at_5"] = 0.058
      rows.append({"step": step, **figures})
  return rows


@pytest.fixture(name="make_set")
def make_set_fixture():
  """`build_set`, for tests."""
  return build_set


@pytest.fixture(name="make_history")
def make_history_fixture():
  """`build_history`, for tests."""
  return build_history
