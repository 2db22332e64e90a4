"""Converts official weights into a checkpoint of this project, and checkpoints into what others read.

  python -m vatt_jax.convert --from=vatt_tf --checkpoint=tx_fac_mbs/ckpt-500000 --output=weights/mbs
  python -m vatt_jax.convert --from=t5 --checkpoint=t5-small/model.safetensors --output=weights/t5_small
  python -m vatt_jax.convert --from=alpro_torch --checkpoint=alpro_pretrained_ckpt.pt --vocabulary=vocab.txt --output=weights/alpro
  python -m vatt_jax.convert --to=safetensors --checkpoint=runs/first --output=exported/first
  python -m vatt_jax.convert --to=jax_export --checkpoint=runs/first --output=exported/first

Dimensions are read off the file.
`vatt_tf` takes VATT's TensorFlow checkpoints: pretrained, modality-specific or modality-agnostic, and fine-tuned on
video or sound. `t5` takes the encoder of T5 1.0. `alpro_torch` takes ALPRO's files: prompter, pretrained, fine-tuned for
retrieval or question answering. `bert` and `vit` take what ALPRO starts from. The output loads with `vatt_jax.load`, `config.init_from` and
`evaluate --checkpoint`. Every variable is used or listed as dropped; anything unexpected stops the conversion.

--to=safetensors writes any checkpoint as model.safetensors, with a table of its names (parameters.md) and its vocabulary;
`vatt_jax.load`, `config.init_from` and all programs take that directory too. --to=jax_export adds each encoder as a function
that loads with JAX alone, for CPU, GPU and TPU and any batch size; encoders.json says how to call it.
"""

from absl import flags

from vatt_jax import errors


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  string = lambda name, what: flags.DEFINE_string(name, None, what, flag_values=values)
  whole = lambda name, what: flags.DEFINE_integer(name, None, what, lower_bound=1, flag_values=values)
  string("from", "Format of the official checkpoint: vatt_tf, t5, alpro_torch, bert or vit.")
  string("to", "Form of what is made of a checkpoint of this project: safetensors or jax_export.")
  string(
    "checkpoint",
    "The checkpoint of this project, or the official checkpoint: ckpt-N, one of its files, a .pt or .safetensors file, or their directory.",
  )
  string("output", "A new directory for the converted checkpoint.")
  string("vocabulary", "The words of the word vectors, one a line (BERT: vocab.txt); kept as the tokenizer.")
  string("labels", "Names of a classifier's classes, one a line, in the order of its outputs.")
  whole("num_heads", "Heads of the encoders for video, sound and all, where they are not 64 wide.")
  whole("sample_rate_hz", "Of the sound; default: 48000, fine-tuned 24000.")
  whole("text_length", "Words per caption, where there is no table of positions that tells; default: as published.")
  whole("frames", "ALPRO and ViT: frames per clip; time embeddings are stretched to them. Default: as in the file.")
  whole("fusion_layers", "ALPRO: how many of the text's layers fuse, the last ones; default: half of them.")
  flags.DEFINE_float(
    "frames_per_second", None, "Of the video; default: 10, fine-tuned 12.5.", lower_bound=0.1, flag_values=values
  )


if __name__ == "__main__":  # Here, so that --help need not wait for JAX and TensorFlow.
  define_flags(flags.FLAGS)
  errors.run(__spec__.name)

import collections
import dataclasses
import hashlib
import re

from etils import epath
import jax

from vatt_jax import jobs
from vatt_jax.conversion import CONVERTERS, Conversion, Options
from vatt_jax.data import text
from vatt_jax.export import functions, weights
from vatt_jax.training import checkpoints

EXPORTS = ("safetensors", "jax_export")


def main(argv) -> None:
  if len(argv) > 1:
    raise errors.UserError(f"unexpected arguments {' '.join(argv[1:])}; flags begin with --.")
  given = {name: flags.FLAGS[name].value for name in ("from", "to", "checkpoint", "output")}
  if bool(given["from"]) == bool(given["to"]):
    raise errors.UserError(
      "give either --from=FORMAT, for official weights, or --to=FORMAT, for a checkpoint of this project."
    )
  if missing := [f"--{name}" for name in ("checkpoint", "output") if not given[name]]:
    raise errors.UserError(f"{', '.join(missing)} missing: --checkpoint=PATH --output=DIR are needed.")
  for name, known in (("from", CONVERTERS), ("to", EXPORTS)):
    if given[name] and given[name] not in known:
      raise errors.UserError(f"--{name}={given[name]} is not one of {', '.join(known)}.")
  options = Options(**{field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(Options)})
  if given["from"]:
    convert(given["from"], given["checkpoint"], given["output"], options)
  elif options != Options():
    raise errors.UserError(f"--to={given['to']} takes --checkpoint and --output alone; the rest is for --from.")
  else:
    export(given["to"], given["checkpoint"], given["output"])


def export(form: str, checkpoint: str, output: str) -> None:
  """Writes a checkpoint of this project into the new directory `output`, in one of the forms `EXPORTS`.

  Raises:
    UserError: when there is no checkpoint, or `output` holds something else.
  """
  trained = jobs.open_checkpoint(checkpoint)
  files = functions.files(trained) if form == "jax_export" else {}
  if not weights.export(trained, output, files):
    print(f"{output} holds this export already; nothing was written.")
    return
  count = sum(leaf.size for leaf in jax.tree.leaves(trained.variables))
  names = ", ".join([checkpoints.SAFETENSORS, weights.TABLE, *files])
  print(f"{trained.place}: {count:,} numbers\nwritten: {output} ({names})")


def convert(source: str, checkpoint: str, output: str, options: Options) -> None:
  """Converts the official `checkpoint` of the format `source` into the new directory `output`.

  Raises:
    UserError: when the checkpoint cannot be read or understood, or `output` holds something else.
  """
  converter = CONVERTERS[source]
  variables = converter.open_checkpoint(checkpoint)
  request = _request(source, variables.digest, options)
  place = epath.Path(output)
  if place.exists() and (not place.is_dir() or any(place.iterdir())):
    if _request_of(place) != request:
      raise errors.UserError(f"--output={output} holds something else already; choose a new directory.")
    print(f"{output} holds this conversion already; nothing was written.")
    return
  result = converter.convert(variables, options)
  dropped = (*variables.dropped, *result.dropped)
  described = jobs.describe(result.variables["params"])
  manifest = {
      "step": 0, "config": result.config, "versions": jobs.versions(), "parameters": described,
      "conversion": {**request, "checkpoint": variables.place, "kind": result.kind, "dropped": list(dropped)},
  }  # fmt: skip
  try:
    kept = {f"{text.FOLDER}/{tokenizer.file}": tokenizer.content} if (tokenizer := result.tokenizer) else {}
    kept |= {jobs.LABELS: result.labels} if result.labels else {}
    checkpoints.save_variables(output, result.variables, manifest, kept)
  except OSError as error:
    raise errors.UserError(f"--output={output} cannot be written: {error.strerror or error}.") from error
  print(summary(result, variables.place, output, dropped))


def summary(result: Conversion, checkpoint: str, output: str, dropped: tuple[str, ...]) -> str:
  """What was converted, and what was left behind; optimizer slots are counted, everything else is named."""
  model, lines = result.config["model"], []
  for part, tree in result.variables["params"].items():
    size = model.get(f"{part}_size", model.get("size", "")) if "encoder" in tree else ""
    count = sum(leaf.size for leaf in jax.tree.leaves(tree))
    lines.append(f"  {part} {count:,} parameters" + (f", size {size}" if size else ""))
  slots = lambda name: re.sub(r".*(/\.OPTIMIZER_SLOT/.*)", r"*\1", name)
  together = lambda name: re.sub(r"^(.*?(?:block|layer)s?)\.\d+\..*", r"\1.*", slots(name))
  groups = collections.Counter(together(name) for name in dropped)
  lines += [f"  dropped {name}" + (f" ({count})" if count > 1 else "") for name, count in sorted(groups.items())]
  return "\n".join([f"{checkpoint}: {result.kind}", *lines, f"written: {output}"])


def _request(source: str, digest: str, options: Options) -> dict:
  """What tells one conversion from another."""
  given = {name: value for name, value in dataclasses.asdict(options).items() if value is not None}
  for name in ("vocabulary", "labels"):
    if name in given and (file := epath.Path(given[name])).is_file():
      given[name] = hashlib.sha256(file.read_bytes()).hexdigest()
  return {"from": source, "sha256": digest, **given}


def _request_of(place: epath.Path) -> dict | None:
  """What a finished conversion was asked for, or None."""
  try:
    found = checkpoints.manifest(place).get("conversion", {})
  except (OSError, errors.UserError):
    return None
  known = {"from", "sha256", *(field.name for field in dataclasses.fields(Options))}
  return {name: value for name, value in found.items() if name in known}
