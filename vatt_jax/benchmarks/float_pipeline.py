"""What `benchmark input` compares with: an input pipeline that does the obvious thing in float32."""

from collections.abc import Iterator
import dataclasses

import tensorflow as tf

from vatt_jax.data import pipeline, random, video


def batches(records, options: pipeline.InputOptions, tokenizer, rows: int) -> Iterator[dict]:
  """The straightforward pipeline, as DMVR's in the order of VATT's official code: decode, mirror, normalise, crop, resize.

  It draws the same windows, crops, sounds and captions; all is float32 and nothing is dropped.
  """

  def video_example(parsed, place, duration, key, options, train, crop_place):
    start = pipeline.window_start(place, duration, options.seconds)
    chosen = video.pick_frames(parsed["video/timestamps"], start, duration, key, options, train)
    jpegs = tf.gather(parsed["video/frames"], chosen)
    decode = lambda jpeg: tf.io.decode_jpeg(jpeg, channels=3)
    frames = tf.map_fn(decode, jpegs, fn_output_signature=tf.uint8)
    mirror = random.uniform(key, "flip") < 0.5
    frames = tf.cond(mirror, lambda: tf.image.flip_left_right(frames), lambda: frames)
    frames = tf.image.convert_image_dtype(frames, tf.float32) * 2.0 - 1.0
    y, x, height, width = tf.unstack(video.crop_box(tf.shape(frames)[1:], key, crop_place, options, train))
    frames = tf.image.resize(frames[:, y : y + height, x : x + width], options.pixels)

    def jitter():
      draws = random.uniform(key, "colour", [4], -1.0, 1.0)
      changed = tf.image.adjust_brightness((frames + 1.0) / 2.0, draws[0] * 32.0 / 255.0)
      changed = tf.image.adjust_saturation(changed, 1.0 + 0.4 * draws[1])
      changed = tf.image.adjust_contrast(changed, 1.0 + 0.4 * draws[2])
      return tf.clip_by_value(tf.image.adjust_hue(changed, 0.2 * draws[3]), 0.0, 1.0) * 2.0 - 1.0

    if options.colour_jitter:
      frames = tf.cond(random.uniform(key, "colour_gate") < options.colour_jitter, jitter, lambda: frames)
    return {"video": frames}

  if options.audio:
    options = dataclasses.replace(options, audio=dataclasses.replace(options.audio, drop_rate=0.0))
  make = pipeline.example_function(options, tokenizer, seed=0, train=True, video_example=video_example)

  def example(number):
    record = tf.numpy_function(lambda number: records[int(number)], [number % len(records)], tf.string)
    out = make(tf.ensure_shape(record, []), number // len(records), number % len(records))
    if "audio/patches" in out:
      del out["audio/positions"]
      out["audio"] = tf.cast(out.pop("audio/patches"), tf.float32) / 32768.0
    return out

  stream = tf.data.Dataset.range(10**9).map(example, num_parallel_calls=1).batch(rows).prefetch(2)
  settings = tf.data.Options()
  settings.threading.private_threadpool_size = 1
  return stream.with_options(settings).as_numpy_iterator()
