"""The device mesh: `replica` x `data` x `model`."""

from collections.abc import Sequence

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from vatt_jax.errors import UserError

AXES = ("replica", "data", "model")
BATCH = PartitionSpec(("replica", "data"))


def make_mesh(shape: Sequence[int], devices: Sequence[jax.Device] | None = None) -> Mesh:
  """A mesh of three axes; one of the three ints may be -1.

  Devices stand slice by slice, and process by process within a slice, so that `replica` runs over slices and every process
  has rows of a batch that follow each other.

  Raises:
    UserError: when the shape does not fit the number of devices.
  """
  place = lambda device: (getattr(device, "slice_index", 0), device.process_index, device.id)
  devices = sorted(jax.devices() if devices is None else devices, key=place)
  shape = [int(n) for n in shape]
  if len(shape) != 3 or shape.count(-1) > 1 or any(n < 1 and n != -1 for n in shape):
    raise UserError(f"config.mesh = {tuple(shape)} must be three positive ints (replica, data, model), one may be -1.")
  known = int(np.prod([n for n in shape if n != -1]))
  shape = [len(devices) // known if n == -1 else n for n in shape]
  if int(np.prod(shape)) != len(devices):
    raise UserError(f"config.mesh = {tuple(shape)} needs {int(np.prod(shape))} devices, there are {len(devices)}.")
  return Mesh(np.asarray(devices).reshape(shape), AXES)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Rows over all devices that hold different data."""
  return NamedSharding(mesh, BATCH)


def replicated(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, PartitionSpec())


def part_of_process(mesh: Mesh) -> tuple[int, int]:
  """(h, n): this process reads rows [h * B / n, (h + 1) * B / n) of every batch.

  Processes that share a `model` axis read the same rows.

  Raises:
    UserError: when the rows of a process do not follow each other, or differ in number.
  """
  owners = [{device.process_index for device in row} for row in mesh.devices.reshape(-1, mesh.shape["model"])]
  rows_of = {index: [i for i, row in enumerate(owners) if index in row] for row in owners for index in row}
  mine = rows_of[jax.process_index()]
  follow = lambda rows: rows == list(range(rows[0], rows[0] + len(mine))) and rows[0] % len(mine) == 0
  if len(owners) % len(mine) or not all(map(follow, rows_of.values())):
    raise UserError(
      f"config.mesh = {tuple(mesh.devices.shape)} cuts through processes: let the model axis divide the devices of a "
      "process, or be a multiple of them."
    )
  return mine[0] // len(mine), len(owners) // len(mine)


def to_devices(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """This process's rows of a batch as global arrays, sharded by rows."""
  sharding = batch_sharding(mesh)
  return {name: jax.make_array_from_process_local_data(sharding, value) for name, value in batch.items()}


def whole_to_devices(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """As `to_devices`, of a batch of which every process has all rows, or has its own ones right."""
  h, n = part_of_process(mesh)
  mine = lambda value: value[h * len(value) // n : (h + 1) * len(value) // n]
  return to_devices({name: mine(value) for name, value in batch.items()}, mesh)


def check_batch_size(batch_size: int, mesh: Mesh, pieces: int = 1) -> None:
  """UserError when the batch does not divide by the devices that share it, or then by the pieces it goes through in."""
  shards = mesh.shape["replica"] * mesh.shape["data"]
  if batch_size % shards:
    raise UserError(f"config.batch_size = {batch_size} does not divide by the {shards} devices that share a batch.")
  if pieces < 1 or batch_size // shards % pieces:
    raise UserError(
      f"config.accumulate = {pieces} does not divide the {batch_size // shards} clips that each of {shards} devices has."
    )
