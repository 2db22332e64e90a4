"""What accelerators can do at best, by the name that JAX gives them: published figures, one device each.

Rates are of matrix products without sparsity. `float32` is what JAX makes of float32 operands unless told otherwise
(`jax.default_matmul_precision`): one pass of bfloat16 on a TPU, TF32 on an NVIDIA card since Ampere.
"""

import dataclasses
import os

_TERA, _GIGA, _GIB = 10**12, 10**9, 2**30


@dataclasses.dataclass(frozen=True)
class Hardware:
  """One device as `jax.devices()` lists it.

  Attributes:
    bfloat16_flops_per_second, float32_flops_per_second: of matrix products; a multiply-add is two.
    hbm_bytes: of memory. Drivers and runtimes keep some of it for themselves.
    hbm_bytes_per_second: to and from that memory.
    interconnect_bytes_per_second: what the device can send to its neighbours over all its links, in one direction.
  """

  bfloat16_flops_per_second: float
  float32_flops_per_second: float
  hbm_bytes: int
  hbm_bytes_per_second: float
  interconnect_bytes_per_second: float

  def flops_per_second(self, dtype: str) -> float:
    """The peak for operands of "bfloat16" or "float32"."""
    return {"bfloat16": self.bfloat16_flops_per_second, "float32": self.float32_flops_per_second}[dtype]


def _tpu(teraflops, gib, gigabytes, links):
  return Hardware(teraflops * _TERA, teraflops * _TERA, gib * _GIB, gigabytes * _GIGA, links * _GIGA)


def _nvidia(bfloat16, tf32, gib, gigabytes, nvlink):
  """NVLink and PCIe are sold by the sum of both directions."""
  return Hardware(bfloat16 * _TERA, tf32 * _TERA, gib * _GIB, gigabytes * _GIGA, nvlink / 2 * _GIGA)


# A chip of v4 or v5p is one device (both cores together, "megacore"), a chip of v3 is two.
# v3, v4: Jouppi et al., "TPU v4", ISCA 2023, table 4: chips of 123 and 275 TFLOP/s, 32 GiB, 900 and 1,200 GB/s, four
# links of 70 GB/s and six of 50 GB/s. The others: cloud.google.com/tpu/docs/{v5e,v5p,v6e}, which give both directions.
_V3 = _tpu(123 / 2, 16, 900 / 2, 4 * 70 / 2)
_V4 = _tpu(275, 32, 1_200, 6 * 50)
_V5E = _tpu(197, 16, 819, 400 / 2)
_V5P = _tpu(459, 95, 2_765, 1_200 / 2)
_V6E = _tpu(918, 32, 1_638, 800 / 2)

HARDWARE = {
  "TPU v3": _V3,
  "TPU v4": _V4,
  "TPU v5 lite": _V5E,
  "TPU v5e": _V5E,
  "TPU v5": _V5P,
  "TPU v5p": _V5P,
  "TPU v6 lite": _V6E,
  "TPU v6e": _V6E,
  # NVIDIA's data sheets of A100 (2021), L4 (2023), H100 (2023), H200 (2024) and HGX B200 (2025); figures "with sparsity"
  # halved.
  "NVIDIA A100-SXM4-40GB": _nvidia(312, 156, 40, 1_555, 600),
  "NVIDIA A100-SXM4-80GB": _nvidia(312, 156, 80, 2_039, 600),
  "NVIDIA A100 80GB PCIe": _nvidia(312, 156, 80, 1_935, 64),
  "NVIDIA L4": _nvidia(121, 60, 24, 300, 64),
  "NVIDIA H100 80GB HBM3": _nvidia(989, 494, 80, 3_350, 900),
  "NVIDIA H100 PCIe": _nvidia(756, 378, 80, 2_000, 128),
  "NVIDIA H200": _nvidia(989, 494, 141, 4_800, 900),
  "NVIDIA B200": _nvidia(2_250, 1_125, 180, 7_700, 1_800),
}


def find(kind: str) -> Hardware | None:
  """The figures for a `jax.Device.device_kind`; None, and never a guess, for one that is not in the table."""
  return HARDWARE.get(kind)


def choose_kernels(deterministic: bool) -> None:
  """On GPUs, kernels that give the same bits every time, or the fastest; before JAX has looked for devices.

  CPUs and TPUs repeat themselves anyway. What somebody has put into XLA_FLAGS stays.
  """
  given = os.environ.get("XLA_FLAGS", "")
  if deterministic and "xla_gpu_deterministic_ops" not in given:
    os.environ["XLA_FLAGS"] = f"{given} --xla_gpu_deterministic_ops=true".strip()


def compiler_options(platform: str) -> dict | None:
  """XLA's for a training step: on CPUs the whole of AVX-512, and an order that reuses memory while it is in the cache."""
  if platform != "cpu":
    return None
  return {"xla_cpu_prefer_vector_width": 512, "xla_cpu_enable_concurrency_optimized_scheduler": False}
