"""Published figures are found by JAX's names, and nothing is guessed."""

import jax
import pytest

from vatt_jax.training import hardware


def test_names_of_one_chip_are_one_entry():
  assert hardware.find("TPU v5 lite") == hardware.find("TPU v5e")
  assert hardware.find("TPU v5") == hardware.find("TPU v5p")
  assert hardware.find("TPU v6 lite") == hardware.find("TPU v6e")


def test_what_is_not_known_is_not_guessed():
  assert hardware.find(jax.devices()[0].device_kind) is None  # a CPU
  for almost in ("", "TPU", "TPU v9", "NVIDIA H100", "tpu v4"):
    assert hardware.find(almost) is None


@pytest.mark.parametrize("kind", hardware.HARDWARE)
def test_figures_are_in_their_units(kind):
  found = hardware.find(kind)
  assert 5e13 < found.float32_flops_per_second <= found.bfloat16_flops_per_second < 5e15
  assert 16 * 2**30 <= found.hbm_bytes < 512 * 2**30
  assert 2e11 < found.hbm_bytes_per_second < 2e13
  assert 1e10 < found.interconnect_bytes_per_second < found.hbm_bytes_per_second


def test_the_dtype_chooses_the_peak():
  h100 = hardware.find("NVIDIA H100 80GB HBM3")
  assert h100.flops_per_second("bfloat16") == 989e12
  assert h100.flops_per_second("float32") == 494e12  # TF32
  assert hardware.find("TPU v5p").flops_per_second("float32") == 459e12  # one bfloat16 pass
