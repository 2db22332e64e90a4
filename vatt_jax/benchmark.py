"""How fast this machine runs a config, and what a model costs.

  python -m vatt_jax.benchmark step --config=configs/pretrain/vatt.py:bbs --config.batch_size=2 --json=step.json
  python -m vatt_jax.benchmark input --config=configs/pretrain/vatt.py:bbs --json=input.json
  XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m vatt_jax.benchmark loss --config=configs/pretrain/vatt.py:mbs
  python -m vatt_jax.benchmark step --configs=configs/pretrain/vatt_demo.py,configs/pretrain/alpro.py:demo --plot=steps.html
  python -m vatt_jax.benchmark prepare --source=FOLDER
  python -m vatt_jax.benchmark flops

step   the whole training step (forward, backward, optimizer) on random inputs of the right shapes, against the matrix
       product that this machine does best, measured in turns with it. No data set is needed.
input  records to batches, in turns with the straightforward pipeline: every frame decoded whole, mirrored, normalised and
       resized in float32 on the host, nothing dropped. Without a data set, on clips made for it: 32 noisy frames of
       340 x 256. Per core: clips by seconds of processor time, which another program on the machine hardly changes.
loss   the contrast between clips and captions and its gradients: VATT's in the plain form and round the ring of devices,
       ALPRO's in the plain form, its only one. What each device needs for it by the compiler's account, at global batches
       of 2,048, 16,384 and 65,536; the first is run, too.
prepare  films to records, in turns with decoding the same files and nothing else. Per core. Without --source, on films of
       1280 x 720 and of 320 x 240 made for it.
flops  the matrix products of VATT in closed form, beside the paper's figures.

Several configs of `step`, `input` or `loss`, of any objective, stand beside each other with --configs=FILE,FILE:ARGUMENTS,...:
medians, quartiles and the ratio to the first; --json has the spread, the machine and the versions, and --plot draws it.
They take turns in one process, so that whatever else slows the machine down slows all alike; all are in memory then, unless
--noturns. What --config.NAME=VALUE does for one config, --batch_size and --directory do for several.
"""

from absl import flags
from ml_collections import config_flags

from vatt_jax import errors


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  config_flags.DEFINE_config_file("config", None, "Config file; its arguments follow a colon.", flag_values=values)
  flags.DEFINE_string(
    "configs", None, "Several behind commas, to stand beside each other: FILE.py,FILE.py:a,b,...", flag_values=values
  )
  flags.DEFINE_integer(
    "batch_size", None, "Clips of a batch, instead of the configs' (step), 8 (input) or three sizes (loss).",
    lower_bound=1, flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string("directory", None, "The data set of all configs, for `input`.", flag_values=values)
  flags.DEFINE_boolean("turns", True, "Whether several configs take turns, all in memory.", flag_values=values)
  flags.DEFINE_string("json", None, "Where the report goes, beside being printed.", flag_values=values)
  flags.DEFINE_string("plot", None, "Where a page with the figures drawn goes, FILE.html.", flag_values=values)
  flags.DEFINE_string("source", None, "Folder of media, for `prepare`.", flag_values=values)
  flags.DEFINE_integer("repetitions", 7, "How often everything is timed.", flag_values=values)
  flags.DEFINE_integer("vocabulary_size", 65_536, "Words of the text tower.", flag_values=values)


if __name__ == "__main__":  # Here, so that --help need not wait for JAX and TensorFlow.
  define_flags(flags.FLAGS)
  errors.run(__spec__.name)

import json
import re
import shlex
import sys

from etils import epath

from vatt_jax.benchmarks import comparison, flops, input as input_lib, loss, prepare, step
from vatt_jax.training import memory

_COMPARED = {"step": step, "input": input_lib, "loss": loss}


def main(argv) -> None:
  values = flags.FLAGS
  modes = (*_COMPARED, "prepare", "flops")
  if len(argv) != 2 or argv[1] not in modes:
    raise errors.UserError(f"one of {', '.join(modes)} must be named, such as: python -m vatt_jax.benchmark flops.")
  mode = argv[1]
  if values.repetitions < 1:
    raise errors.UserError(f"--repetitions={values.repetitions} must be at least 1.")
  for name in ("json", "plot"):
    if values[name].value and not epath.Path(values[name].value).parent.is_dir():
      raise errors.UserError(f"--{name}={values[name].value} lies in a folder that does not exist.")
  if mode in _COMPARED:
    report = measure(mode, values)
  elif values.configs or values.plot:
    raise errors.UserError(f"--configs and --plot are for {', '.join(_COMPARED)}, not for {mode}.")
  else:
    report = prepare.run(values.source, values.repetitions) if mode == "prepare" else flops.run()
  if values.json:
    epath.Path(values.json).write_text(json.dumps(report, indent=2) + "\n")


def measure(mode: str, values: flags.FlagValues) -> dict:
  """Times the config or the configs, prints what was found, draws it with --plot, and returns the report.

  Raises:
    UserError: where there is neither --config nor --configs, or both; and as `load` and the mode do.
  """
  if bool(values.config) == bool(values.configs):
    raise errors.UserError(
      "--config=FILE is needed, such as --config=configs/pretrain/vatt_demo.py, or --configs=FILE,FILE,... for several."
    )
  if values.configs:
    names = split(values.configs)
    configs = [load(name) for name in names]
  else:
    names, configs = [config_flags.get_config_filename(values["config"])], [values.config]
  how = {"repetitions": values.repetitions, "turns": values.turns}
  if mode == "step":
    how["vocabulary_size"] = values.vocabulary_size
  elif values.batch_size:
    how |= {"rows": values.batch_size} if mode == "input" else {"batch_sizes": (values.batch_size,)}
  for config in configs:
    config.batch_size = values.batch_size or config.batch_size
    config.data.directory = values.directory or config.data.directory
  if mode != "loss":
    memory.keep_between_steps()
  report = _COMPARED[mode].run(configs, **how)
  compared = comparison.compare(report, names)
  if values.plot:
    command = shlex.join(["python", "-m", "vatt_jax.benchmark", *sys.argv[1:]])
    epath.Path(values.plot).write_text(comparison.document(compared, mode, command))
  if values.configs:
    print(comparison.table(compared))
    return compared
  alone = {**report.pop("configs")[0], **report}
  _COMPARED[mode].say(alone)
  return alone


def split(configs: str) -> list[str]:
  """FILE.py,FILE.py:a,b -> the two; what stands behind a comma and is no file is an argument of the one before."""
  return re.split(r",(?=[^,:]*\.py(?:[:,]|$))", configs)


def load(place: str):
  """The config of FILE.py or FILE.py:ARGUMENTS. UserError where it cannot be read."""
  values = flags.FlagValues()
  config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=[])
  try:
    values(["", f"--config={place}"])
    values.config.to_dict()  # A file that is not there says so only when it is used.
  except Exception as error:  # A config file is Python: reading one can fail in any way.
    raise errors.UserError(f"the config {place} cannot be read: {errors.last_line(error)}") from error
  return values.config
