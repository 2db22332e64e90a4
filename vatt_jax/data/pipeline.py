"""Records -> batches with tf.data. The keys and shapes are the contract in WORKSPACE.md, "The batch".

Batch k is a function of k: the pipeline starts from a range of steps and looks everything else up, so starting at step
k costs the same for every k. Broken records raise where they are decoded; only then does `training_batches` look for
the culprit, name it, put the next readable record in its place, and go on.
"""

from collections.abc import Callable, Iterator
import dataclasses
import math

import jax
import numpy as np
import tensorflow as tf

from vatt_jax.data import audio, label, patches, random, text, video
from vatt_jax.data.audio import AudioOptions
from vatt_jax.data.label import LabelOptions
from vatt_jax.data.order import Order
from vatt_jax.data.records import FEATURES, Records
from vatt_jax.data.text import TextOptions
from vatt_jax.data.video import VideoOptions

Batch = dict[str, np.ndarray]

# TensorFlow quotes the bad bytes in its message; when they are not UTF-8 even raising its error fails.
_FAILURES = (tf.errors.OpError, UnicodeDecodeError)


@dataclasses.dataclass(frozen=True)
class InputOptions:
  """How a record becomes the arrays of an example; what is None is not read."""

  video: VideoOptions | None = None
  audio: AudioOptions | None = None
  text: TextOptions | None = None
  label: LabelOptions | None = None

  @property
  def seconds(self) -> float:
    """Length of the longest window."""
    return max([track.seconds for track in (self.video, self.audio) if track], default=0.0)


def batch_spec(options: InputOptions, rows: int) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes and dtypes of a training batch of this many rows."""
  spec = {}
  for name, track in (("video", options.video), ("audio", options.audio)):
    if track:
      dropped = 0.0 if getattr(track, "spectrogram", False) else track.drop_rate
      tokens = patches.keep_count(math.prod(track.grid), dropped)
      spec[f"{name}/patches"] = ((rows, tokens, track.patch_values), track.patch_dtype)
      spec[f"{name}/positions"] = ((rows, tokens), np.int32)
      spec[f"{name}/present"] = ((rows,), np.bool_)
  if options.text:
    captions = (rows, options.text.candidates, options.text.length)
    spec |= {"text/ids": (captions, np.int32), "text/mask": (captions, np.bool_), "text/present": ((rows,), np.bool_)}
  if options.label:
    multiple = options.label.multiple
    spec["label"] = ((rows, options.label.classes), np.float32) if multiple else ((rows,), np.int32)
  return {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in spec.items()}


def training_batches(
    records: Records, order: Order, options: InputOptions, tokenizer: text.Tokenizer | None, *,
    start_step: int = 0, end_step: int, host: int = 0, hosts: int = 1, threads: int | None = None,
    on_broken: Callable[[int, str], None] = lambda number, reason: None,
) -> Iterator[Batch]:  # fmt: skip
  """Batches start_step .. end_step - 1; this host's rows of each.

  Args:
    order: says which record stands where.
    host, hosts: rows [host * B / hosts, (host + 1) * B / hosts) of every batch.
    threads: for decoding; None lets tf.data choose.
    on_broken: called once for each broken record with its number and the reason.

  Raises:
    ValueError: when `hosts` does not divide the batch size.
  """
  if order.batch_size % hosts:
    raise ValueError(f"a batch of {order.batch_size} does not divide by {hosts} hosts")
  rows = order.batch_size // hosts
  broken: set[tuple[int, int]] = set()  # (epoch, record): other visits may pick other, readable frames
  step = start_step

  def numbers(step):
    epochs, chosen = order.batch(int(step), host * rows, rows)
    return epochs, _replace(epochs, chosen, broken, len(records))

  example = example_function(options, tokenizer, order.seed, train=True)
  while step < end_step:
    dataset = tf.data.Dataset.range(step, end_step)
    try:
      for batch in _batches(dataset, numbers, rows, records, example, threads):
        yield batch
        step += 1
    except _FAILURES as error:
      found = _find_broken(records, numbers(step), example)
      if not found:
        raise error
      for (_, number), reason in found.items():
        on_broken(number, reason)
      broken.update(found)


def evaluation_batches(
    records: Records, batch_size: int, options: InputOptions, tokenizer: text.Tokenizer | None, *,
    offset: float = 0.5, crop_place: float = 0.5, threads: int | None = None,
    on_broken: Callable[[int, str], None] = lambda number, reason: None,
) -> Iterator[Batch]:  # fmt: skip
  """Every record once, in order, without augmentation or DropToken; `valid` bool (B,) is false in padding rows.

  Args:
    offset: where in a longer clip the window lies, from 0 (its start) to 1 (its end).
    crop_place: where on the longer side of the picture the square lies, from 0 (left or top) to 1.
  """
  example = example_function(options, tokenizer, seed=0, train=False, offset=offset, crop_place=crop_place)
  broken: set[tuple[int, int]] = set()  # (epoch, record): other visits may pick other, readable frames
  size, step = len(records), 0
  steps = -(-size // batch_size)
  chosen = lambda step: np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64)

  def numbers(step):
    epochs = np.zeros([batch_size], np.int64)
    return epochs, _replace(epochs, chosen(int(step)) % size, broken, size)

  while step < steps:
    try:
      for batch in _batches(tf.data.Dataset.range(step, steps), numbers, batch_size, records, example, threads):
        batch["valid"] = np.array([n < size and (0, n) not in broken for n in chosen(step)])
        yield batch
        step += 1
    except _FAILURES as error:
      found = _find_broken(records, numbers(step), example)
      if not found:
        raise error
      for (_, number), reason in found.items():
        on_broken(number, reason)
      broken.update(found)


def example_function(
  options: InputOptions, tokenizer: text.Tokenizer | None, seed: int, *, train: bool, offset: float = 0.5,
  crop_place: float = 0.5,
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:  # fmt: skip
  """A function of (record string, epoch, record number) that makes one example, in the graph or eagerly."""

  def example(record, epoch, number):
    parsed = tf.io.parse_single_example(record, FEATURES)
    key = random.example_key(seed, epoch, number)
    place = random.uniform(key, "offset") if train else tf.constant(offset, tf.float32)
    samples = tf.io.decode_raw(parsed["audio/samples"], tf.int16)
    rate = tf.maximum(tf.cast(parsed["audio/sample_rate_hz"], tf.float32), 1.0)
    duration = _clip_seconds(parsed["video/timestamps"], parsed["audio/start_seconds"], tf.size(samples), rate)
    out = {}
    if options.video:
      out |= _video_example(parsed, place, duration, key, options.video, train, crop_place)
    if options.audio:
      out |= _audio_example(parsed, samples, place, duration, key, options.audio, train)
    if options.text:
      # In evaluation the caption is that of the clip's middle, wherever the window lies: one clip, one text.
      out |= _text_example(parsed, place if train else tf.constant(0.5), duration, options, tokenizer)
    if options.label:
      asked = options.text is not None and options.text.examples == "questions"
      label = (
        tf.strings.reduce_join(parsed["questions/answer"]) if asked else parsed["label"]
      )  # One question, one answer.
      out["label"] = _label_example(label, options.label)
    return out

  return example


def _clip_seconds(timestamps, audio_start, samples, rate):
  """Until the last frame has been shown and the last sample heard."""
  frames = tf.size(timestamps)
  last = tf.reduce_max(tf.concat([timestamps, [0.0]], 0))
  picture = last * tf.cast(frames, tf.float32) / tf.cast(tf.maximum(frames - 1, 1), tf.float32)
  return tf.maximum(picture, audio_start + tf.cast(samples, tf.float32) / rate)


def _window_start(place, duration, seconds):
  """One relative place for all modalities: windows of different length lie inside each other."""
  return place * tf.maximum(duration - seconds, 0.0)


def _video_example(parsed, place, duration, key, options, train, crop_place):
  jpegs = parsed["video/frames"]
  present = tf.size(jpegs) > 0

  def read():
    start = _window_start(place, duration, options.seconds)
    if options.sampling == "rate":
      chosen = video.pick_frames(parsed["video/timestamps"], start, duration, options)
    else:
      chosen = video.spread_frames(tf.size(jpegs), key, options, train)
    return video.read_frames(tf.gather(jpegs, chosen), key, options, train, crop_place)

  shape = [options.frames, *options.pixels, 3]
  frames = tf.ensure_shape(tf.cond(present, read, lambda: tf.zeros(shape, tf.uint8)), shape)
  kept, positions = patches.drop_tokens(
    patches.video_patches(frames, options.patch), options.drop_rate if train else 0.0, random.stream(key, "video_drop")
  )
  return {"video/patches": kept, "video/positions": positions, "video/present": present}


def _audio_example(parsed, samples, place, duration, key, options, train):
  present = tf.size(samples) > 0
  start = _window_start(place, duration, options.seconds)
  read = lambda: audio.read_window(
    samples, parsed["audio/sample_rate_hz"], parsed["audio/start_seconds"], start, duration, key, options, train
  )
  nothing = tf.constant(audio.silence(options))
  window = tf.ensure_shape(tf.cond(present, read, lambda: nothing), nothing.shape)
  if options.spectrogram:
    all_patches = patches.spectrogram_patches(window, options.spectrogram_patch)
  else:
    all_patches = patches.audio_patches(window, options.patch)
  drop_rate = options.drop_rate if train and not options.spectrogram else 0.0
  kept, positions = patches.drop_tokens(all_patches, drop_rate, random.stream(key, "audio_drop"))
  return {"audio/patches": kept, "audio/positions": positions, "audio/present": present}


def _text_example(parsed, place, duration, options, tokenizer):
  centre = _window_start(place, duration, options.seconds) + tf.minimum(duration, options.seconds) / 2

  def encode(texts, starts, ends, centre):
    if tokenizer is None or not len(texts):
      shape = [options.text.candidates, options.text.length]
      return np.zeros(shape, np.int32), np.zeros(shape, bool), np.bool_(False)
    chosen = text.nearest_captions(starts, ends, centre, options.text.candidates)
    ids, mask = text.encode_captions([texts[i].decode("utf-8", "replace") for i in chosen], tokenizer, options.text)
    return ids, mask, np.bool_(mask.any())

  values = [parsed["captions/text"], parsed["captions/start"], parsed["captions/end"], centre]
  if options.text.examples == "questions":
    nowhen = tf.zeros_like(parsed["questions/text"], tf.float32)
    values = [parsed["questions/text"], nowhen, nowhen, centre]
  ids, mask, present = tf.numpy_function(encode, values, [tf.int32, tf.bool, tf.bool], stateful=False)
  shape = [options.text.candidates, options.text.length]
  return {
    "text/ids": tf.ensure_shape(ids, shape),
    "text/mask": tf.ensure_shape(mask, shape),
    "text/present": tf.ensure_shape(present, []),
  }


def _label_example(name, options):
  encode = lambda name: label.encode_label(name.decode("utf-8", "replace"), options)
  shape, dtype = ([options.classes], tf.float32) if options.multiple else ([], tf.int32)
  return tf.ensure_shape(tf.numpy_function(encode, [name], dtype, stateful=False), shape)


def _batches(steps, numbers, rows, records, example, threads):
  def read(step):
    epochs, chosen = numbers(step)
    return np.array(records.read(chosen), object), epochs, chosen

  def load(step):
    loaded, epochs, chosen = tf.numpy_function(read, [step], [tf.string, tf.int64, tf.int64])
    return tf.ensure_shape(loaded, [rows]), tf.ensure_shape(epochs, [rows]), tf.ensure_shape(chosen, [rows])

  dataset = steps.map(load, num_parallel_calls=2).prefetch(1).unbatch()
  dataset = dataset.map(example, num_parallel_calls=threads or tf.data.AUTOTUNE)
  dataset = dataset.batch(rows, drop_remainder=True).prefetch(2)
  settings = tf.data.Options()
  settings.deterministic = True
  if threads:
    settings.threading.private_threadpool_size = threads
  return dataset.with_options(settings).as_numpy_iterator()


def _replace(epochs: np.ndarray, chosen: np.ndarray, broken: set[tuple[int, int]], size: int) -> np.ndarray:
  """Each broken visit gives way to the next readable record; randomness is keyed by that one's number."""
  chosen = chosen.copy()
  for i, (epoch, number) in enumerate(zip(epochs.tolist(), chosen.tolist())):
    tries = 0
    while (epoch, number) in broken:
      number, tries = (number + 1) % size, tries + 1
      if tries == size:
        raise ValueError(f"all {size} records are broken")
    chosen[i] = number
  return chosen


def _find_broken(records, rows, example) -> dict[tuple[int, int], str]:
  found = {}
  for epoch, number in zip(*rows):
    try:
      example(tf.constant(records[int(number)]), tf.constant(epoch), tf.constant(number))
    except Exception as error:
      found[int(epoch), int(number)] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
  return found
