"""Accelerators by name, for their compilers, which need none at hand: `tpu:v5e:16x16`, `gpu:h100:8`.

Both compilers come with JAX's plugins, run on a CPU, and say what a program takes.
"""

from collections.abc import Sequence
import dataclasses
import importlib.util
import os
import re

import jax
from jax.experimental import topologies
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from vatt_jax.errors import UserError

# TPU generation -> a slice of it, and what its topology needs to be told: a chip of v4 is one device, as v5p's is.
TPUS = {
  "v4": ("4x4x4", {"chip_config_name": "megacore"}),
  "v5e": ("16x16", {}),
  "v5p": ("4x4x4", {}),
  "v6e": ("16x16", {}),
}

# What XLA has to know of a card; its own descriptions are in xla/backends/gpu/target_config/specs.
_CARD = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048 registers_per_core_limit: 65536
  registers_per_block_limit: 65536 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  shared_memory_per_block: 49152 shared_memory_per_core: {shared} shared_memory_per_block_optin: {optin}
  core_count: {cores} fpus_per_core: {fpus} clock_rate_ghz: {clock} l2_cache_size: {cache}
  memory_bandwidth: {bandwidth} device_memory_size: {memory} cuda_compute_capability {{ major: {major} }}
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 7 }} runtime_version {{ major: 13 }}
device_description_str: "{kind}"
"""
_HOPPER = dict(cores=132, fpus=128, shared=233_472, optin=232_448, clock=1.98, cache=52_428_800, major=9)
_AMPERE = dict(cores=108, fpus=64, shared=167_936, optin=166_912, clock=1.41, cache=41_943_040, major=8)
GPUS = {
  "h100": _HOPPER | dict(kind="NVIDIA H100 80GB HBM3", memory=84_929_347_584, bandwidth=3_352_320_000_000),
  "h200": _HOPPER | dict(kind="NVIDIA H200", memory=150_110_011_392, bandwidth=4_800_000_000_000),
  "a100": _AMPERE | dict(kind="NVIDIA A100-SXM4-80GB", memory=84_987_740_160, bandwidth=2_039_000_000_000),
}
KNOWN = ", ".join([*(f"tpu:{n}:{shape}" for n, (shape, _) in TPUS.items()), *(f"gpu:{n}:8" for n in GPUS)])

_PLUGINS = {
  "tpu": (("libtpu",), 'pip install "jax[tpu]==0.10.2"'),
  "gpu": (("jax_cuda13_plugin", "jax_cuda12_plugin"), 'pip install "jax[cuda13]==0.10.2"'),
}
_ENVIRONMENT = {
  # No machine to ask what it is, and no device that two processes could fight over.
  "tpu": {
    "TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5p-8", "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  },
  "gpu": {"JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"},
}  # fmt: skip
_GPU_FLAGS = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"  # Both need a card to try things out on.


@dataclasses.dataclass(frozen=True)
class Topology:
  """Devices that can be compiled for, and nothing else.

  Attributes:
    devices: to build a mesh of.
    hbm_limit_bytes: what a program may take on each. TPU: by its compiler; GPU: the share of the card's memory that JAX
      takes, XLA_PYTHON_CLIENT_MEM_FRACTION or its default of 0.75.
  """

  devices: Sequence[jax.Device]
  hbm_limit_bytes: int


def load(name: str, slices: int = 1) -> Topology:
  """The topology called `name`; to be asked for before JAX has looked for devices.

  Args:
    name: tpu:GENERATION:SHAPE in chips, or gpu:CARD:NUMBER.
    slices: of TPU: so many of these, connected by the data-centre network.

  Raises:
    UserError: for an unknown name, and where the compiler's package is missing.
  """
  platform, _, rest = name.partition(":")
  kind, _, shape = rest.partition(":")
  if platform not in _PLUGINS or kind not in (TPUS if platform == "tpu" else GPUS) or not shape:
    raise UserError(f"--topology={name} is not known; there are {KNOWN}, and other shapes and numbers of these.")
  packages, command = _PLUGINS[platform]
  if not any(importlib.util.find_spec(package) for package in packages):
    raise UserError(f"--topology={name} needs the compiler in {packages[0]}: {command}")
  for variable, value in _ENVIRONMENT[platform].items():
    os.environ.setdefault(variable, value)
  jax.config.update("jax_platforms", "cpu")
  return _tpu(name, kind, shape, slices) if platform == "tpu" else _gpu(name, kind, shape)


def _tpu(name: str, kind: str, shape: str, slices: int) -> Topology:
  options = TPUS[kind][1] | ({"num_slices": slices} if slices > 1 else {})
  try:
    found = topologies.get_topology_desc(platform="tpu", topology_name=f"{kind}:{shape}", **options)
  except Exception as error:
    reason = str(error).splitlines()[0]
    raise UserError(f"--topology={name} cannot be built ({reason}); there are {KNOWN}, and other shapes.") from error
  return Topology(found.devices, _tpu_limit(found.devices[0]))


def _tpu_limit(device: jax.Device) -> int:
  """What the compiler says of a program that fits nowhere: 2^48 bytes."""
  whole = SingleDeviceSharding(device)
  grow = jax.jit(lambda x: x + 1, in_shardings=whole, out_shardings=whole)
  try:
    grow.lower(jax.ShapeDtypeStruct((2**18, 2**28), jnp.float32)).compile()
  except jax.errors.JaxRuntimeError as error:
    return exhausted(str(error))[1]
  raise RuntimeError("the compiler took a program of 2^48 bytes")


def _gpu(name: str, kind: str, number: str) -> Topology:
  if not number.isdecimal() or int(number) < 1 or (int(number) > 8 and int(number) % 8):
    raise UserError(f"--topology={name}: {number!r} is not a number of cards; up to 8, or a multiple of 8.")
  os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_GPU_FLAGS}".strip()
  hosts = -(-int(number) // 8)
  found = topologies.get_topology_desc(
    platform="cuda", topology_name="", topology=f"1x{hosts}x{int(number) // hosts}",
    target_config=_CARD.format(**GPUS[kind]),
  )  # fmt: skip
  share = float(os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", 0.75))
  return Topology(found.devices, int(share * GPUS[kind]["memory"]))


def exhausted(message: str) -> tuple[int, int] | None:
  """(bytes needed on a device, bytes there are) from a compiler's RESOURCE_EXHAUSTED; None for any other message."""
  if "RESOURCE_EXHAUSTED" not in message:
    return None
  found = re.search(r"\(([\d.]+)([KMGT]?)\) exceeds available \w+ \(([\d.]+)([KMGT]?)\)", message)
  if not found:
    return None
  unit = lambda letter: 1024 ** " KMGT".index(letter or " ")
  return round(float(found[1]) * unit(found[2])), round(float(found[3]) * unit(found[4]))
