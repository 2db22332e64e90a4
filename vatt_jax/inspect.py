"""Looks into what the programs pass on: a record, a batch as the model sees it, a checkpoint.

  python -m vatt_jax.inspect record --data=data/demo --split=train --records=0,7
  python -m vatt_jax.inspect batch --config=configs/pretrain/vatt_demo.py --config.data.directory=data/demo --page=batch.html
  python -m vatt_jax.inspect checkpoint --checkpoint=runs/first

record      every feature of records of a prepared data set.
batch       a page with the frames, sounds and words of training examples after cropping, colours, noise and DropToken: pixels
            of dropped patches are grey, dropped samples silent. Another --epoch is another visit of the same records.
checkpoint  every parameter: shape, dtype, mean and standard deviation; sums for each module, and what the model is.
"""

from absl import flags
from ml_collections import config_flags

from vatt_jax import errors

MODES = ("record", "batch", "checkpoint")


def main(argv: list[str]) -> None:
  given = flags.FLAGS
  if len(argv) != 2 or argv[1] not in MODES:
    raise errors.UserError(f"one of {', '.join(MODES)} must be named, such as: python -m vatt_jax.inspect checkpoint.")
  needed = {"record": "data", "batch": "config", "checkpoint": "checkpoint"}[argv[1]]
  if not given[needed].value:
    raise errors.UserError(f"inspect {argv[1]} needs --{needed}.")
  try:
    numbers = [int(number) for number in given.records or [""]]
  except ValueError as error:
    raise errors.UserError(f"--records={','.join(given.records)} must be numbers such as 0,7.") from error
  if argv[1] == "record":
    from vatt_jax.inspection import record

    print(record.describe(given.data, given.split, numbers))
  elif argv[1] == "batch":
    from vatt_jax.inspection import batch

    batch.write(given.config, numbers, given.epoch, given.page)
    print(f"{given.page} shows records {', '.join(map(str, numbers))} as epoch {given.epoch} sees them.")
  else:
    from vatt_jax.inspection import checkpoint

    print(checkpoint.describe(given.checkpoint))


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  string = lambda name, default, what: flags.DEFINE_string(name, default, what, flag_values=values)
  config_flags.DEFINE_config_file("config", None, "batch: a training config.", flag_values=values)
  string("data", None, "record: what `prepare --output` wrote.")
  string("split", "train", "record: train, validation or test.")
  flags.DEFINE_list("records", ["0", "1", "2", "3"], "Numbers of the records, from 0.", flag_values=values)
  flags.DEFINE_integer("epoch", 0, "batch: which visit of the records.", lower_bound=0, flag_values=values)
  string("page", "batch.html", "batch: where the page goes.")
  string("checkpoint", None, "checkpoint: a workdir, one checkpoint, or a converted directory.")


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  errors.run(main)
