"""Miniature clips made on the spot: a coloured square that moves, a tone, and a caption that says both.

For `:smoke` configs and tests: no download, a second of work, and something that can be learned.
"""

import dataclasses
import hashlib
import io

import numpy as np
from PIL import Image

from vatt_jax.preparation import dataset
from vatt_jax.preparation.clips import SPLITS, Caption, Clip, Question
from vatt_jax.preparation.units import Decoded

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (40, 70, 220), "yellow": (230, 210, 50)}
TONES_HZ = {"low": 220, "middle": 440, "high": 880}
SIZE, FRAMES, FRAMES_PER_SECOND, SAMPLE_RATE_HZ = 48, 10, 10, 8_000


@dataclasses.dataclass(frozen=True)
class Miniature:
  """Clip number `number`; every ninth has no picture, every tenth no sound, every eleventh no caption."""

  number: int
  split: str

  @property
  def name(self) -> str:
    return f"{self.split}-{self.number:05d}"

  def identity(self) -> str:
    return hashlib.sha256(f"miniature 2 {self.name}".encode()).hexdigest()

  def decode(self) -> Decoded:
    random = np.random.default_rng([self.number, SPLITS.index(self.split)])
    colour, tone = (list(names)[random.integers(len(names))] for names in (COLOURS, TONES_HZ))
    seconds = FRAMES / FRAMES_PER_SECOND
    time = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    wave = 0.3 * np.sin(2 * np.pi * TONES_HZ[tone] * time + random.uniform(0, 6)) + 0.01 * random.normal(size=len(time))
    missing = [self.number % n == n - 1 for n in (9, 10, 11)]
    caption = Caption(f"A {colour} square and a {tone} tone, number {self.number % 97} of {self.split}.", 0.0, seconds)
    clip = Clip(
      key=self.name,
      split=self.split,
      frames=() if missing[0] else tuple(_draw(COLOURS[colour], random)),
      timestamps=() if missing[0] else tuple(i / FRAMES_PER_SECOND for i in range(FRAMES)),
      samples=np.zeros(0, np.int16) if missing[1] else np.round(wave * 32767).astype(np.int16),
      sample_rate_hz=SAMPLE_RATE_HZ,
      captions=() if missing[2] else (caption,),
      questions=(Question("what colour is the square?", colour), Question(f"what is {tone}?", "the tone")),
      language="en",
      label=colour,
      source=f"miniature/{self.name}",
    )
    return Decoded([clip])


def prepare(directory: str, train: int = 48, held_out: int = 12) -> str:
  """Writes the miniature data set into `directory`, unless it is there, and returns `directory`."""
  counts = {"train": train, "validation": held_out, "test": held_out}
  units = [Miniature(i, split) for split, count in counts.items() for i in range(count)]
  options = {"vocabulary_size": 0, "train": train, "held_out": held_out}
  dataset.prepare(units, directory, source="miniature", options=options, progress=False)
  return directory


def _draw(colour, random):
  place, speed = random.uniform(4, 28, 2), random.uniform(-1.5, 1.5, 2)
  for i in range(FRAMES):
    pixels = np.full((SIZE, SIZE, 3), 235, np.uint8)
    y, x = np.clip(place + speed * i, 0, SIZE - 16).astype(int)
    pixels[y : y + 16, x : x + 16] = colour
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=90)
    yield encoded.getvalue()
