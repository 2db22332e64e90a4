"""How fast this machine runs a config, and what a model costs.

  python -m vatt_jax.benchmark step --config=configs/pretrain/vatt.py:bbs --config.batch_size=2 --json=step.json
  python -m vatt_jax.benchmark input --config=configs/pretrain/vatt.py:bbs --json=input.json
  XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m vatt_jax.benchmark loss --config=configs/pretrain/vatt.py:mbs
  python -m vatt_jax.benchmark prepare --source=FOLDER
  python -m vatt_jax.benchmark flops

step   the whole training step (forward, backward, optimizer) on random inputs of the right shapes, against the matrix
       product that this machine does best, measured in turns with it. No data set is needed.
input  records to batches, in turns with the straightforward pipeline: every frame decoded whole, mirrored, normalised and
       resized in float32 on the host, nothing dropped. Without a data set, on clips made for it: 32 noisy frames of
       340 x 256. Per core: clips by seconds of processor time, which another program on the machine hardly changes.
loss   MIL-NCE and its gradients, in the plain form and round the ring of devices: what each device needs for it by the
       compiler's account, at global batches of 2,048, 16,384 and 65,536; the first is run, too.
prepare  films to records, in turns with decoding the same files and nothing else. Per core. Without --source, on films of
       1280 x 720 and of 320 x 240 made for it.
flops  the matrix products of VATT in closed form, beside the paper's figures.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import functools
import glob
import io
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import threading
import time

from absl import flags
from etils import epath
import jax
import jax.numpy as jnp
from ml_collections import config_flags
import numpy as np
from PIL import Image
import tensorflow as tf
import tqdm

from vatt_jax import errors, jobs, objectives
from vatt_jax.data import order as order_lib, pipeline, random, records as records_lib, video
from vatt_jax.losses import nce, ring
from vatt_jax.models import flops as closed_form
from vatt_jax.preparation import dataset, speed
from vatt_jax.preparation.clips import Caption, Clip
from vatt_jax.preparation.units import Decoded
from vatt_jax.training import flops as flops_lib, memory, mesh as mesh_lib, setup


def main(argv) -> None:
  values = flags.FLAGS
  modes = {
    "step": lambda: step(values.config, values.vocabulary_size, values.repetitions),
    "input": lambda: read(values.config, values.repetitions),
    "loss": lambda: loss(values.config, values.repetitions),
    "prepare": lambda: prepare_media(values.source, values.repetitions),
    "flops": flops,
  }
  if len(argv) != 2 or argv[1] not in modes:
    raise errors.UserError(f"one of {', '.join(modes)} must be named, such as: python -m vatt_jax.benchmark flops.")
  if argv[1] in ("step", "input") and not values.config:
    raise errors.UserError("--config=FILE is needed, such as --config=configs/pretrain/vatt_demo.py.")
  if values.repetitions < 1:
    raise errors.UserError(f"--repetitions={values.repetitions} must be at least 1.")
  if argv[1] in ("step", "input"):
    memory.keep_between_steps()
  report = modes[argv[1]]()
  if values.json:
    epath.Path(values.json).write_text(json.dumps(report, indent=2) + "\n")


# ---- step


def step(config, vocabulary_size: int, repetitions: int, gemm_sizes: Sequence[int] = (1024, 2048, 4096)) -> dict:
  """Times the training step of `config` in turns with square matrix products; prints and returns the report."""
  tf.config.set_visible_devices([], "GPU")
  jobs.compilation_cache()
  objectives.inherit(config, None)
  train_step, state, batch, model_flops = prepare_step(config, vocabulary_size)
  products = {size: matrix_product(size) for size in gemm_sizes}

  def run_step():
    nonlocal state
    state, metrics = train_step(state, batch)
    return metrics

  # Each repetition has both, so that whatever else slows the machine down slows both.
  seconds, rates = [], {size: [] for size in gemm_sizes}
  for _ in tqdm.trange(repetitions, desc="timing", unit="repetition", disable=not sys.stderr.isatty()):
    for size, product in products.items():
      rates[size] += [2 * size**3 * jax.device_count() / _time(product) for _ in range(3)]
    seconds.append(_time(run_step))
  median, peak = statistics.median(seconds), max(map(max, rates.values()))
  report = {
    "step_seconds": median,
    "step_seconds_spread": _spread(seconds),
    "clips_per_second": config.batch_size / median,
    "model_flops": model_flops,
    "gemm_peak_flops_per_second": peak,
    "gemm_flops_per_second_spread": {str(size): _spread(values) for size, values in rates.items()},
    "fraction_of_peak": model_flops / median / peak,
    "peak_memory_bytes": peak_memory_bytes(),
    "repetitions": repetitions,
    "flop_convention": flops_lib.CONVENTION,
    "machine": machine(),
    "versions": jobs.versions(),
  }
  by_size = ", ".join(f"{size}: {max(values) / 1e9:,.4g}" for size, values in rates.items())
  print(
    f"step: {median:.4g} s (fastest {min(seconds):.4g}), {report['clips_per_second']:.3g} clips/s\n"
    f"matrix products: {model_flops / 1e9:,.4g} GFLOP a step, {model_flops / median / 1e9:,.4g} GFLOP/s\n"
    f"peak: {peak / 1e9:,.4g} GFLOP/s (best square product; by size: {by_size})\n"
    f"fraction of peak: {100 * report['fraction_of_peak']:.1f} %\n"
    f"peak memory: {report['peak_memory_bytes'] / 2**30:.2f} GiB"
  )
  return report


def prepare_step(config, vocabulary_size: int) -> tuple[Callable, object, dict, int]:
  """(compiled step, state, batch, model FLOPs) for `config` with random inputs, on the mesh it asks for."""
  mesh = mesh_lib.make_mesh(config.mesh)
  mesh_lib.check_batch_size(config.batch_size, mesh, config.accumulate)
  options = jobs.input_options(config.data)
  plain = objectives.build(config, options, vocabulary_size)
  objective = plain.on_mesh(mesh)
  spec = pipeline.batch_spec(options, config.batch_size)
  prepared = setup.prepare(config, objective, spec, mesh)
  model_flops = flops_lib.model_flops(plain, prepared.shapes.variables, spec)
  batch = mesh_lib.to_devices(random_batch(spec, vocabulary_size), mesh)
  state, _ = jax.block_until_ready(prepared.step(prepared.init(), batch))  # Compiled and warm.
  return prepared.step, state, batch, model_flops


def random_batch(spec: dict[str, jax.ShapeDtypeStruct], vocabulary_size: int) -> dict[str, np.ndarray]:
  """Arrays with these shapes that a model can take: nothing is absent, nothing padded, positions lie in the grid."""
  random = np.random.default_rng(0)

  def values(name, like):
    if like.dtype == np.bool_:
      return np.ones(like.shape, np.bool_)
    if name.endswith("/positions"):
      return np.broadcast_to(np.arange(like.shape[-1], dtype=np.int32), like.shape)
    if name.endswith("/ids"):
      return random.integers(1, vocabulary_size, like.shape, np.int32)
    if name == "label":
      return np.zeros(like.shape, like.dtype)
    if np.issubdtype(like.dtype, np.integer):
      return random.integers(0, np.iinfo(like.dtype).max, like.shape, like.dtype)
    return random.uniform(-1, 1, like.shape).astype(like.dtype)

  return {name: values(name, like) for name, like in spec.items()}


def matrix_product(size: int) -> Callable[[], jax.Array]:
  """A float32 product of two square matrices on every device, ready to be timed."""
  devices = jax.devices()
  mesh = mesh_lib.make_mesh((1, len(devices), 1), devices)
  place = mesh_lib.batch_sharding(mesh)
  left = jax.jit(lambda: jnp.full((len(devices), size, size), 0.5), out_shardings=place)()
  multiply = jax.jit(lambda left: jnp.matmul(left, jnp.swapaxes(left, 1, 2)), out_shardings=place)
  product = lambda: multiply(left)
  jax.block_until_ready(product())
  return product


def _time(function: Callable) -> float:
  began = time.perf_counter()
  jax.block_until_ready(function())
  return time.perf_counter() - began


def _spread(values: list[float]) -> dict[str, float]:
  names = ("minimum", "first_quartile", "median", "third_quartile", "maximum")
  return dict(zip(names, np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist()))


def peak_memory_bytes() -> int:
  """The most that a device has held, or, where devices do not tell (CPU), that this process has."""
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  known = [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]
  return max(known) if known else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine() -> dict[str, str | int]:
  """What the figures were measured on."""
  cpu = platform.processor() or platform.machine()
  if os.path.exists("/proc/cpuinfo"):
    with open("/proc/cpuinfo") as file:
      names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    cpu = names[0] if names else cpu
  device = jax.devices()[0]
  return {
    "cpu": cpu,
    "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    "platform": device.platform,
    "device": device.device_kind,
    "devices": jax.device_count(),
  }


# ---- input


_ROWS = 8  # of a batch


def read(config, repetitions: int, batches_each: int = 3) -> dict:
  """Times the input of `config` in turns with a pipeline in float32; prints and returns the report.

  Colour jitter is left out of both, and then reported with both, where the config has it.
  """
  tf.config.set_visible_devices([], "GPU")
  with tempfile.TemporaryDirectory() as made:
    if not config.data.directory:
      config.data.directory = _make_clips(made)
    inputs = jobs.open_inputs(config, made)
    plain = inputs.options
    if plain.video:
      plain = dataclasses.replace(plain, video=dataclasses.replace(plain.video, colour_jitter=0.0))
    kinds = {"": plain} | ({"_with_colour_jitter": inputs.options} if plain != inputs.options else {})
    records = records_lib.Records(inputs.directory, "train")
    streams = {}
    for kind, options in kinds.items():
      batches = pipeline.training_batches(
        records, order_lib.plain(len(records), _ROWS, config.seed), options, inputs.tokenizer, end_step=10**9, threads=1
      )
      streams[f"clips_per_second_per_core{kind}"] = batches
      streams[f"baseline_clips_per_second_per_core{kind}"] = _float_batches(records, options, inputs.tokenizer)
    size = lambda batch: sum(array.nbytes for array in batch.values()) // _ROWS
    sizes = {name: size(next(batches)) for name, batches in streams.items()}
    seconds, kernel = {name: [] for name in streams}, {name: [] for name in streams}
    for _ in tqdm.trange(repetitions, desc="timing", unit="repetition", disable=not sys.stderr.isatty()):
      for name, batches in streams.items():
        whole, part = _processor_seconds(batches, batches_each)
        seconds[name].append(whole / (batches_each * _ROWS))
        kernel[name].append(part / whole)
  report = {name: 1.0 / statistics.median(values) for name, values in seconds.items()}
  report |= {
    "bytes_per_clip": sizes["clips_per_second_per_core"],
    "baseline_bytes_per_clip": sizes["baseline_clips_per_second_per_core"],
    "processor_seconds_spread": {name: _spread(values) for name, values in seconds.items()},
    "kernel_share": {name: statistics.median(values) for name, values in kernel.items()},
    "repetitions": repetitions,
    "machine": machine(),
    "versions": jobs.versions(),
  }
  for kind in kinds:
    fast, slow = report[f"clips_per_second_per_core{kind}"], report[f"baseline_clips_per_second_per_core{kind}"]
    label = kind.replace("_", " ") or " without colour jitter"
    shares = [100 * report["kernel_share"][f"{name}clips_per_second_per_core{kind}"] for name in ("", "baseline_")]
    print(
      f"{fast:.1f} clips/s per core{label} ({shares[0]:.0f} % of the time in the kernel); "
      f"in float32 {slow:.1f} ({shares[1]:.0f} %): {fast / slow:.2f} times as fast"
    )
  ratio = report["baseline_bytes_per_clip"] / report["bytes_per_clip"]
  print(f"{report['bytes_per_clip'] / 1e6:.2f} MB a clip to the device, in float32 {ratio:.2f} times as much")
  return report


def _processor_seconds(batches: Iterator, count: int) -> tuple[float, float]:
  """Of all threads, for so many batches, and those of them in the kernel, which clears memory that is new to a process.

  What was read ahead is made up for before the clock is stopped.
  """

  def settled():
    """Processor seconds once the threads that read ahead have nothing left to do."""
    quiet = 0
    while quiet < 4:
      before = time.process_time()
      time.sleep(0.05)
      quiet = quiet + 1 if time.process_time() - before < 0.002 and not _threads_at_work() else 0
    return np.array([time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_stime])

  began = settled()
  for _ in range(count):
    next(batches)
  return tuple((settled() - began).tolist())


def _threads_at_work() -> bool:
  """Whether another thread of this process computes, or waits for a core that another program has; only Linux tells."""
  own = str(threading.get_native_id())
  for place in glob.glob("/proc/self/task/*/stat"):
    with contextlib.suppress(OSError):  # It has ended.
      with open(place) as file:
        state = file.read().rpartition(")")[2].split()[0]
      if state == "R" and place.split("/")[-2] != own:
        return True
  return False


def _float_batches(records, options: pipeline.InputOptions, tokenizer) -> Iterator[dict]:
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

  stream = tf.data.Dataset.range(10**9).map(example, num_parallel_calls=1).batch(_ROWS).prefetch(2)
  settings = tf.data.Options()
  settings.threading.private_threadpool_size = 1
  return stream.with_options(settings).as_numpy_iterator()


@dataclasses.dataclass(frozen=True)
class _NoisyClip:
  """4 s of moving waves and noise, some 22 KiB a frame: about what real frames of this size take."""

  number: int

  @property
  def name(self) -> str:
    return f"{self.number:03d}"

  def identity(self) -> str:
    return self.name

  def decode(self) -> Decoded:
    random = np.random.default_rng(self.number)
    words = lambda: " ".join(random.choice(("red", "dog", "runs", "to", "the", "sea", "and", "sings"), 12))
    return Decoded(
      [
        Clip(
          key=self.name,
          split="train",
          frames=tuple(self._frame(i, random) for i in range(40)),
          timestamps=tuple(i / 10 for i in range(40)),
          samples=random.normal(0, 3000, 4 * 48_000).astype(np.int16),
          captions=tuple(Caption(words(), i, i + 1) for i in range(5)),
        )
      ]
    )

  def _frame(self, i, random):
    y, x = np.mgrid[:256, :340]
    waves = [np.sin((x + a * i) / (7 + 5 * a) + y / (13 + a + self.number)) for a in (1, 2, 3)]
    pixels = 128 + 70 * np.stack(waves, -1) + np.kron(random.normal(0, 9, (128, 170, 3)), np.ones((2, 2, 1)))
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _make_clips(directory: str) -> str:
  units = [_NoisyClip(i) for i in range(8)]
  dataset.prepare(units, directory, source="benchmark", options={"vocabulary_size": 0}, progress=False)
  return directory


# ---- prepare


def prepare_media(source: str | None, repetitions: int) -> dict:
  """Times `prepare` in turns with bare decoding, on the media of a folder or on films made for it; prints and returns the report."""
  report = {}
  with tempfile.TemporaryDirectory() as made:
    folders = [source] if source else [speed.make_films(made, size, 2, seconds=20) for size in speed.SIZES]
    for folder in folders:
      figures = report[os.path.basename(os.path.abspath(folder))] = speed.measure(folder, repetitions)
      print(
        f"{folder if source else os.path.basename(folder)}: {figures['clips_per_second_per_core']:.3g} clips/s per core, "
        f"{100 * figures['share_of_bare']:.0f} % of decoding alone ({figures['bare_clips_per_second_per_core']:.3g})"
      )
  return report | {"repetitions": repetitions, "machine": machine(), "versions": jobs.versions()}


# ---- flops


def flops() -> dict:
  """Prints two Markdown tables, the paper's figures and those of our towers; returns the same as a report."""
  giga = lambda value: f"{value / 1e9:,.1f}"
  print("GFLOP of matrix products in one forward pass, a multiply-add counted as two.\n")
  print("| VATT paper, tables 5 and 6 | DropToken | paper | its convention | deviation | here, true count |")
  print("| --- | ---: | ---: | ---: | ---: | ---: |")
  rows = list(closed_form.paper_table())
  for row in rows:
    figures = f"{giga(row.reported)} | {giga(row.paper)} | {100 * row.deviation:+.1f} %"
    print(f"| {row.name} | {100 * row.drop_rate:.0f} % | {figures} | {giga(row.ours)} |")
  print(
    "\nThe paper's convention leaves out queries times keys, and projects patches before it drops them; here they are "
    "dropped first.\n\nOne clip (32 x 224 x 224, 3.2 s at 48 kHz, 16 words) through one tower; in brackets without "
    "queries times keys.\n"
  )
  print("| tower | size |" + "".join(f" DropToken {100 * rate:.0f} % |" for rate in closed_form.DROP_RATES))
  print("| --- | --- |" + " ---: |" * len(closed_form.DROP_RATES))
  towers = list(closed_form.tower_table())
  for modality, size, cells in towers:
    texts = [f" {giga(full)} ({giga(less)}) |" for full, less in cells]
    print(f"| {modality} | {size} |" + "".join(texts + [" |"] * (len(closed_form.DROP_RATES) - len(cells))))
  return {
    "paper": [
      {"name": r.name, "drop_rate": r.drop_rate, "reported": r.reported, "paper_convention": r.paper, "true": r.ours}
      for r in rows
    ],
    "towers": [
      {"tower": modality, "size": size, "drop_rate": rate, "true": full, "without_scores": less}
      for modality, size, cells in towers
      for rate, (full, less) in zip(closed_form.DROP_RATES, cells)
    ],
  }


# ---- loss


def loss(config, repetitions: int, batch_sizes: Sequence[int] = (2_048, 16_384, 65_536), executed: int = 2_048) -> dict:
  """Compiles the contrastive loss of `config` between clips and captions in both forms; prints and returns the report.

  Args:
    batch_sizes: global; each has to divide by the devices.
    executed: the largest of them that is run as well.
  """
  mesh = mesh_lib.make_mesh((1, -1, 1))
  for size in batch_sizes:
    mesh_lib.check_batch_size(size, mesh)
  candidates, width = config.data.text.candidates, config.model.vt_width
  rows = mesh_lib.batch_sharding(mesh)
  forms = {"plain": None, "ring": functools.partial(ring.ring_sums, mesh=mesh)}
  report = {"devices": mesh.size, "candidates": candidates, "width": width, "batches": [], "machine": machine()}
  for size in batch_sizes:
    row = {"batch_size": size, "matrix_bytes": 4 * size * size * candidates}
    shapes = [(size, width), (size, candidates, width)]
    for name, sums in forms.items():
      value = lambda video, text, sums=sums: nce.LOSSES[config.objective.loss](
        video, text, jnp.ones(len(video), bool), temperature=config.objective.temperature, sums=sums
      )
      arguments = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=rows) for shape in shapes]
      compiled = jax.jit(jax.value_and_grad(value, (0, 1))).lower(*arguments).compile()
      row[f"{name}_temporary_bytes"] = compiled.memory_analysis().temp_size_in_bytes
      if size <= executed:
        draw = jax.jit(
          lambda shapes=shapes: [jax.random.normal(jax.random.key(1), s) for s in shapes], out_shardings=rows
        )
        inputs = jax.block_until_ready(draw())
        row[f"{name}_loss"] = float(compiled(*inputs)[0])
        row[f"{name}_seconds"] = statistics.median(
          _time(functools.partial(compiled, *inputs)) for _ in range(repetitions)
        )
    report["batches"].append(row)
    times = "".join(f", {name} {row[f'{name}_seconds']:.3g} s" for name in forms if f"{name}_seconds" in row)
    sizes = ", ".join(f"{name} {row[f'{name}_temporary_bytes'] / 2**20:,.1f} MiB" for name in forms)
    print(f"batch {size:,}: {sizes} of temporaries on each of {mesh.size} devices{times}")
  return report


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  config_flags.DEFINE_config_file("config", None, "Config file; its arguments follow a colon.", flag_values=values)
  flags.DEFINE_string("json", None, "Where the report goes, beside being printed.", flag_values=values)
  flags.DEFINE_string("source", None, "Folder of media, for `prepare`.", flag_values=values)
  flags.DEFINE_integer("repetitions", 7, "How often everything is timed.", flag_values=values)
  flags.DEFINE_integer("vocabulary_size", 65_536, "Words of the text tower.", flag_values=values)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  errors.run(main)
