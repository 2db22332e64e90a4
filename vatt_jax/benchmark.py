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

from absl import flags
from ml_collections import config_flags

from vatt_jax import errors


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  config_flags.DEFINE_config_file("config", None, "Config file; its arguments follow a colon.", flag_values=values)
  flags.DEFINE_string("json", None, "Where the report goes, beside being printed.", flag_values=values)
  flags.DEFINE_string("source", None, "Folder of media, for `prepare`.", flag_values=values)
  flags.DEFINE_integer("repetitions", 7, "How often everything is timed.", flag_values=values)
  flags.DEFINE_integer("vocabulary_size", 65_536, "Words of the text tower.", flag_values=values)


if __name__ == "__main__":  # Here, so that --help need not wait for JAX and TensorFlow.
  define_flags(flags.FLAGS)
  errors.run(__spec__.name)

import json

from etils import epath

from vatt_jax.benchmarks import flops, input as input_lib, loss, prepare, step
from vatt_jax.training import memory


def main(argv) -> None:
  values = flags.FLAGS
  modes = {
    "step": lambda: step.run(values.config, values.vocabulary_size, values.repetitions),
    "input": lambda: input_lib.run(values.config, values.repetitions),
    "loss": lambda: loss.run(values.config, values.repetitions),
    "prepare": lambda: prepare.run(values.source, values.repetitions),
    "flops": flops.run,
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
