"""Whether a config fits hardware that is not at hand, and what a step costs there.

  python -m vatt_jax.plan --config=configs/pretrain/vatt.py:mbs,pod --topology=tpu:v5p:4x4x4 --json=plan.json
  python -m vatt_jax.plan --config=configs/pretrain/vatt.py:mbs,pod --topology=gpu:h100:8 --config.mesh="(1, 8, 1)"
  python -m vatt_jax.plan --table runs/plan/*.json

The first two compile the training step, the same as `train` does, with the compiler for that hardware, which runs on a CPU
(minutes for large models). No data set is needed. A step that does not fit is reported with what would make it fit;
with --search these changes are tried until one does. The last prints reports as one table.
"""

from absl import flags
from ml_collections import config_flags

from vatt_jax import errors


def define_flags(values: flags.FlagValues) -> None:
  """Only for the program itself: flags of several programs may have the same name."""
  config_flags.DEFINE_config_file("config", None, "Config file; its arguments follow a colon.", flag_values=values)
  flags.DEFINE_string(
    "topology",
    None,
    "Hardware, such as tpu:v5e:16x16 or gpu:h100:8; without one all that are known are listed.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "slices", 1, "TPU slices of that topology; config.mesh's replica runs over them.", flag_values=values
  )
  flags.DEFINE_string("json", None, "Where the report goes, beside being printed.", flag_values=values)
  flags.DEFINE_string("name", None, "What the report calls itself in a table.", flag_values=values)
  flags.DEFINE_integer("vocabulary_size", 65_536, "Words of the text tower.", flag_values=values)
  flags.DEFINE_boolean("search", False, "Where a step does not fit, try changes until it does.", flag_values=values)
  flags.DEFINE_boolean("table", False, "Print the reports named as one table.", flag_values=values)


if __name__ == "__main__":  # Here, so that --help need not wait for JAX and TensorFlow.
  define_flags(flags.FLAGS)
  errors.run(__spec__.name)

from collections.abc import Iterator, Sequence
import copy
import json
import math
import time

from etils import epath
import jax
import tensorflow as tf

from vatt_jax import jobs, objectives
from vatt_jax.training import (
  collectives,
  flops,
  hardware,
  setup as setup_lib,
  sharding,
  topologies,
)

ROOFLINE = (
  "the longest of: model FLOPs / devices / peak; (arguments + results + 2 x temporaries) / memory bandwidth, as each is "
  "read or written at least once; bytes sent within a slice / interconnect bandwidth"
)


def main(argv) -> None:
  values = flags.FLAGS
  if values.table:
    print(table([json.loads(epath.Path(path).read_text()) for path in argv[1:]]))
    return
  if len(argv) > 1:
    raise errors.UserError(f"unexpected arguments {' '.join(argv[1:])}; flags begin with --.")
  if not values.config or not values.topology:
    raise errors.UserError(
      f"--config=FILE and --topology=NAME are needed; topologies are {topologies.KNOWN}, and other shapes of these."
    )
  tf.config.set_visible_devices([], "GPU")
  hardware.choose_kernels(values.config.get("deterministic", True))
  topology = topologies.load(values.topology, values.slices)
  objectives.inherit(values.config, None)
  report = plan(values.config, topology, values.vocabulary_size)
  suggested = [text for text, _ in changes(values.config, len(topology.devices))] if not report["fits"] else []
  if values.search and not report["fits"]:
    report, suggested = search(values.config, topology, values.vocabulary_size, report)
  report = {"name": values.name or values.topology, "topology": values.topology, **report, "suggestions": suggested}
  print(describe(report))
  if values.json:
    epath.Path(values.json).parent.mkdir(parents=True, exist_ok=True)
    epath.Path(values.json).write_text(json.dumps(report, indent=2) + "\n")


def plan(config, topology: topologies.Topology, vocabulary_size: int) -> dict:
  """Compiles the step of `config` for these devices; the report of `--json`. Bytes are of one device.

  Raises:
    UserError: for a mesh or batch size that the devices cannot share.
  """
  found = jobs.step_without_data(config, vocabulary_size, topology.devices)
  mesh, spec, setup = found.mesh, found.batch, found.setup
  state = {"parameter": (setup.shapes.params, setup.placed.params)}
  state["optimizer"] = (setup.shapes.opt_state, setup.placed.opt_state)
  report = {
    "devices": mesh.size,
    "device_kind": topology.devices[0].device_kind,
    "mesh": list(mesh.devices.shape),
    "batch_size": config.batch_size,
    "parameters": sum(leaf.size for leaf in jax.tree.leaves(setup.shapes.params)),
    **{f"{name}_bytes": sharding.bytes_per_device(*tree) for name, tree in state.items()},
    "hbm_limit_bytes": topology.hbm_limit_bytes,
    "model_flops_per_step": flops.model_flops(found.objective, setup.shapes.variables, spec),
  }
  report |= _compile(setup)
  if topology.devices[0].platform != "tpu":  # Other compilers do not refuse.
    report["fits"] = report["hbm_bytes_per_device"] <= report["hbm_limit_bytes"]
  inside = [name for name in report["collectives"] if name != collectives.BETWEEN_SLICES]
  sent = sum(report["collectives"][name]["bytes"] for name in inside)
  minimum = fsdp_minimum(config, setup, found.objective, spec, mesh)
  report["fsdp_minimum_bytes"] = minimum
  report["collectives_to_minimum"] = sent / minimum if minimum and report["collectives"] else None
  seconds = roofline(config, report, sent)
  longest = max(seconds.values()) if seconds else None
  return report | {"roofline_seconds": longest, "roofline": seconds, "roofline_convention": ROOFLINE}


def _compile(setup: setup_lib.Setup) -> dict:
  """What the compiler says: memory, collectives and its own time. TPU programs that need too much are refused."""
  arguments = [(setup.shapes, jax.tree.map(lambda leaf: leaf.sharding, setup.shapes)),
               (setup.batch, jax.tree.map(lambda leaf: leaf.sharding, setup.batch))]  # fmt: skip
  argument_bytes = sum(sharding.bytes_per_device(*tree) for tree in arguments)
  began = time.perf_counter()
  try:
    compiled = setup.compile()
  except jax.errors.JaxRuntimeError as error:
    needed = topologies.exhausted(str(error))
    if needed is None:
      raise
    return {
      "fits": False,
      "hbm_bytes_per_device": needed[0],
      "hbm_limit_bytes": needed[1],
      "argument_bytes": argument_bytes,
      "temporary_bytes": needed[0] - argument_bytes,
      "collectives": {},
      "compile_seconds": time.perf_counter() - began,
    }
  seconds = time.perf_counter() - began
  memory = compiled.memory_analysis()
  own = memory.output_size_in_bytes - memory.alias_size_in_bytes
  total = memory.argument_size_in_bytes + own + memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
  return {
    "fits": True,
    "hbm_bytes_per_device": total,
    "argument_bytes": memory.argument_size_in_bytes,
    "temporary_bytes": memory.temp_size_in_bytes,
    "output_bytes": memory.output_size_in_bytes,
    "collectives": collectives.count(compiled.as_text()),
    "compile_seconds": seconds,
  }


def fsdp_minimum(config, setup: setup_lib.Setup, objective, spec: dict, mesh) -> int:
  """Bytes that one device has to send: parameters gathered twice and gradients scattered once in the dtype of the
  computation, the embeddings that are compared gathered once. All of them split among all devices that share a batch.
  """
  shards = mesh.shape["replica"] * mesh.shape["data"]
  width = 2 if config.model.get("dtype", "float32") == "bfloat16" else 4
  weights = sum(leaf.size for leaf in jax.tree.leaves(setup.shapes.params))
  compared = {second for _, second in objective.spaces.values()}
  out = jax.eval_shape(objective.encode, setup.shapes.variables, spec) if compared else {}
  embeddings = sum(out[name].size * out[name].dtype.itemsize for name in compared)
  return round((3 * weights * width + embeddings) * (shards - 1) / shards)


def roofline(config, report: dict, sent: int) -> dict[str, float]:
  """Seconds that a step takes at least, by what limits it, see `ROOFLINE`; empty for a device whose figures are unknown."""
  known = hardware.find(report["device_kind"])
  if known is None:
    return {}
  touched = report["argument_bytes"] + report.get("output_bytes", 0) + 2 * report["temporary_bytes"]
  peak = known.flops_per_second(config.model.get("dtype", "float32"))
  return {
    "compute": report["model_flops_per_step"] / report["devices"] / peak,
    "memory": touched / known.hbm_bytes_per_second,
    "interconnect": sent / known.interconnect_bytes_per_second,
  }


# ---- What would fit


def changes(config, devices: int) -> Iterator[tuple[str, dict]]:
  """(flags, fields) that take memory off a device, the cheapest first; each adds to the ones before."""
  shards = devices // max(1, config.mesh[2])
  if not config.fsdp and shards > 1:
    yield "--config.fsdp=True", {"fsdp": True}
  if config.model.get("remat", "full") != "full":
    yield "--config.model.remat=full", {"model.remat": "full"}
  if config.model.get("dtype", "bfloat16") != "bfloat16":
    yield "--config.model.dtype=bfloat16", {"model.dtype": "bfloat16"}
  if not config.objective.get("ring", True) and shards > 1:
    yield "--config.objective.ring=True", {"objective.ring": True}
  each = config.batch_size // shards
  for pieces in (2 * config.accumulate, 4 * config.accumulate, 8 * config.accumulate):
    if each % pieces == 0:
      yield f"--config.accumulate={pieces}", {"accumulate": pieces}
  if each > 1:
    yield f"--config.batch_size={config.batch_size // 2}, another batch", {"batch_size": config.batch_size // 2}


def search(config, topology, vocabulary_size: int, report: dict) -> tuple[dict, list[str]]:
  """Makes one change after the other until the step fits; the last report, and the changes that were made."""
  config, made = copy.deepcopy(config), []
  for text, fields in list(changes(config, len(topology.devices))):
    print(f"does not fit ({_gib(report['hbm_bytes_per_device'])}): trying {text}", flush=True)
    config.update_from_flattened_dict(fields)
    made.append(text)
    report = plan(config, topology, vocabulary_size)
    if report["fits"]:
      break
  return report, made


# ---- What is printed


def describe(report: dict) -> str:
  """A report for people."""
  r = report
  lines = [
    ("topology", f"{r['topology']}: {r['devices']} x {r['device_kind']}, mesh {tuple(r['mesh'])}"),
    ("fits", f"{'yes' if r['fits'] else 'NO'}: {_gib(r['hbm_bytes_per_device'])} of {_gib(r['hbm_limit_bytes'])} on each"),
    ("arguments", f"{_gib(r['argument_bytes'])}: parameters {_gib(r['parameter_bytes'])}, optimizer "
                  f"{_gib(r['optimizer_bytes'])}, the batch and the rest"),
    ("temporaries", _gib(r["temporary_bytes"])),
    ("model FLOPs", f"{r['model_flops_per_step']:.4g} a step of {r['batch_size']} clips, {r['parameters']:,} parameters"),
  ]  # fmt: skip
  lines += [
    (kind, f"{found['count']:,} a step, {found['bytes'] / 1e6:,.1f} MB sent by each device")
    for kind, found in r["collectives"].items()
  ]
  if r["collectives_to_minimum"]:
    lines.append(("to the minimum", f"{r['collectives_to_minimum']:.2f} times {r['fsdp_minimum_bytes'] / 1e6:,.1f} MB"))
  if r["roofline_seconds"]:
    parts = ", ".join(f"{name} {seconds:.3g}" for name, seconds in r["roofline"].items())
    lines.append(("at least", f"{r['roofline_seconds']:.3g} s a step ({parts})"))
  lines.append(("compiled in", f"{r['compile_seconds']:.0f} s"))
  if r["suggestions"]:
    label = "it fits with" if r["fits"] else "what would help"
    lines += [(label if not i else "", text) for i, text in enumerate(r["suggestions"])]
  return "\n".join(f"{name:16s} {text}" for name, text in lines)


def table(reports: Sequence[dict]) -> str:
  """Reports as a Markdown table."""
  rows = [
    "| config | topology | mesh | fits | GiB of | temporaries | collectives: count, MB sent | to the minimum | at least, s |",
    "| --- | --- | --- | --- | ---: | ---: | --- | ---: | ---: |",
  ]
  for r in reports:
    kinds = "; ".join(f"{kind} {v['count']}, {v['bytes'] / 1e6:,.0f}" for kind, v in r["collectives"].items())
    ratio = f"{r['collectives_to_minimum']:.2f}" if r["collectives_to_minimum"] else ""
    least = f"{r['roofline_seconds']:.3g}" if r["collectives"] and r["roofline_seconds"] else ""
    memory = f"{r['hbm_bytes_per_device'] / 2**30:.1f} / {r['hbm_limit_bytes'] / 2**30:.1f}"
    cells = (
      r["name"],
      r["topology"],
      " x ".join(map(str, r["mesh"])),
      "yes" if r["fits"] else "no",
      memory,
      f"{r['temporary_bytes'] / 2**30:.1f}",
      kinds,
      ratio,
      least,
    )
    rows.append(f"| {' | '.join(cells)} |")
  return "\n".join(rows)


def _gib(size: float) -> str:
  return f"{size / 2**30:.2f} GiB" if math.isfinite(size) else "unknown"
