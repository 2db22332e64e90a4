"""Frames of a clip: which ones, cut where, in which colours."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from vatt_jax.data import random

CROPS = ("inception", "vgg", "random", "centre", "squash", "squash_random")
SAMPLINGS = ("rate", "uniform", "halves", "random")


@dataclasses.dataclass(frozen=True)
class VideoOptions:
  """What the model sees of a picture track.

  Attributes:
    frames: T.
    frames_per_second: rate at which frames are picked.
    size: height of the crop in pixels, and its width too unless that is given.
    patch: (t, h, w).
    drop_rate: fraction of the patches dropped in training.
    crop: "inception" (random area and aspect, the paper's), "vgg" (the official code's default: both sides scaled apart
      by up to a fifth, in four clips of five, then a random square of the picture's short side), "random" (random place,
      no scaling), "centre", "squash" (the whole picture, squeezed) or "squash_random" (7/8 of both sides at a random place,
      squeezed; ALPRO's pretraining).
    min_area: smallest area of an "inception" crop, as a fraction of the picture.
    flip: whether clips are mirrored half of the time.
    colour_jitter: probability of brightness, saturation, contrast and hue changes (VATT: 0.8).
    width: of the crop; 0: a square.
    sampling: "rate": a window of frames at `frames_per_second`; else frames of the whole clip: "uniform" (at equal
      distances from the first), "halves" (in training half of them from each half of the clip, at random) or "random".
      Evaluation is always uniform then (ALPRO).
  """

  frames: int
  frames_per_second: float
  size: int
  patch: tuple[int, int, int]
  drop_rate: float = 0.5
  crop: str = "inception"
  min_area: float = 0.08
  flip: bool = True
  colour_jitter: float = 0.0
  width: int = 0
  sampling: str = "rate"

  def __post_init__(self):
    if self.crop not in CROPS:
      raise ValueError(f"crop {self.crop!r} is not one of {', '.join(CROPS)}")
    if self.sampling not in SAMPLINGS:
      raise ValueError(f"sampling {self.sampling!r} is not one of {', '.join(SAMPLINGS)}")
    if any(n % p for n, p in zip((self.frames, *self.pixels), self.patch)):
      raise ValueError(f"{self.frames} frames of {self.pixels} pixels do not divide into patches of {self.patch}")

  @property
  def seconds(self) -> float:
    return self.frames / self.frames_per_second if self.sampling == "rate" else math.inf

  @property
  def grid(self) -> tuple[int, int, int]:
    return tuple(n // p for n, p in zip((self.frames, *self.pixels), self.patch))

  @property
  def pixels(self) -> tuple[int, int]:
    """Height and width of the crop."""
    return (self.size, self.width or self.size)

  @property
  def patch_values(self) -> int:
    return 3 * math.prod(self.patch)

  patch_dtype = np.uint8


def pick_frames(timestamps: tf.Tensor, start: tf.Tensor, duration: tf.Tensor, options: VideoOptions) -> tf.Tensor:
  """int32 (T,): the last frame shown at each wanted time; a clip that is too short is looped.

  Args:
    timestamps: float32 (F,), ascending seconds, F >= 1.
    start: seconds of the first wanted frame.
    duration: seconds after which the clip starts again.
  """
  wanted = start + tf.range(options.frames, dtype=tf.float32) / options.frames_per_second
  wanted = tf.math.floormod(wanted, tf.maximum(duration, 1e-3)) + 1e-3  # Times are rounded in files.
  return tf.maximum(tf.searchsorted(timestamps, wanted, side="right") - 1, 0)


def spread_frames(count: tf.Tensor, key: tf.Tensor, options: VideoOptions, train: bool) -> tf.Tensor:
  """int32 (T,): frames out of all `count` of a clip, ascending; in training at random unless "uniform" is asked for.

  Frame k is k * floor(count / T) otherwise, as in ALPRO's evaluation: the first one again and again where there are fewer
  than T. Random frames are all different as long as there are enough.
  """
  if not train or options.sampling == "uniform":
    return tf.range(options.frames) * (count // options.frames)

  def pick(half, first, last, number):
    size = tf.maximum(last - first, 1)
    order = tf.argsort(tf.random.stateless_uniform([size], tf.random.experimental.stateless_fold_in(stream, half)))
    return first + tf.sort(tf.gather(order, tf.range(number) % size))

  stream = random.stream(key, "frames")
  if options.sampling == "random":
    return pick(0, 0, count, options.frames)
  middle, early = count // 2, options.frames // 2
  return tf.concat([pick(0, 0, middle, early), pick(1, middle, count, options.frames - early)], 0)


def read_frames(
  jpegs: tf.Tensor, key: tf.Tensor, options: VideoOptions, train: bool, crop_place: float = 0.5
) -> tf.Tensor:
  """JPEG strings (T,) -> uint8 (T, H, W, 3); one crop, flip and colour change for the whole clip.

  Args:
    crop_place: in evaluation, where the crop lies on the side that has room: 0 is left or top, 1 right or bottom.
  """
  shape = tf.io.extract_jpeg_shape(jpegs[0])
  if options.crop == "squash" or (options.crop == "squash_random" and not train):
    box = tf.concat([[0, 0], shape[:2]], 0)
  elif train and options.crop != "centre":
    box = _random_box(shape, key, options)
  else:
    box = _largest_box(shape, tf.constant(crop_place, tf.float32), options)
  frames = tf.map_fn(
    lambda jpeg: tf.io.decode_and_crop_jpeg(jpeg, box, channels=3), jpegs, fn_output_signature=tf.uint8
  )
  frames = tf.image.resize(frames, options.pixels)
  if train and options.flip:
    frames = tf.cond(random.uniform(key, "flip") < 0.5, lambda: frames[:, :, ::-1], lambda: frames)
  if train and options.colour_jitter:
    changed = lambda: _jitter_colours(frames / 255.0, random.stream(key, "colour")) * 255.0
    frames = tf.cond(random.uniform(key, "colour_gate") < options.colour_jitter, changed, lambda: frames)
  frames = tf.cast(tf.round(tf.clip_by_value(frames, 0.0, 255.0)), tf.uint8)
  return tf.ensure_shape(frames, [options.frames, *options.pixels, 3])


def _largest_box(shape: tf.Tensor, place: tf.Tensor, options: VideoOptions) -> tf.Tensor:
  """(y, x, height, width) of a largest box with the crop's aspect; it touches two sides, so one place is enough."""
  aspect = tf.constant(options.pixels, tf.float32)
  extent = tf.cast(aspect * tf.reduce_min(tf.cast(shape[:2], tf.float32) / aspect) + 1e-3, tf.int32)
  begin = tf.cast(tf.cast(shape[:2] - extent, tf.float32) * place, tf.int32)
  return tf.concat([begin, extent], 0)


def _random_box(shape: tf.Tensor, key: tf.Tensor, options: VideoOptions) -> tf.Tensor:
  if options.crop == "random":
    return _largest_box(shape, random.uniform(key, "crop", [2]), options)
  if options.crop == "squash_random":
    extent = shape[:2] * 7 // 8
    begin = tf.cast(tf.cast(shape[:2] - extent + 1, tf.float32) * random.uniform(key, "crop", [2]), tf.int32)
    return tf.concat([begin, extent], 0)
  if options.crop == "vgg":
    return _vgg_box(tf.cast(shape[:2], tf.float32), key, options)
  begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
      shape, tf.zeros([1, 0, 4]), random.stream(key, "crop"), min_object_covered=0.1, aspect_ratio_range=(0.5, 2.0),
      area_range=(options.min_area, 1.0), max_attempts=100, use_image_if_no_bounding_boxes=True,
  )  # fmt: skip
  return tf.stack([begin[0], begin[1], extent[0], extent[1]])


def _vgg_box(shape: tf.Tensor, key: tf.Tensor, options: VideoOptions) -> tf.Tensor:
  """What is left of the picture when its sides are scaled apart, it is fitted to the crop, and the crop is cut out."""
  draws = random.uniform(key, "crop", [5])
  scales = tf.where(draws[0] < 0.8, 0.8 + 0.4 * draws[1:3], tf.ones([2]))
  aspect = tf.constant(options.pixels, tf.float32)
  extent = aspect * tf.reduce_min(shape * scales / aspect) / scales
  begin = tf.cast((shape - extent) * draws[3:5], tf.int32)
  extent = tf.maximum(tf.cast(extent + 1e-3, tf.int32), 1)
  return tf.concat([begin, extent], 0)


def _jitter_colours(frames: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
  """frames in [0, 1]; brightness, saturation, contrast, hue with one draw for the clip (VATT A.2.1)."""
  draws = tf.random.stateless_uniform([4], key, -1.0, 1.0)
  frames = frames + draws[0] * (32.0 / 255.0)
  frames = tf.image.adjust_saturation(frames, 1.0 + 0.4 * draws[1])
  frames = tf.image.adjust_contrast(frames, 1.0 + 0.4 * draws[2])
  return tf.clip_by_value(tf.image.adjust_hue(frames, 0.2 * draws[3]), 0.0, 1.0)
