"""Pretrains or fine-tunes: any objective, on any mesh, from a prepared data set.

  python -m vatt_jax.prepare --source=demo --output=data/demo
  python -m vatt_jax.train --config=configs/pretrain/vatt_demo.py --config.data.directory=data/demo --workdir=runs/first

Run the same command again and it goes on where it stopped. Any field of the config is set with --config.NAME=VALUE.
On several hosts the same command runs on each; launch/ has scripts that do so.
"""

from absl import flags
from ml_collections import config_flags

from vatt_jax import errors


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  config_flags.DEFINE_config_file("config", None, "Config file; its arguments follow a colon.", flag_values=values)
  flags.DEFINE_string("workdir", None, "Where checkpoints, metrics and the report go.", flag_values=values)


if __name__ == "__main__":  # Here, so that --help need not wait for JAX and TensorFlow.
  define_flags(flags.FLAGS)
  errors.run(__spec__.name)

from collections.abc import Callable
import contextlib
import dataclasses
import os
import sys

from etils import epath
import jax
import tensorflow as tf

from vatt_jax import jobs, storage
from vatt_jax.data import order as order_lib, pipeline, records as records_lib
from vatt_jax.training import (
  checkpoints,
  flops,
  hardware,
  memory,
  mesh as mesh_lib,
  processes,
  setup,
  sharding,
  workdir as workdir_lib,
)  # fmt: skip
from vatt_jax.training.monitor import Monitor
from vatt_jax.training.processes import say
from vatt_jax.training.progress import Progress
from vatt_jax.training.state import State, fingerprint
from vatt_jax.training.stopping import Stop

MAX_SKIPPED = 20  # updates in a row that were not finite


def main(argv) -> None:
  if len(argv) > 1:
    raise errors.UserError(f"unexpected arguments {' '.join(argv[1:])}; flags begin with --.")
  config, workdir = flags.FLAGS.config, flags.FLAGS.workdir
  if not config or not workdir:
    raise errors.UserError(
      "--config=FILE and --workdir=DIR are needed, such as --config=configs/pretrain/vatt_demo.py."
    )
  hardware.choose_kernels(config.deterministic)
  processes.start()
  memory.keep_between_steps()
  storage.retry_passing_errors()
  train(config, workdir)


def train(config, workdir: str) -> None:
  """Runs `config` in `workdir` to its end, or until SIGTERM or SIGINT asks it to save and stop."""
  try:
    epath.Path(workdir).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise errors.UserError(f"--workdir={workdir} cannot be made: {error.strerror}.") from error
  with contextlib.ExitStack() as held:
    stop = held.enter_context(Stop())
    if processes.is_first():
      held.enter_context(workdir_lib.lock(workdir))
    monitor = held.enter_context(Monitor(workdir, config.stall_seconds, say))
    leave = lambda name: _leave(name, monitor)
    with stop.nothing_to_lose(leave):
      run = _set_up(config, workdir, monitor)
    leave = lambda name: _leave(name, monitor, run.store)
    if _loop(run, stop, leave):
      with monitor.phase("evaluate"), stop.nothing_to_lose(leave):
        _finish(run)


@dataclasses.dataclass
class _Run:
  """What set-up leaves to the loop; `state` is that of step `first`."""

  config: object
  workdir: str
  monitor: Monitor
  state: State
  first: int
  step: Callable
  schedule: Callable
  stream: Callable
  store: checkpoints.Checkpoints
  manifest: dict
  evaluation: jobs.Evaluation
  log: workdir_lib.MetricsLog
  progress: Progress
  broken: "_Broken"


def _set_up(config, workdir: str, monitor: Monitor) -> _Run:
  # ---- Whether this config goes on with what is in the workdir.
  tf.config.set_visible_devices([], "GPU")
  jobs.complete(config, workdir)
  for warning in workdir_lib.check_config(workdir, config.to_dict()):
    say(f"warning: {warning}")
  jobs.compilation_cache()
  for name in ("batch_size", "total_steps", "log_every_steps", "checkpoint_every_steps", "keep_checkpoints"):
    if config[name] < 1:
      raise errors.UserError(f"config.{name} = {config[name]} must be at least 1.")
  if not 0 <= config.ema_decay < 1:
    raise errors.UserError(f"config.ema_decay = {config.ema_decay} must be at least 0 and below 1.")

  # ---- Mesh: which device holds which rows.
  mesh = mesh_lib.make_mesh(config.mesh)
  mesh_lib.check_batch_size(config.batch_size, mesh, config.accumulate)
  host, hosts = mesh_lib.part_of_process(mesh)

  # ---- Data: batch k is a function of k.
  inputs = jobs.open_inputs(config, workdir)
  records, order = _training_data(config, inputs)
  if not config.data.directory and not config.data.get("mixture"):
    say("no --config.data.directory: trains on miniature clips made on the spot.")
  say(f"data: {len(records):,} training clips in {records.directory}, {len(order.groups)} group(s)")
  broken = _Broken(records)
  stream = lambda first: pipeline.training_batches(
      records, order, inputs.options, inputs.tokenizer, start_step=first, end_step=config.total_steps,
      host=host, hosts=hosts, threads=config.data.threads or None, on_broken=broken.add,
  )  # fmt: skip

  # ---- Objective, and the shapes and places of everything, before any array exists.
  plain = jobs.build_objective(config, inputs)
  objective = plain.on_mesh(mesh)
  spec = pipeline.batch_spec(inputs.options, config.batch_size)
  prepared = setup.prepare(config, objective, spec, mesh)

  # ---- State: from the own workdir, else from config.init_from, else from scratch.
  store = checkpoints.Checkpoints(workdir, config.keep_checkpoints, lambda line: say(f"warning: {line}"))
  state = store.restore_newest(prepared.shapes)
  if state is None:
    state = prepared.init()
    if config.init_from:
      state, left = jobs.load_parameters(state, objective, config.init_from, config.init_ignore)
      say(f"starts from {config.init_from}" + (f", but for {', '.join(left)}" if left else ""))
  first = int(state.step)
  monitor.at(first)
  if processes.is_first():
    workdir_lib.store_config(workdir, config.to_dict())
    jobs.keep_vocabularies(inputs, workdir)
    if first < config.total_steps:
      _results(workdir).unlink(missing_ok=True)  # It marks a complete run, and this one was given more steps.
  places = prepared.placed
  say(sharding.parameter_table(state.params, places.params, state.opt_state, places.opt_state))
  if groups := prepared.groups.summary(state.params):
    say(f"parameter groups, the others at the learning rate itself:\n{groups}")
  say(f"step {first} of {config.total_steps}" + (" (resumed)" if first else ""))

  # ---- Step.
  step = None
  if first < config.total_steps:
    with monitor.phase("compile"):
      step = prepared.compile()

  evaluation = jobs.Evaluation(config, objective, inputs, mesh, say, monitor.alive)
  manifest = {"config": config.to_dict(), "versions": jobs.versions(), "parameters": jobs.describe(state.params)}
  log = workdir_lib.MetricsLog(workdir, first, say, writes=processes.is_first())
  utilization = flops.utilization(config, plain, prepared.shapes, spec, mesh)
  progress = Progress(first, config.total_steps, config.batch_size, utilization, visible=processes.is_first())
  broken.say = log.say = progress.say
  to_devices = lambda first: pipeline.fetched_ahead(mesh_lib.to_devices(batch, mesh) for batch in stream(first))
  return _Run(config, workdir, monitor, state, first, step, prepared.schedule, to_devices, store, manifest, evaluation,
              log, progress, broken)  # fmt: skip


def _loop(run: _Run, stop: Stop, leave: Callable[[str], None]) -> bool:
  """Trains to the last step, and returns whether it came there.

  The metrics of a step are read after the next one was dispatched, so the device never waits for the host.
  """
  config, monitor, log, progress, store = run.config, run.monitor, run.log, run.progress, run.store
  profile = _Profile(config.profile_steps, run.workdir)
  pending, skipped = None, []

  def flush():
    nonlocal pending
    if pending:
      _write(*pending, skipped, run)
      skipped.clear()
    pending = None

  def save(k):
    flush()  # A run that goes on from here has the metrics up to here.
    with monitor.phase("save"):
      store.save(k, run.state, {"step": k, **run.manifest})

  def evaluate(k):
    save(k)  # So that a run that is stopped while it evaluates loses nothing.
    with monitor.phase("evaluate"), stop.nothing_to_lose(leave):
      log.write(k, run.evaluation.run("every", run.state.variables, progress=processes.is_first()))
    progress.pause()

  every = config.evaluate_every_steps or config.total_steps  # 0: only at the end
  is_due = lambda k: k % every == 0 and 0 < k < config.total_steps
  if is_due(run.first) and not log.evaluated(run.first):  # Stopped between saving and evaluating.
    evaluate(run.first)
  batches = run.stream(run.first)
  for k in range(run.first + 1, config.total_steps + 1):
    with monitor.phase("data"), progress.waiting():
      batch = next(batches)
    with monitor.phase("train"):
      profile.before(k)
      run.state, metrics = run.step(run.state, batch)
      progress.step()
      flush()
      skipped.append(metrics["skipped_updates_in_a_row"])
      profile.after(k, metrics)
    monitor.stepped(k)
    last = k == config.total_steps
    pending = (k, metrics) if k % config.log_every_steps == 0 or last else None
    stopping = stop.after(k) and not last
    if k % config.checkpoint_every_steps == 0 or last or stopping:
      save(k)
    if stopping:
      _wait_for(store, run.workdir, monitor)
      say(f"stopped by {stop.name} after step {k}: saved; the same command goes on from here.")
      return False
    if is_due(k):
      evaluate(k)
  progress.close()
  _wait_for(store, run.workdir, monitor)
  store.close()
  return True


def _finish(run: _Run) -> None:
  """Final evaluation, results, report; nothing where a finished run is started again."""
  config, workdir, log = run.config, run.workdir, run.log
  if not _results(workdir).exists():
    found = run.evaluation.run(None, run.state.variables, progress=processes.is_first())
    log.write(config.total_steps, found)
    last_row = {k: v for row in workdir_lib.read_metrics(workdir) for k, v in row.items() if not k.startswith("eval/")}
    final = {**last_row, **found, "params/fingerprint": fingerprint(run.state.params)}
    final["time/goodput_fraction"] = run.monitor.goodput()
    look = run.evaluation.look_inside(run.state.variables)
    if processes.is_first():
      jobs.write_report(workdir, config, final, run.evaluation.shown, look)
      workdir_lib.write_json(_results(workdir), final)
    say(run.monitor.summary())
  log.close()
  processes.wait_for_all("results")
  say(f"done: {_results(workdir)}\nreport: {epath.Path(workdir) / 'report.html'}")


def _results(workdir: str) -> epath.Path:
  return epath.Path(workdir) / "results.json"


def _wait_for(store: checkpoints.Checkpoints, workdir: str, monitor: Monitor) -> None:
  with monitor.phase("save"):
    if not store.wait():
      raise errors.UserError(
        f"the last checkpoint could not be saved in {workdir}; make room there, and the same command goes on from the one "
        "before."
      )


def _leave(name: str, monitor: Monitor, store: checkpoints.Checkpoints | None = None) -> None:
  """Ends the process, in whatever thread, where nothing would be lost."""
  if store:
    store.wait()
  phase = monitor.close()
  print(f"stopped by {name} while {phase}: nothing is lost; the same command goes on from here.", flush=True)
  sys.stderr.flush()
  os._exit(0)


def _training_data(config, inputs: jobs.Inputs) -> tuple[records_lib.Records, order_lib.Order]:
  if config.data.get("mixture"):
    return _mixed_data(config)
  examples = inputs.options.text.examples if inputs.options.text else "clips"
  records = records_lib.open_split(inputs.directory, "train", examples)
  size = min(len(records), config.overfit_clips or len(records))
  if size < config.batch_size:
    say(f"warning: a batch of {config.batch_size} holds the {size} clips more than once; lower --config.batch_size.")
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
    self.found, self.say, self._records = {}, say, records

  def add(self, number: int, reason: str) -> None:
    self.found[number] = reason
    self.say(f"warning: {self._records.name(number)} is broken and replaced by the next one: {reason}")


class _Profile:
  """A trace of what hosts and devices do from step `first` to step `last` of config.profile_steps; (0, 0): none."""

  def __init__(self, steps, workdir: str):
    if len(steps) != 2:
      raise errors.UserError(f"config.profile_steps = {tuple(steps)} must be (first, last), or (0, 0) for no trace.")
    self._first, self._last = steps
    self._folder, self._running = str(epath.Path(workdir) / "profile"), False

  def before(self, k: int) -> None:
    if self._first and self._first <= k <= self._last and not self._running:
      jax.profiler.start_trace(self._folder)
      self._running = True

  def after(self, k: int, metrics: dict) -> None:
    if self._running and k >= self._last:
      jax.block_until_ready(metrics)
      jax.profiler.stop_trace()
      self._running = False
      say(f"the trace of steps {self._first} to {self._last} lies in {self._folder} (TensorBoard or Perfetto show it).")


def _write(k: int, metrics: dict, skipped: list, run: _Run) -> None:
  """The row of step k; `skipped`: of each step since the last row, how many updates in a row were not finite."""
  metrics = {name: float(value) for name, value in jax.device_get(metrics).items()}
  left_out = [k - len(skipped) + 1 + i for i, row in enumerate(jax.device_get(skipped)) if row]
  metrics |= {"learning_rate": float(run.schedule(k - 1)), **run.progress.times()}
  metrics["skipped_updates"] = len(left_out)
  if run.broken.found:
    metrics["data/broken_records"] = len(run.broken.found)
  run.log.write(k, metrics)
  run.progress.show(k, metrics)
  if left_out:
    run.progress.say(f"warning: not finite and left out: the update of step {', '.join(map(str, left_out))}")
  in_a_row = int(metrics["skipped_updates_in_a_row"])
  if in_a_row >= MAX_SKIPPED:
    raise errors.UserError(
      f"the last {in_a_row} updates were not finite, from batch {k - in_a_row} (step {k - in_a_row + 1}) on: lower "
      "config.optimizer.learning_rate or set config.optimizer.clip_global_norm; the checkpoints before are intact."
    )
