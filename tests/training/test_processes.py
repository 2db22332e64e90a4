"""How the processes of a run find each other; training in two is in tests/test_survival.py."""

import jax
import numpy as np
import pytest

from vatt_jax.errors import UserError
from vatt_jax.training import mesh as mesh_lib, processes


class Device:
  """As much of a device as a mesh looks at."""

  def __init__(self, number, process, slice_index=0):
    self.id, self.process_index, self.slice_index = number, process, slice_index


@pytest.fixture
def as_process(monkeypatch):
  return lambda index: monkeypatch.setattr(jax, "process_index", lambda: index)


@pytest.mark.parametrize("given, why", [
    ({"JAX_COORDINATOR_ADDRESS": "host:1"}, r"JAX_NUM_PROCESSES=\(not set\)"),
    ({"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"}, "from 0"),
    ({"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"}, "two"),
])  # fmt: skip
def test_half_an_address_is_an_error(monkeypatch, given, why):
  for name, value in given.items():
    monkeypatch.setenv(name, value)
  with pytest.raises(UserError, match=why):
    processes.start()


def test_a_process_alone_needs_nobody(monkeypatch, capsys):
  processes.start()
  for name, value in zip(("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"), ("host:1", "1", "0")):
    monkeypatch.setenv(name, value)
  processes.start()
  assert processes.is_first() and processes.all_agree(True) and not processes.all_agree(False)
  processes.wait_for_all("nobody")
  processes.say("here")
  assert capsys.readouterr().out == "here\n"
  np.testing.assert_array_equal(processes.to_host(jax.numpy.arange(3)), [0, 1, 2])


def test_every_process_reads_rows_that_follow_each_other(as_process):
  """Devices come in any order; two slices of two processes of two devices."""
  devices = [Device(number, process=number // 2 % 4, slice_index=number // 4) for number in (5, 0, 7, 2, 3, 6, 1, 4)]
  mesh = mesh_lib.make_mesh((2, 2, 2), devices)
  assert [[d.id for d in row.flat] for row in mesh.devices] == [[0, 1, 2, 3], [4, 5, 6, 7]]
  for index in range(4):
    as_process(index)
    assert mesh_lib.part_of_process(mesh_lib.make_mesh((2, -1, 1), devices)) == (index, 4)
    assert mesh_lib.part_of_process(mesh) == (index, 4)
    assert mesh_lib.part_of_process(mesh_lib.make_mesh((1, 2, 4), devices)) == (index // 2, 2)  # Two share rows.


def test_a_mesh_that_cuts_through_processes_is_refused(as_process):
  as_process(0)
  with pytest.raises(UserError, match="cuts through processes"):
    mesh_lib.part_of_process(mesh_lib.make_mesh((1, 2, 3), [Device(n, n // 2) for n in range(6)]))
