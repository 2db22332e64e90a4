"""Frames as arrays: resizing, mirroring and RandAugment, in uint8 from the decoder to the batch.

OpenCV, because it resizes uint8 to uint8 (TensorFlow goes through float32, which costs more than twice as much) and
because ALPRO's RandAugment is made of its affine maps.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image

from vatt_jax.data import memory

cv2.setNumThreads(0)  # The pipeline's own threads already use every core.

Operation = Callable[[np.ndarray], np.ndarray]
RAND_AUGMENT = ("video", "image")
_BORDER = (128, 128, 128)


def fit(
  frames: Sequence[np.ndarray], which: np.ndarray, size: tuple[int, int], flip: bool, operations: list[Operation],
  interpolation: str = "bilinear", out: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
  """U frames uint8 (h, w, 3), of which `which` int (T,) are wanted -> uint8 (T, H, W, 3), all changed alike.

  Args:
    interpolation: "bilinear", or "bicubic" as Pillow has it, which blurs where it shrinks.
    out: uint8 (U, H, W, 3), to be filled, and returned where each frame is wanted once.
  """
  height, width = size
  fitted = np.empty([len(frames), height, width, 3], np.uint8) if out is None else out
  for frame, place in zip(frames, fitted):
    if interpolation == "bicubic":
      place[:] = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
    else:
      cv2.resize(frame, (width, height), dst=place, interpolation=cv2.INTER_LINEAR)
    if flip:
      cv2.flip(place, 1, dst=place)
    for operation in operations:
      place[:] = operation(place)
  return fitted if len(which) == len(frames) else fitted[which]


def to_words(pixels: np.ndarray) -> np.ndarray:
  """uint8 (..., 3) -> uint32 (n,), a pixel each: red + 256 green + 65536 blue, and the highest byte is not defined."""
  row = pixels.reshape(1, -1, 3)
  words = memory.aligned((1, row.shape[1], 4), np.uint8)
  return cv2.cvtColor(row, cv2.COLOR_RGB2RGBA, dst=words).view("<u4").reshape(-1)


def from_words(words: np.ndarray) -> np.ndarray:
  """The other way: uint32 (n,) -> uint8 (n, 3)."""
  row = words.astype("<u4", copy=False).view(np.uint8).reshape(1, -1, 4)
  pixels = memory.aligned((1, row.shape[1], 3), np.uint8)
  return cv2.cvtColor(row, cv2.COLOR_RGBA2RGB, dst=pixels)[0]


def rand_augment(kind: str) -> tuple[Operation, ...]:
  """What RandAugment draws from (ALPRO): magnitude 5 of 10 for "video", 7 for "image"; signs are never flipped.

  At magnitude 5 contrast, brightness and sharpness are factors of exactly 1: they stand in the list as identities.
  """
  level = {"video": 0.5, "image": 0.7}[kind]
  shear, shift, factor = 0.3 * level, 10.0 * level, 1.8 * level + 0.1
  same = lambda frame: frame
  affine = [
    _affine(np.array([[1, shear, 0], [0, 1, 0]])),
    _affine(np.array([[1, 0, 0], [shear, 1, 0]])),
    _affine(np.array([[1, 0, -shift], [0, 1, 0]])),
    _affine(np.array([[1, 0, 0], [0, 1, -shift]])),
    _rotate(30.0 * level),
  ]
  if kind == "video":
    return (same, same, same, same, *affine, lambda frame: cv2.flip(frame, 1))
  return (same, _brightness(factor), _sharpness(factor), *affine)


def _affine(matrix: np.ndarray) -> Operation:
  return lambda frame: cv2.warpAffine(frame, matrix, frame.shape[1::-1], flags=cv2.INTER_LINEAR, borderValue=_BORDER)


def _rotate(degrees: float) -> Operation:
  def rotate(frame):
    height, width = frame.shape[:2]
    return _affine(cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0))(frame)

  return rotate


def _brightness(factor: float) -> Operation:
  table = np.clip(np.arange(256) * factor, 0, 255).astype(np.uint8)
  return lambda frame: cv2.LUT(frame, table)


def _sharpness(factor: float) -> Operation:
  """Away from a blurred frame; the outermost pixels stay. Clipped, where the official code wraps around."""
  kernel = np.ones([3, 3], np.float32)
  kernel[1, 1] = 5.0
  kernel /= kernel.sum()

  def sharpen(frame):
    out = frame.copy()
    blurred = cv2.filter2D(frame, -1, kernel)[1:-1, 1:-1].astype(np.float32)
    inner = blurred + factor * (frame[1:-1, 1:-1] - blurred)
    out[1:-1, 1:-1] = np.clip(inner, 0, 255)
    return out

  return sharpen
