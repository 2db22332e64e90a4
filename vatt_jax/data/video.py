"""Frames of a clip: which ones, cut where, in which colours."""

from collections.abc import Callable
import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from vatt_jax.data import images, memory, patches, random, ranges

CROPS = ("inception", "vgg", "random", "centre", "squash", "whole")
INTERPOLATIONS = ("bilinear", "bicubic")
STILLS = ("", "alpro")
SAMPLINGS = ("window", "headtail", "rand", "uniform")


@dataclasses.dataclass(frozen=True)
class VideoOptions:
  """What the model sees of a picture track.

  Attributes:
    frames: T.
    frames_per_second: rate at which frames are picked from a window.
    sampling: "window" (frames at that rate from a random time on, VATT), or over the whole clip, whatever its length:
      "uniform" (every floor(F / T)-th of F frames), "rand" (T different ones; in evaluation "uniform") or "headtail" (half
      of them from either half of the clip), all three ALPRO's.
    windows: K windows of a clip in training, the nearest in time, all positives of its caption (VATT's idea with the sides
      changed; ours); see `pipeline.window_starts`.
    size: height of the crop in pixels, and its width too unless that is given.
    patch: (t, h, w).
    drop_rate: fraction of the patches dropped in training.
    crop: "inception" (random area and aspect, the paper's), "vgg" (the official code's default: both sides scaled apart
      by up to a fifth, in four clips of five, then a random square of the picture's short side), "random" (random place,
      no scaling) or "centre"; ALPRO's are "squash" (7/8 of either side, so 224 of a picture squashed to 256 x 256) and
      "whole" (all of the picture, squashed). In evaluation they all lie in the middle and the first three are "centre".
    min_area: smallest area of an "inception" crop, as a fraction of the picture.
    max_aspect: its largest ratio of width to height, and of height to width.
    flip: whether clips are mirrored half of the time.
    colour_jitter: probability of brightness, saturation, contrast and hue changes (VATT: 0.8).
    width: of the crop; 0: a square.
    rand_augment: "video" or "image": two random operations for the whole clip, as ALPRO for videos and for pictures.
    interpolation: of resizing, "bilinear" or "bicubic", see `images.fit`.
    stills: how records of a single frame are treated in training: "" as all others, or "alpro" as its pictures (CC3M),
      see `for_stills`.
    dct_scaling: whether frames at least twice as large as needed are decoded at 1/2, 1/4 or 1/8 of their size: much
      faster for large ones, and not the same pixels.
  """

  frames: int
  frames_per_second: float
  size: int
  patch: tuple[int, int, int]
  drop_rate: float = 0.5
  crop: str = "inception"
  min_area: float = 0.08
  max_aspect: float = 2.0
  flip: bool = True
  colour_jitter: float = 0.0
  width: int = 0
  sampling: str = "window"
  rand_augment: str = ""
  interpolation: str = "bilinear"
  stills: str = ""
  dct_scaling: bool = False
  windows: int = 1

  def __post_init__(self):
    known = {
      "crop": CROPS,
      "sampling": SAMPLINGS,
      "rand_augment": ("", *images.RAND_AUGMENT),
      "interpolation": INTERPOLATIONS,
      "stills": STILLS,
    }
    for name, values in known.items():
      if getattr(self, name) not in values:
        raise ValueError(f"{name} {getattr(self, name)!r} is not one of {', '.join(map(repr, values))}")
    ranges.check(self, positive=("frames", "frames_per_second", "size", "patch"), shares=("drop_rate",))
    if len(self.patch) != 3:
      raise ValueError(f"patch {self.patch} is not (t, h, w)")
    if self.windows < 1 or (self.windows > 1 and self.sampling != "window"):
      raise ValueError(f'windows {self.windows} is not at least 1, or above 1 without sampling "window"')
    if any(n % p for n, p in zip((self.frames, *self.pixels), self.patch)):
      raise ValueError(f"{self.frames} frames of {self.pixels} pixels do not divide into patches of {self.patch}")

  @property
  def seconds(self) -> float:
    """Length of the window; infinite where frames come from the whole clip."""
    return self.frames / self.frames_per_second if self.sampling == "window" else math.inf

  @property
  def for_stills(self) -> "VideoOptions":
    """ALPRO's pictures: a random fifth to all of the area, 3:4 to 4:3, bicubic, mirrored, RandAugment for pictures."""
    return dataclasses.replace(
        self, crop="inception", min_area=0.2, max_aspect=4 / 3, interpolation="bicubic", flip=True, rand_augment="image",
        stills="",
    )  # fmt: skip

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

  @property
  def thumbnail_step(self) -> int:
    """Of so many pixels of a frame, in either direction, its thumbnail has one.

    Some 64 x 64 pixels have the mean that colour jitter needs within rounding; without jitter one pixel is left.
    """
    return max(1, min(self.pixels) // 64) if self.colour_jitter else max(self.pixels)

  patch_dtype = np.uint8


def pick_frames(
  timestamps: tf.Tensor, start: tf.Tensor, duration: tf.Tensor, key: tf.Tensor, options: VideoOptions, train: bool
) -> tf.Tensor:
  """int32 (T,), the numbers of the frames; a clip that is too short is looped.

  Args:
    timestamps: float32 (F,), ascending seconds, F >= 1.
    start: seconds of the first wanted frame of a window.
    duration: seconds after which the clip starts again.
    key: int64 (2,), of this visit.
  """
  if options.sampling != "window":
    return _pick_from_all(tf.size(timestamps), key, options, train)
  # The last frame shown at each wanted time.
  wanted = start + tf.range(options.frames, dtype=tf.float32) / options.frames_per_second
  wanted = tf.math.floormod(wanted, tf.maximum(duration, 1e-3)) + 1e-3  # Times are rounded in files.
  return tf.maximum(tf.searchsorted(timestamps, wanted, side="right") - 1, 0)


def _pick_from_all(count: tf.Tensor, key: tf.Tensor, options: VideoOptions, train: bool) -> tf.Tensor:
  if options.sampling == "uniform" or (options.sampling == "rand" and not train):
    return tf.range(options.frames) * (count // options.frames)  # The first one, where there are fewer than T.
  draws = random.uniform(key, "frames", [count])

  def distinct(low, high, wanted):
    """Ascending; all different where there are enough."""
    order = tf.argsort(draws[low:high])
    return low + tf.sort(tf.gather(order, tf.range(wanted) % (high - low)))

  if options.sampling == "rand":
    return distinct(0, count, options.frames)
  half, head = count // 2, options.frames // 2
  return tf.concat([distinct(0, tf.maximum(half, 1), head), distinct(half, count, options.frames - head)], 0)


def read_patches(
    jpegs: tf.Tensor, chosen: tf.Tensor, positions: tf.Tensor, key: tf.Tensor, options: VideoOptions, train: bool,
    crop_place: float = 0.5,
) -> tuple[tf.Tensor, tf.Tensor]:  # fmt: skip
  """JPEG strings (F,), int32 (T,) -> uint8 (K, P), patches of the T frames; one crop, flip and RandAugment for all.

  Args:
    positions: int32 (K,), of the patches.
    crop_place: in evaluation, where the crop lies on the side that has room: 0 is left or top, 1 right or bottom.

  Returns:
    The patches, and thumbnails of the whole frames, uint8 (T, h, w, 3), see `VideoOptions.thumbnail_step`.
  """
  numbers, which = tf.unique(chosen)  # A frame of a still or looped clip is decoded once.
  jpegs = tf.gather(jpegs, numbers)
  box = crop_box(tf.io.extract_jpeg_shape(jpegs[0]), key, tf.constant(crop_place, tf.float32), options, train)
  flip = random.uniform(key, "flip") < 0.5 if train and options.flip else tf.constant(False)
  operations = images.rand_augment(options.rand_augment) if train and options.rand_augment else ()
  drawn = _draw_operations(len(operations), key, options) if operations else tf.zeros([0], tf.int32)
  step = options.thumbnail_step

  def cut(which, flip, drawn, positions, *frames):
    frames = frames[0] if frames[0].ndim == 4 else frames  # One array, or each frame by itself.
    own = memory.scratch((len(frames), *options.pixels, 3))
    fitted = images.fit(frames, which, options.pixels, flip, [operations[i] for i in drawn], options.interpolation, own)
    thumbnails = fitted.view("V3")[:, ::step, ::step].copy()  # Whole pixels are copied faster than colours.
    return patches.video_patches(fitted, options.patch, positions), thumbnails.view(np.uint8)

  changes = [which, flip, drawn, positions]
  rows, thumbnails = _decode(
    jpegs, box, options, lambda *frames: tf.numpy_function(cut, [*changes, *frames], [tf.uint8] * 2, stateful=False)
  )
  shape = [options.frames, *(-(-n // step) for n in options.pixels), 3]
  return tf.ensure_shape(rows, [positions.shape[0], options.patch_values]), tf.ensure_shape(thumbnails, shape)


def _decode(jpegs: tf.Tensor, box: tf.Tensor, options: VideoOptions, then: Callable[..., list[tf.Tensor]]):
  """What `then` makes of the crops, which it gets as one array or each by itself."""

  def at(ratio):
    crop = tf.concat([box[:2] // ratio, tf.maximum(box[2:] // ratio, 1)], 0)
    decode = lambda jpeg: tf.io.decode_and_crop_jpeg(jpeg, crop, channels=3, ratio=ratio)
    # A loop takes as long as two more frames, and to stack them as one: that is for clips that show a frame twice.
    straight = lambda: then(*map(decode, tf.unstack(jpegs, options.frames)))
    loop = lambda: then(tf.map_fn(decode, jpegs, fn_output_signature=tf.uint8))
    return tf.cond(tf.size(jpegs) == options.frames, straight, loop)

  if not options.dct_scaling:
    return at(1)
  room = tf.reduce_min(box[2:] // tf.constant(options.pixels))
  ratios = (2, 4, 8)
  return tf.switch_case(
    tf.reduce_sum(tf.cast(room >= tf.constant(ratios), tf.int32)), [lambda r=r: at(r) for r in (1, *ratios)]
  )


def _draw_operations(count: int, key: tf.Tensor, options: VideoOptions) -> tf.Tensor:
  """Numbers of the RandAugment operations: two different ones, or two draws of which each is used half of the time."""
  if options.rand_augment == "video":
    return tf.argsort(random.uniform(key, "augment", [count]))[:2]
  draws = random.uniform(key, "augment", [2, 2])
  return tf.boolean_mask(tf.cast(draws[0] * count, tf.int32), draws[1] < 0.5)


def crop_box(shape: tf.Tensor, key: tf.Tensor, place: tf.Tensor, options: VideoOptions, train: bool) -> tf.Tensor:
  """(y, x, height, width) of the crop."""
  if options.crop in ("squash", "whole"):
    part = 7 / 8 if options.crop == "squash" else 1.0
    extent = tf.maximum(tf.cast(tf.cast(shape[:2], tf.float32) * part, tf.int32), 1)
    places = random.uniform(key, "crop", [2]) if train else tf.constant([0.5, 0.5])
    return tf.concat([tf.cast(tf.cast(shape[:2] - extent + 1, tf.float32) * places, tf.int32), extent], 0)
  if not train or options.crop == "centre":
    return _largest_box(shape, place, options)
  if options.crop == "random":
    return _largest_box(shape, random.uniform(key, "crop", [2]), options)
  if options.crop == "vgg":
    return _vgg_box(tf.cast(shape[:2], tf.float32), key, options)
  begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
      shape, tf.zeros([1, 0, 4]), random.stream(key, "crop"), min_object_covered=0.1,
      aspect_ratio_range=(1.0 / options.max_aspect, options.max_aspect), area_range=(options.min_area, 1.0),
      max_attempts=100, use_image_if_no_bounding_boxes=True,
  )  # fmt: skip
  return tf.stack([begin[0], begin[1], extent[0], extent[1]])


def _largest_box(shape: tf.Tensor, place: tf.Tensor, options: VideoOptions) -> tf.Tensor:
  """A largest box with the crop's aspect; it touches two sides, so one place is enough."""
  aspect = tf.constant(options.pixels, tf.float32)
  extent = tf.cast(aspect * tf.reduce_min(tf.cast(shape[:2], tf.float32) / aspect) + 1e-3, tf.int32)
  begin = tf.cast(tf.cast(shape[:2] - extent, tf.float32) * place, tf.int32)
  return tf.concat([begin, extent], 0)


def _vgg_box(shape: tf.Tensor, key: tf.Tensor, options: VideoOptions) -> tf.Tensor:
  """What is left of the picture when its sides are scaled apart, it is fitted to the crop, and the crop is cut out."""
  draws = random.uniform(key, "crop", [5])
  scales = tf.where(draws[0] < 0.8, 0.8 + 0.4 * draws[1:3], tf.ones([2]))
  aspect = tf.constant(options.pixels, tf.float32)
  extent = aspect * tf.reduce_min(shape * scales / aspect) / scales
  begin = tf.cast((shape - extent) * draws[3:5], tf.int32)
  extent = tf.maximum(tf.cast(extent + 1e-3, tf.int32), 1)
  return tf.concat([begin, extent], 0)


def jitter_colours(
  rows: tf.Tensor, positions: tf.Tensor, thumbnails: tf.Tensor, key: tf.Tensor, options: VideoOptions
) -> tf.Tensor:
  """Changes brightness, saturation, contrast, hue, with one draw for the clip, in so many clips (VATT A.2.1).

  Args:
    rows: uint8 (K, P), patches.
    positions: int32 (K,).
    thumbnails: uint8 (T, h, w, 3) of the frames that they come from.
    key: int64 (2,), of this visit.
  """
  draws = tf.random.stateless_uniform([4], random.stream(key, "colour"), -1.0, 1.0)

  def change():
    pixels = tf.numpy_function(images.to_words, [rows], tf.uint32, stateful=False)
    pixels = tf.ensure_shape(pixels, [math.prod(rows.shape) // 3])
    changed = _change_colours(options.patch, options.grid)(pixels, positions, thumbnails, draws)
    changed = tf.numpy_function(images.from_words, [changed], tf.uint8, stateful=False)
    return tf.ensure_shape(tf.reshape(changed, rows.shape), rows.shape)

  return tf.cond(random.uniform(key, "colour_gate") < options.colour_jitter, change, lambda: rows)


@functools.cache
def _change_colours(patch: tuple[int, int, int], grid: tuple[int, int, int]) -> Callable[..., tf.Tensor]:
  """A function of the patches' pixels, uint32 (n,) as `images.to_words`, their positions, thumbnails and the draws.

  Compiled, because four operations in a row are then one pass over the pixels, some eight times as fast; of words, because
  with three planes the compiler makes one pass for each. All but contrast are functions of single pixels, so that only
  patches that survived DropToken need them. Contrast is about the mean of each frame.
  """

  def change(pixels, positions, thumbnails, draws):
    def start(planes):
      bright = [tf.cast(plane, tf.float32) * (1.0 / 255.0) + draws[0] * (32.0 / 255.0) for plane in planes]
      return _saturate(bright, 1.0 + 0.4 * draws[1])

    t, h, w = patch

    def contrast(plane, sample):
      mean = tf.gather(tf.reshape(tf.reduce_mean(sample, [1, 2]), [-1, t, 1]), positions // (grid[1] * grid[2]))
      return (plane - mean) * (1.0 + 0.4 * draws[2]) + mean

    samples = start(tf.unstack(thumbnails, axis=-1))
    pixels = tf.bitcast(tf.reshape(pixels, [-1, t, h * w]), tf.int32)
    planes = start([tf.bitwise.right_shift(pixels, shift) & 255 for shift in (0, 8, 16)])
    planes = _turn_hue([contrast(*both) for both in zip(planes, samples)], 0.2 * draws[3])
    red, green, blue = (tf.cast(tf.round(tf.clip_by_value(plane, 0.0, 1.0) * 255.0), tf.int32) for plane in planes)
    return tf.bitcast(tf.reshape(red + 256 * green + 65536 * blue, [-1]), tf.uint32)

  return tf.function(change, jit_compile=True, autograph=False)


def _range(planes: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
  red, green, blue = planes
  return tf.minimum(tf.minimum(red, green), blue), tf.maximum(tf.maximum(red, green), blue)


def _saturate(planes: list[tf.Tensor], factor: tf.Tensor) -> list[tf.Tensor]:
  """`tf.image.adjust_saturation` on planes: distances from the largest channel grow by `factor`, at most to it."""
  low, high = _range(planes)
  most = tf.where(high > 0.0, high / tf.maximum(high - low, 1e-9), 0.0)
  return [high - (high - plane) * tf.minimum(factor, most) for plane in planes]


def _turn_hue(planes: list[tf.Tensor], delta: tf.Tensor) -> list[tf.Tensor]:
  """`tf.image.adjust_hue` on planes: the hue, a place on a circle of six edges, moves by `delta` of the circle."""
  red, green, blue = planes
  low, high = _range(planes)
  scale = 1.0 / tf.maximum(high - low, 1e-9)
  edge = tf.where(high == green, 2.0 + (blue - red) * scale, 4.0 + (red - green) * scale)
  place = tf.where(high == red, (green - blue) * scale, edge) + 6.0 * delta
  place -= 6.0 * tf.floor(place * (1.0 / 6.0))  # As floormod, which is not compiled to vector instructions.
  ramps = (tf.abs(place - 3.0) - 1.0, 2.0 - tf.abs(place - 2.0), 2.0 - tf.abs(place - 4.0))
  return [low + (high - low) * tf.clip_by_value(ramp, 0.0, 1.0) for ramp in ramps]
