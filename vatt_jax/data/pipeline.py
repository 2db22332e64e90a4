"""Records -> batches with tf.data. The keys and shapes are the contract in WORKSPACE.md, "The batch".

Batch k is a function of k: the pipeline starts from a range of steps and looks everything else up, so starting at step
k costs the same for every k. Broken records raise where they are decoded; only then does `training_batches` look for
the culprit, name it, put the next readable record in its place, and go on.
"""

from collections.abc import Callable, Iterator
import concurrent.futures
import dataclasses
import math

import jax
import numpy as np
import tensorflow as tf

from vatt_jax.data import audio, label, patches, random, text, video
from vatt_jax.data.audio import AudioOptions
from vatt_jax.data.label import LabelOptions
from vatt_jax.data.order import Order
from vatt_jax.data.records import FEATURES, Joined, Records
from vatt_jax.data.text import TextOptions
from vatt_jax.data.video import VideoOptions
from vatt_jax.errors import UserError

Batch = dict[str, np.ndarray]

# TensorFlow quotes the bad bytes in its message; when they are not UTF-8 even raising its error fails.
_FAILURES = (tf.errors.OpError, UnicodeDecodeError)


@dataclasses.dataclass(frozen=True)
class InputOptions:
  """How a record becomes the arrays of an example; what is None is not read.

  `spans` adds where each clip comes from: rows whose `clip/source` are equal and whose `clip/span` intersect show the
  same seconds of one file, and are no negatives of each other.
  """

  video: VideoOptions | None = None
  audio: AudioOptions | None = None
  text: TextOptions | None = None
  label: LabelOptions | None = None
  spans: bool = False

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
      clips = (rows,) if getattr(track, "windows", 1) == 1 else (rows, track.windows)
      spec[f"{name}/patches"] = ((*clips, tokens, track.patch_values), track.patch_dtype)
      spec[f"{name}/positions"] = ((*clips, tokens), np.int32)
      spec[f"{name}/present"] = ((rows,), np.bool_)
  if options.text:
    captions = (rows, options.text.rows, options.text.length)
    spec |= {"text/ids": (captions, np.int32), "text/mask": (captions, np.bool_), "text/present": ((rows,), np.bool_)}
    if options.text.kinds:
      spec["text/kinds"] = ((rows, len(options.text.kinds)), np.bool_)
  if options.label:
    multiple = options.label.multiple
    spec["label"] = ((rows, options.label.classes), np.float32) if multiple else ((rows,), np.int32)
  if options.spans:
    spec |= {"clip/source": ((rows,), np.int32), "clip/span": ((rows, 2), np.float32)}
  return {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in spec.items()}


def training_batches(
    records: Records | Joined, order: Order, options: InputOptions, tokenizer: text.Tokenizer | None, *,
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
  broken = _Broken(records, on_broken)

  def numbers(step):
    epochs, chosen = order.batch(int(step), host * rows, rows)
    return epochs, broken.replace(epochs, chosen)

  example = example_function(options, tokenizer, order.seed, train=True)
  for _, batch in _readable_batches(start_step, end_step, numbers, rows, broken, example, threads):
    yield batch


def evaluation_batches(
    records: Records, batch_size: int, options: InputOptions, tokenizer: text.Tokenizer | None, *,
    offset: float = 0.5, crop_place: float = 0.5, host: int = 0, hosts: int = 1, threads: int | None = None,
    on_broken: Callable[[int, str], None] = lambda number, reason: None,
) -> Iterator[Batch]:  # fmt: skip
  """Every record once, in order, without augmentation or DropToken; `valid` bool (B,) is false in padding rows.

  Args:
    batch_size: of all hosts, which it divides by.
    host, hosts: rows [host * B / hosts, (host + 1) * B / hosts) of every batch.
    offset: where in a longer clip the window lies, from 0 (its start) to 1 (its end).
    crop_place: where on the longer side of the picture the square lies, from 0 (left or top) to 1.
  """
  example = example_function(options, tokenizer, seed=0, train=False, offset=offset, crop_place=crop_place)
  broken = _Broken(records, on_broken)
  size = len(records)
  rows = batch_size // hosts
  chosen = lambda step: np.arange(rows, dtype=np.int64) + step * batch_size + host * rows

  def numbers(step):
    epochs = np.zeros([rows], np.int64)
    return epochs, broken.replace(epochs, chosen(int(step)) % size)

  steps = -(-size // batch_size)
  for step, batch in _readable_batches(0, steps, numbers, rows, broken, example, threads):
    batch["valid"] = np.array([n < size and (0, n) not in broken.found for n in chosen(step)])
    yield batch


def example_function(
  options: InputOptions, tokenizer: text.Tokenizer | None, seed: int, *, train: bool, offset: float = 0.5,
  crop_place: float = 0.5, video_example: Callable | None = None,
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:  # fmt: skip
  """A function of (record string, epoch, record number) that makes one example, in the graph or eagerly.

  Args:
    video_example: makes the picture's part in another way than `_video_example`, with the same arguments.
  """
  video_example = video_example or _video_example

  def example(record, epoch, number):
    parsed = tf.io.parse_single_example(record, FEATURES)
    key = random.example_key(seed, epoch, number)
    place = random.uniform(key, "offset") if train else tf.constant(offset, tf.float32)
    samples = tf.io.decode_raw(parsed["audio/samples"], tf.int16)
    rate = tf.maximum(tf.cast(parsed["audio/sample_rate_hz"], tf.float32), 1.0)
    duration = _clip_seconds(parsed["video/timestamps"], parsed["audio/start_seconds"], tf.size(samples), rate)
    out = {}
    if options.video:
      out |= video_example(parsed, place, duration, key, options.video, train, crop_place)
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
    if options.spans:
      out |= _span_example(parsed, place, duration, options, train)
    return out

  return example


def _clip_seconds(timestamps, audio_start, samples, rate):
  """Until the last frame has been shown and the last sample heard."""
  frames = tf.size(timestamps)
  last = tf.reduce_max(tf.concat([timestamps, [0.0]], 0))
  picture = last * tf.cast(frames, tf.float32) / tf.cast(tf.maximum(frames - 1, 1), tf.float32)
  return tf.maximum(picture, audio_start + tf.cast(samples, tf.float32) / rate)


def window_start(place, duration, seconds):
  """One relative place for all modalities: windows of different length lie inside each other."""
  return place * tf.maximum(duration - seconds, 0.0)


def window_starts(place: tf.Tensor, duration: tf.Tensor, seconds: float, count: int) -> tf.Tensor:
  """float32 (count,): where windows begin, back to back, the one at `place` first, then those nearest to it in time.

  They lie inside the clip, and are repeated where it has room for fewer.
  """
  first = window_start(place, duration, seconds)
  room = lambda left: tf.maximum(tf.cast(left / seconds + 1e-3, tf.int32), 0)
  steps = tf.range(-room(first), room(duration - seconds - first) + 1)
  nearest = tf.gather(steps, tf.argsort(2 * tf.abs(steps) - tf.cast(steps > 0, tf.int32)))
  chosen = tf.gather(nearest, tf.range(count) % tf.size(nearest))
  return tf.maximum(first + tf.cast(chosen, tf.float32) * seconds, 0.0)


def _video_example(parsed, place, duration, key, options, train, crop_place):
  present = tf.size(parsed["video/frames"]) > 0
  window = lambda start, key: _video_window(parsed, present, start, duration, key, options, train, crop_place)
  if train and options.windows > 1:
    starts = tf.unstack(window_starts(place, duration, options.seconds, options.windows))
    windows = [window(start, random.window_key(key, i)) for i, start in enumerate(starts)]
    kept, positions = (tf.stack(part) for part in zip(*windows))
  else:
    kept, positions = window(window_start(place, duration, options.seconds), key)
  return {"video/patches": kept, "video/positions": positions, "video/present": present}


def _video_window(parsed, present, start, duration, key, options, train, crop_place):
  jpegs = parsed["video/frames"]
  positions = patches.kept_positions(
    math.prod(options.grid), options.drop_rate if train else 0.0, random.stream(key, "video_drop")
  )

  def read():
    chosen = video.pick_frames(parsed["video/timestamps"], start, duration, key, options, train)
    look = lambda options: video.read_patches(jpegs, chosen, positions, key, options, train, crop_place)
    if train and options.stills:
      rows, thumbnails = tf.cond(tf.size(jpegs) == 1, lambda: look(options.for_stills), lambda: look(options))
    else:
      rows, thumbnails = look(options)
    return video.jitter_colours(rows, positions, thumbnails, key, options) if train and options.colour_jitter else rows

  shape = [positions.shape[0], options.patch_values]
  return tf.ensure_shape(tf.cond(present, read, lambda: tf.zeros(shape, tf.uint8)), shape), positions


def _audio_example(parsed, samples, place, duration, key, options, train):
  present = tf.size(samples) > 0
  start = window_start(place, duration, options.seconds)
  read = lambda: audio.read_window(
    samples, parsed["audio/sample_rate_hz"], parsed["audio/start_seconds"], start, duration, key, options, train
  )
  window = tf.cond(present, read, lambda: tf.zeros([options.samples]))
  loudest = tf.reduce_max(tf.abs(window))
  disturb = lambda wave: audio.disturb(wave, loudest, key, options) if train else wave
  if options.spectrogram:
    shape = [options.grid[0] * options.spectrogram_patch[0], options.mels]
    mel = tf.cond(present, lambda: audio.log_mel(disturb(window) / 32768.0, options), lambda: tf.zeros(shape))
    kept = patches.spectrogram_patches(tf.ensure_shape(mel, shape), options.spectrogram_patch)
    positions = tf.range(math.prod(options.grid), dtype=tf.int32)
  else:
    kept, positions = patches.drop_tokens(
      patches.audio_patches(window, options.patch),
      options.drop_rate if train else 0.0,
      random.stream(key, "audio_drop"),
    )
    kept = audio.as_int16(disturb(kept))
  return {"audio/patches": kept, "audio/positions": positions, "audio/present": present}


def _text_example(parsed, place, duration, options, tokenizer):
  centre = window_start(place, duration, options.seconds) + tf.minimum(duration, options.seconds) / 2
  shape = [max(1, len(options.text.kinds)), options.text.candidates, options.text.length]

  def encode(texts, starts, ends, kinds, centre):
    ids, mask = np.zeros(shape, np.int32), np.zeros(shape, bool)
    if tokenizer is not None and len(texts):
      if not any(words.strip() for words in texts):
        raise ValueError("its captions are empty")
      words = [each.decode("utf-8", "replace") for each in texts]
      names = [each.decode("utf-8", "replace") for each in kinds]
      for i, chosen in enumerate(text.nearest_of_kinds(starts, ends, names, centre, options.text)):
        if len(chosen):
          ids[i], mask[i] = text.encode_captions([words[j] for j in chosen], tokenizer, options.text)
    return ids, mask, mask.any((1, 2))

  values = [parsed[f"captions/{part}"] for part in ("text", "start", "end", "kind")]
  if options.text.examples == "questions":
    nowhen = tf.zeros_like(parsed["questions/text"], tf.float32)
    values = [parsed["questions/text"], nowhen, nowhen, tf.zeros([0], tf.string)]
  ids, mask, present = tf.numpy_function(encode, [*values, centre], [tf.int32, tf.bool, tf.bool], stateful=False)
  present = tf.ensure_shape(present, shape[:1])
  rows = [options.text.rows, options.text.length]
  return {
    "text/ids": tf.reshape(tf.ensure_shape(ids, shape), rows),
    "text/mask": tf.reshape(tf.ensure_shape(mask, shape), rows),
    "text/present": tf.reduce_any(present),
  } | ({"text/kinds": present} if options.text.kinds else {})


def _span_example(parsed, place, duration, options, train):
  """A number for the file, -1 where it is not known, and the seconds of it from the first window to the last."""
  source = parsed["source"]
  number = tf.cast(tf.strings.to_hash_bucket_fast(source, 2**31 - 1), tf.int32)
  start = window_start(place, duration, options.seconds)  # Of the longest, in which the others lie.
  end = start + tf.minimum(duration, options.seconds)
  if train and options.video and options.video.windows > 1:
    starts = window_starts(place, duration, options.video.seconds, options.video.windows)
    start = tf.minimum(start, tf.reduce_min(starts))
    end = tf.maximum(end, tf.reduce_max(starts) + tf.minimum(duration, options.video.seconds))
  return {
    "clip/source": tf.where(tf.strings.length(source) > 0, number, -1),
    "clip/span": parsed["clip/start"] + tf.stack([start, end]),
  }


def _label_example(name, options):
  # Where TensorFlow runs eagerly the name comes as an array.
  encode = lambda name: label.encode_label(np.asarray(name).item().decode("utf-8", "replace"), options)
  shape, dtype = ([options.classes], tf.float32) if options.multiple else ([], tf.int32)
  return tf.ensure_shape(tf.numpy_function(encode, [name], dtype, stateful=False), shape)


class _Broken:
  """Records that could not be decoded, and what stands in their place.

  Attributes:
    records: that are read.
    found: (epoch, number) -> reason. Another visit of a record may pick other, readable frames of it.
  """

  def __init__(self, records: Records | Joined, report: Callable[[int, str], None]):
    self.records, self._report = records, report
    self.found: dict[tuple[int, int], str] = {}

  def replace(self, epochs: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Each broken visit gives way to the next readable record; randomness is keyed by that one's number."""
    numbers = numbers.copy()
    for i, (epoch, first) in enumerate(zip(epochs.tolist(), numbers.tolist())):
      number = first
      while (epoch, number) in self.found:
        number = self.records.after(number)
        if number == first:
          raise UserError(f"no record can be read, beginning with {self._why(epoch, number)}.")
      numbers[i] = number
    return numbers

  def search(self, epochs: np.ndarray, numbers: np.ndarray, example: Callable, read: int) -> bool:
    """Looks for broken records among these, of which there are `read` so far; whether there are any.

    Raises:
      UserError: when most of what was read is broken.
    """
    before = len(self.found)
    for epoch, number in zip(epochs.tolist(), numbers.tolist()):
      try:
        example(tf.constant(self.records[number]), tf.constant(epoch), tf.constant(number))
      except Exception as error:
        self.found[epoch, number] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        self._report(number, self.found[epoch, number])
    if len(self.found) > max(read, _FEW):
      (epoch, number), *_ = self.found
      raise UserError(
        f"{len(self.found)} of the first {read + len(self.found)} records cannot be read; prepare the data set again. "
        f"The first is {self._why(epoch, number)}."
      )
    return len(self.found) > before

  def _why(self, epoch: int, number: int) -> str:
    return f"{self.records.name(number)}: {self.found[epoch, number]}"


_FEW = 10  # So many broken records never stop a run.


def _readable_batches(start, end, numbers, rows, broken, example, threads) -> Iterator[tuple[int, Batch]]:
  """(step, batch) for start .. end - 1. Where decoding fails, the batch is made anew without what is broken."""
  step = start
  while step < end:
    dataset = tf.data.Dataset.range(step, end)
    try:
      for batch in _batches(dataset, numbers, rows, broken.records, example, threads):
        yield step, batch
        step += 1
    except _FAILURES as error:
      if not broken.search(*numbers(step), example, read=(step - start + 1) * rows):
        raise error


def fetched_ahead(batches: Iterator) -> Iterator:
  """Fetches one batch in a thread of its own while the caller computes.

  Even a batch that is ready takes some milliseconds to hand over and to bring to the devices.
  """
  with concurrent.futures.ThreadPoolExecutor(1) as thread:
    coming = thread.submit(next, batches, None)
    while (batch := coming.result()) is not None:
      coming = thread.submit(next, batches, None)
      yield batch


def _batches(steps, numbers, rows, records, example, threads):
  def choose(step):
    epochs, chosen = tf.numpy_function(numbers, [step], [tf.int64, tf.int64])
    return tf.ensure_shape(epochs, [rows]), tf.ensure_shape(chosen, [rows])

  def read(epoch, number):
    record = tf.numpy_function(records.__getitem__, [number], tf.string)
    return example(tf.ensure_shape(record, []), epoch, number)

  # AutoGraph has nothing to do here, and would slow down the Python functions inside at every call.
  choose, read = map(tf.autograph.experimental.do_not_convert, (choose, read))
  dataset = steps.map(choose).unbatch()
  dataset = dataset.map(read, num_parallel_calls=threads or tf.data.AUTOTUNE)
  dataset = dataset.batch(rows, drop_remainder=True).prefetch(2)
  settings = tf.data.Options()
  settings.deterministic = True
  if threads:
    settings.threading.private_threadpool_size = threads
  return dataset.with_options(settings).as_numpy_iterator()
