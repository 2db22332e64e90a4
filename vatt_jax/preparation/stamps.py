"""The demo set: Tux Paint stamps. A drawing or photograph, a person who reads its name aloud, and the name as text.

Source: Debian package `tuxpaint-stamps-default` (GPL-2), 161 MB, downloaded once into the cache directory. Pictures,
voices and captions are real; only the motion, a slow pan and zoom over a coloured background, is made here. A picture
is rendered once and shared by the clips of all the languages it is named in.

For models of pictures and English alone there are the same stamps without voices: `demo:clips`, silent moving clips, and
`demo:pictures`, one frame each. `demo:effects` has what some stamps sound like instead of their names read aloud: an animal, an
engine, an instrument, with the picture and the English caption. `demo:kinds` is the demo set with captions by kind: of the sound,
of the picture, of both.

Splits go by English caption, so that validation and test hold pictures, voices and words that training never had.
"""

import dataclasses
import functools
import hashlib
import io
import pathlib
from typing import ClassVar
import urllib.parse

import av
import numpy as np
from PIL import Image

from vatt_jax.preparation import debian
from vatt_jax.preparation.clips import Caption, Clip
from vatt_jax.preparation.units import Decoded, Problem

PACKAGE = "tuxpaint-stamps-default"
KNOWN_SHA256 = ("6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",)  # 2022.06.04-1
LICENCE = "GPL-2 (Tux Paint stamps)"
LANGUAGES = ("be", "bg", "ca", "da", "el", "en", "es", "fr", "nl", "ro", "ru")
LOUDNESS = 0.08  # root mean square of every voice; the readers differ by 20 dB
# Few colours, so that none gives a picture away.
BACKGROUNDS = ((236, 240, 244), (250, 228, 208), (214, 234, 214), (208, 222, 246), (246, 214, 226), (250, 244, 200))
VALIDATION_SHARE, TEST_SHARE = 0.10, 0.15  # of the English captions


@dataclasses.dataclass(frozen=True)
class Stamp:
  """One picture with the captions and voices that exist for it.

  Attributes:
    name: path of the picture below the stamps folder, without its ending.
    root: the stamps folder.
    voices: language -> path of the voice below `root`.
    captions: language -> caption.
    size: side of the square frames in pixels.
    frames_per_second, sample_rate_hz: of the clips.
  """

  name: str
  root: str
  voices: dict[str, str]
  captions: dict[str, str]
  size: int
  frames_per_second: float
  sample_rate_hz: int
  longest_seconds: ClassVar[float | None] = None  # of a sound; the rest is cut off

  def identity(self) -> str:
    digest = hashlib.sha256(repr(dataclasses.replace(self, root="")).encode())
    for path in (f"{self.name}.png", *self.voices.values()):
      digest.update((pathlib.Path(self.root) / path).read_bytes())
    return digest.hexdigest()

  def decode(self) -> Decoded:
    root, decoded = pathlib.Path(self.root), Decoded()
    voices = {}
    for language, path in self.voices.items():
      try:
        voices[language] = _read_sound(root / path, self.sample_rate_hz, self.longest_seconds)
      except (av.FFmpegError, ValueError) as error:
        decoded.rejected.append(Problem(path, f"the sound cannot be decoded: {error}"))
    if not voices:
      return decoded
    seconds = max(len(voice) for voice in voices.values()) / self.sample_rate_hz
    frames = tuple(_render(root / f"{self.name}.png", self.size, max(1, round(seconds * self.frames_per_second))))
    for language, voice in voices.items():
      seconds = len(voice) / self.sample_rate_hz
      count = max(1, min(len(frames), round(seconds * self.frames_per_second)))
      decoded.clips.append(
        Clip(
          key=f"{self.name}/{language}",
          split=split_of(self.captions["en"]),
          frames=frames[:count],
          timestamps=tuple(i / self.frames_per_second for i in range(count)),
          samples=voice,
          sample_rate_hz=self.sample_rate_hz,
          captions=self._captions(language, seconds),
          language=language,
          label=self.name.split("/")[0],
          source=f"{PACKAGE}/{self.voices[language]}",
          licence=LICENCE,
        )
      )
    return decoded

  def _captions(self, language: str, seconds: float) -> tuple[Caption, ...]:
    return (Caption(self.captions[language], 0.0, seconds),)


@dataclasses.dataclass(frozen=True)
class StampByKind(Stamp):
  """A stamp with three captions: of the sound, what the voice says; of the picture, its English name; of both, both."""

  def _captions(self, language: str, seconds: float) -> tuple[Caption, ...]:
    said, seen = self.captions[language], self.captions["en"]
    texts = {"sound": said, "picture": seen, "both": f"{seen} {said}"}
    return tuple(Caption(text, 0.0, seconds, kind) for kind, text in texts.items())


@dataclasses.dataclass(frozen=True)
class Effect(Stamp):
  """A stamp whose only "voice", under "en", is its sound effect: what the thing itself sounds like."""

  longest_seconds: ClassVar[float | None] = 8.0


@dataclasses.dataclass(frozen=True)
class SilentStamp:
  """One picture with its English caption, as a clip of some frames.

  Attributes:
    name, root, size, frames_per_second: as of a `Stamp`.
    caption: English.
    frames: how many.
  """

  name: str
  root: str
  caption: str
  size: int
  frames: int
  frames_per_second: float

  def identity(self) -> str:
    digest = hashlib.sha256(repr(dataclasses.replace(self, root="")).encode())
    digest.update((pathlib.Path(self.root) / f"{self.name}.png").read_bytes())
    return digest.hexdigest()

  def decode(self) -> Decoded:
    frames = tuple(_render(pathlib.Path(self.root) / f"{self.name}.png", self.size, self.frames))
    seconds = self.frames / self.frames_per_second
    clip = Clip(
      key=self.name,
      split=split_of(self.caption),
      frames=frames,
      timestamps=tuple(i / self.frames_per_second for i in range(self.frames)),
      samples=np.zeros(0, np.int16),
      sample_rate_hz=16_000,
      captions=(Caption(self.caption, 0.0, seconds),),
      language="en",
      label=self.name.split("/")[0],
      source=f"{PACKAGE}/{self.name}.png",
      licence=LICENCE,
    )
    return Decoded([clip])


KINDS = ("", "clips", "pictures", "effects", "kinds")
SILENT_SECONDS = 2.0


def silent_units(kind: str, *, short_side: int = 128, frames_per_second: float = 10, **_) -> list[SilentStamp]:
  """All stamps that have a picture and an English caption.

  Args:
    kind: "clips" that move, or "pictures".

  Raises:
    debian.Unavailable: as of `units`.
  """
  root = fetch()
  frames = round(SILENT_SECONDS * frames_per_second) if kind == "clips" else 1
  stamps = []
  for picture in sorted(root.rglob("*.png")):
    name = picture.relative_to(root).with_suffix("").as_posix()
    if caption := _read_captions(picture.with_suffix(".txt")).get("en"):
      stamps.append(SilentStamp(name, str(root), caption, short_side, frames, frames_per_second))
  return stamps


def units(
  *, short_side: int = 128, frames_per_second: float = 10, sample_rate_hz: int = 16_000, kind: type = Stamp
) -> list[Stamp]:
  """All stamps that have a picture, an English caption, and a voice with a caption in the same language.

  Args:
    kind: `Stamp` or `StampByKind`.

  Raises:
    debian.Unavailable: where the package is neither cached nor to be downloaded.
  """
  root = fetch()
  stamps = []
  for picture in sorted(root.rglob("*.png")):
    name = picture.relative_to(root).with_suffix("").as_posix()
    captions = _read_captions(picture.with_suffix(".txt"))
    voices = {
      language: path.relative_to(root).as_posix() for language, path in _find_voices(picture) if language in captions
    }
    if "en" in captions and voices:
      stamps.append(kind(name, str(root), voices, captions, short_side, frames_per_second, sample_rate_hz))
  return stamps


def effects(*, short_side: int = 128, frames_per_second: float = 10, sample_rate_hz: int = 16_000) -> list[Effect]:
  """All stamps that have a picture, an English caption, and a sound effect beside them: `cow.png` with `cow.ogg` or `cow.wav`.

  The folder `symbols` is left out: beside its letters and digits lie their names, spoken.

  Raises:
    debian.Unavailable: as of `units`.
  """
  root = fetch()
  found = []
  for picture in sorted(root.rglob("*.png")):
    name = picture.relative_to(root).with_suffix("").as_posix()
    sounds = [path for ending in (".ogg", ".wav") if (path := picture.with_suffix(ending)).is_file()]
    caption = _read_captions(picture.with_suffix(".txt")).get("en")
    if sounds and caption and not name.startswith("symbols/"):
      sound = sounds[0].relative_to(root).as_posix()
      given = (short_side, frames_per_second, sample_rate_hz)
      found.append(Effect(name, str(root), {"en": sound}, {"en": caption}, *given))
  return found


def split_of(english_caption: str) -> str:
  """The split of a caption, from a hash of its words alone: all clips of one name fall together."""
  words = "".join(c if c.isalnum() else " " for c in english_caption.lower()).split()
  place = int.from_bytes(hashlib.sha256(" ".join(words).encode()).digest()[:8], "big") / 2**64
  return "test" if place < TEST_SHARE else "validation" if place < TEST_SHARE + VALIDATION_SHARE else "train"


def fetch() -> pathlib.Path:
  """The folder of the stamps, downloaded if need be."""
  return debian.fetch(PACKAGE, "usr/share/tuxpaint/stamps", KNOWN_SHA256)


def _find_voices(picture: pathlib.Path):
  """(language, path) of the spoken captions beside a picture; `name_desc.ogg` is English."""
  yield from _files_beside(picture.parent).get(picture.stem, ())


@functools.cache
def _files_beside(folder: pathlib.Path) -> dict[str, list[tuple[str, pathlib.Path]]]:
  voices = {}
  for path in sorted(folder.iterdir()):
    stem, found, ending = path.name.partition("_desc")
    if found and ending.endswith(".ogg"):
      language = ending.split(".")[0].removeprefix("_") or "en"
      if language in LANGUAGES:
        voices.setdefault(stem, {}).setdefault(language, path)
  return {stem: list(by_language.items()) for stem, by_language in voices.items()}


def _read_captions(path: pathlib.Path) -> dict[str, str]:
  """Language -> caption. The first line is English, the others read `xx.utf8=caption`."""
  if not path.is_file():
    return {}
  first, *others = path.read_text("utf-8", errors="replace").splitlines() or [""]
  captions = {"en": first.strip()}
  for line in others:
    language, found, caption = line.partition(".utf8=")
    if found:
      captions[language.strip()] = caption.strip()
  return {language: caption for language, caption in captions.items() if caption}


def _read_sound(path: pathlib.Path, sample_rate_hz: int, longest_seconds: float | None = None) -> np.ndarray:
  """int16 (S,) mono at one loudness, silence at both ends cut. Raises ValueError where nothing can be heard."""
  resampler = av.AudioResampler("flt", "mono", sample_rate_hz)
  with av.open(str(path)) as media:
    pieces = [piece.to_ndarray()[0] for frame in media.decode(audio=0) for piece in resampler.resample(frame)]
  pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
  wave = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
  loud = np.flatnonzero(np.abs(wave) > 0.02 * np.max(np.abs(wave), initial=0))
  if not len(loud) or not np.any(wave):
    raise ValueError("it is silent")
  margin = sample_rate_hz // 20
  wave = wave[max(0, loud[0] - margin) : loud[-1] + margin]
  wave = wave[: None if longest_seconds is None else round(longest_seconds * sample_rate_hz)]
  wave = wave * (LOUDNESS / np.sqrt(np.mean(wave**2)))
  return np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16)


def _render(path: pathlib.Path, size: int, count: int):
  """Yields `count` JPEG frames of a slow pan and zoom over a background whose colour the picture's name decides."""
  random = np.random.default_rng(
    int.from_bytes(hashlib.sha256(urllib.parse.quote(path.name).encode()).digest()[:8], "big")
  )
  with Image.open(path) as image:
    stamp = image.convert("RGBA")
  if box := stamp.getchannel("A").getbbox():  # Cut-outs often sit in a large transparent frame.
    stamp = stamp.crop(box)
  stamp.thumbnail((2 * size, 2 * size), Image.Resampling.LANCZOS)
  background = BACKGROUNDS[random.integers(len(BACKGROUNDS))]
  zoom = np.linspace(*(random.uniform(0.65, 0.95, 2)), count) * size / max(stamp.size)
  shift = np.linspace(random.uniform(-1, 1, 2), random.uniform(-1, 1, 2), count)
  for i in range(count):
    width, height = (max(1, round(side * zoom[i])) for side in stamp.size)
    left, top = (round((size - side) / 2 * (1 + 0.8 * move)) for side, move in zip((width, height), shift[i]))
    frame = Image.new("RGB", (size, size), background)
    resized = stamp.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    frame.paste(resized, (left, top), resized)
    encoded = io.BytesIO()
    frame.save(encoded, "JPEG", quality=90)
    yield encoded.getvalue()
