"""Pretrains or fine-tunes: any objective, on any mesh, from a prepared data set.

  python -m vatt_jax.prepare --source=demo --output=data/demo
  python -m vatt_jax.train --config=configs/pretrain/vatt_demo.py --config.data.directory=data/demo --workdir=runs/first

Run the same command again and it goes on where it stopped. Any field of the config is set with --config.NAME=VALUE.
"""

import signal
import time

from absl import flags
from etils import epath
import jax
from ml_collections import config_flags
import tensorflow as tf

from vatt_jax import errors, jobs
from vatt_jax.data import order as order_lib, pipeline, records as records_lib
from vatt_jax.training import checkpoints, memory, mesh as mesh_lib, setup, sharding, workdir as workdir_lib
from vatt_jax.training.progress import Progress
from vatt_jax.training.state import fingerprint

MAX_SKIPPED = 20  # updates in a row that were not finite


def main(argv) -> None:
  if len(argv) > 1:
    raise errors.UserError(f"unexpected arguments {' '.join(argv[1:])}; flags begin with --.")
  config, workdir = flags.FLAGS.config, flags.FLAGS.workdir
  if not config or not workdir:
    raise errors.UserError(
      "--config=FILE and --workdir=DIR are needed, such as --config=configs/pretrain/vatt_demo.py."
    )
  memory.keep_between_steps()
  train(config, workdir)


def train(config, workdir: str) -> None:
  """Runs `config` in `workdir` to its end, or until SIGTERM or SIGINT asks it to save and stop."""
  try:
    epath.Path(workdir).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise errors.UserError(f"--workdir={workdir} cannot be made: {error.strerror}.") from error
  with workdir_lib.lock(workdir):
    _train(config, workdir)


def _train(config, workdir: str) -> None:
  # ---- Set-up: whether this config goes on with what is in the workdir.
  tf.config.set_visible_devices([], "GPU")
  stop = _watch_signals()
  jobs.complete(config, workdir)
  for warning in workdir_lib.check_config(workdir, config.to_dict()):
    _say(f"warning: {warning}")
  jobs.compilation_cache()
  results = epath.Path(workdir) / "results.json"

  for name in ("batch_size", "total_steps", "log_every_steps", "checkpoint_every_steps"):
    if config[name] < 1:
      raise errors.UserError(f"config.{name} = {config[name]} must be at least 1.")

  # ---- Mesh: which device holds which rows.
  mesh = mesh_lib.make_mesh(config.mesh)
  mesh_lib.check_batch_size(config.batch_size, mesh, config.accumulate)

  # ---- Data: batch k is a function of k.
  inputs = jobs.open_inputs(config, workdir)
  records, order = _training_data(config, inputs)
  _say(f"data: {len(records):,} training clips in {records.directory}, {len(order.groups)} group(s)")

  # ---- Objective, and the shapes and places of everything, before any array exists.
  objective = jobs.build_objective(config, inputs).on_mesh(mesh)
  prepared = setup.prepare(config, objective, pipeline.batch_spec(inputs.options, config.batch_size), mesh)
  stream = lambda first: pipeline.training_batches(
      records, order, inputs.options, inputs.tokenizer, start_step=first, end_step=config.total_steps,
      host=jax.process_index(), hosts=jax.process_count(), threads=config.data.threads or None, on_broken=broken.add,
  )  # fmt: skip
  broken = _Broken(records)

  # ---- State: from the own workdir, else from config.init_from, else from scratch.
  store = checkpoints.Checkpoints(workdir, config.keep_checkpoints)
  state = store.restore_newest(prepared.shapes, lambda line: _say(f"warning: {line}"))
  if state is None:
    state = prepared.init()
    if config.init_from:
      state, left = jobs.load_parameters(state, objective, config.init_from, config.init_ignore)
      _say(f"starts from {config.init_from}" + (f", but for {', '.join(left)}" if left else ""))
  first = int(state.step)
  workdir_lib.store_config(workdir, config.to_dict())
  jobs.keep_vocabularies(inputs, workdir)
  if first < config.total_steps:
    results.unlink(missing_ok=True)  # It marks a complete run, and this one was given more steps.
  places = prepared.placed
  _say(sharding.parameter_table(state.params, places.params, state.opt_state, places.opt_state))
  _say(f"step {first} of {config.total_steps}" + (" (resumed)" if first else ""))

  evaluation = jobs.Evaluation(config, objective, inputs, mesh, _say)
  manifest = {"config": config.to_dict(), "versions": jobs.versions(), "parameters": jobs.describe(state.params)}

  # ---- Loop. The metrics of a step are read after the next one was dispatched, so the device never waits for the host.
  log = workdir_lib.MetricsLog(workdir, first)
  progress = Progress(first, config.total_steps, config.batch_size)
  broken.say = progress.say
  pending = None

  def flush():
    nonlocal pending
    if pending:
      _write(*pending, log, progress, prepared.schedule, broken)
    pending = None

  def evaluate(k):
    log.write(k, evaluation.run("every", state.variables))
    progress.pause()

  every = config.evaluate_every_steps or config.total_steps  # 0: only at the end
  is_due = lambda k: k % every == 0 and 0 < k < config.total_steps
  if is_due(first) and not log.evaluated(first):  # Killed between saving and evaluating.
    evaluate(first)
  batches = pipeline.fetched_ahead(mesh_lib.to_devices(batch, mesh) for batch in stream(first))
  for k in range(first + 1, config.total_steps + 1):
    began = time.monotonic()
    batch = next(batches)
    progress.waited(time.monotonic() - began)
    state, metrics = prepared.step(state, batch)
    progress.step()
    flush()
    pending = (k, metrics) if k % config.log_every_steps == 0 or k == config.total_steps else None
    last = k == config.total_steps
    if k % config.checkpoint_every_steps == 0 or last or stop:
      flush()  # A run that goes on from here has the metrics up to here.
      store.save(k, state, {"step": k, **manifest})
    if stop and not last:
      store.wait()
      _say(f"stopped by {stop[0]} after step {k}: saved; the same command goes on from here.")
      return
    if is_due(k):
      flush()
      evaluate(k)
  progress.close()
  store.wait()
  store.close()

  # ---- The end: final evaluation, results, report; nothing to do where a finished run is started again.
  if not results.exists():
    found = evaluation.run(None, state.variables)
    log.write(config.total_steps, found)
    last_row = {k: v for row in workdir_lib.read_metrics(workdir) for k, v in row.items() if not k.startswith("eval/")}
    final = {**last_row, **found, "params/fingerprint": fingerprint(state.params)}
    jobs.write_report(workdir, config, final, evaluation.embedded)
    workdir_lib.write_json(results, final)
  log.close()
  _say(f"done: {results}\nreport: {epath.Path(workdir) / 'report.html'}")


def _training_data(config, inputs: jobs.Inputs) -> tuple[records_lib.Records, order_lib.Order]:
  if config.data.get("mixture"):
    return _mixed_data(config)
  examples = inputs.options.text.examples if inputs.options.text else "clips"
  records = records_lib.open_split(inputs.directory, "train", examples)
  size = min(len(records), config.overfit_clips or len(records))
  if size < config.batch_size:
    _say(f"warning: a batch of {config.batch_size} holds the {size} clips more than once; lower --config.batch_size.")
  if config.data.group_by:
    return records, order_lib.grouped(records.strings(config.data.group_by)[:size], config.batch_size, config.seed)
  return records, order_lib.plain(size, config.batch_size, config.seed)


def _mixed_data(config) -> tuple[records_lib.Joined, order_lib.Order]:
  if config.data.group_by:
    raise errors.UserError("config.data.group_by groups one data set; with config.data.mixture it must be empty.")
  pairs = jobs.mixture(config.data)
  records = records_lib.Joined([records_lib.Records(directory, "train") for directory, _ in pairs])
  sets = [numbers[: config.overfit_clips or None] for numbers in records.ranges]
  weights = [weight for _, weight in pairs]
  by_example = config.data.mixture_by == "example"
  return records, order_lib.mixture(sets, weights, config.batch_size, config.seed, by_example)


class _Broken:
  """Counts broken records and names each once."""

  def __init__(self, records):
    self.found, self.say, self._records = {}, _say, records

  def add(self, number: int, reason: str) -> None:
    self.found[number] = reason
    self.say(f"warning: {self._records.name(number)} is broken and replaced by the next one: {reason}")


def _write(k, metrics, log, progress, schedule, broken) -> None:
  metrics = {name: float(value) for name, value in jax.device_get(metrics).items()}
  metrics |= {"learning_rate": float(schedule(k - 1)), **progress.times()}
  if broken.found:
    metrics["data/broken_records"] = len(broken.found)
  log.write(k, metrics)
  progress.show(k, metrics)
  if metrics["skipped_updates_in_a_row"] >= MAX_SKIPPED:
    raise errors.UserError(
      f"the last {MAX_SKIPPED} updates were not finite (step {k}): lower config.optimizer.learning_rate or set "
      "config.optimizer.clip_global_norm; the checkpoints before are intact."
    )


def _watch_signals() -> list[str]:
  stop: list[str] = []
  for name in ("SIGTERM", "SIGINT"):
    signal.signal(getattr(signal, name), lambda *_, name=name: stop.append(name))
  return stop


def _say(line: str) -> None:
  print(line, flush=True)


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  config_flags.DEFINE_config_file("config", None, "Config file; its arguments follow a colon.", flag_values=values)
  flags.DEFINE_string("workdir", None, "Where checkpoints, metrics and the report go.", flag_values=values)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  errors.run(main)
