"""Matrix products are counted wherever they stand."""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import pytest

from vatt_jax.training import mesh as mesh_lib
from vatt_jax.training.flops import count_matmul_flops, model_flops


def spec(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_a_multiply_add_counts_as_two():
  assert count_matmul_flops(jnp.matmul, spec(3, 5), spec(5, 7)) == 2 * 3 * 5 * 7
  assert count_matmul_flops(functools.partial(jnp.einsum, "bnad,bmad->banm"), spec(2, 3, 4, 5), spec(2, 6, 4, 5)) == (
    2 * 2 * 4 * 3 * 6 * 5
  )
  assert count_matmul_flops(lambda x: jnp.exp(x).sum(), spec(9, 9)) == 0


def test_convolutions_with_strides_and_groups():
  convolve = lambda groups: (
    lambda x, kernel: jax.lax.conv_general_dilated(
      x, kernel, (4,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=groups
    )
  )
  assert count_matmul_flops(convolve(1), spec(2, 40, 6), spec(4, 6, 8)) == 2 * 2 * 10 * 8 * 4 * 6
  assert count_matmul_flops(convolve(3), spec(2, 40, 6), spec(4, 2, 9)) == 2 * 2 * 10 * 9 * 4 * 2


def test_inside_of_other_functions():
  square = lambda x: x @ x
  once = 2 * 4**3
  assert count_matmul_flops(jax.jit(jax.checkpoint(square)), spec(4, 4)) == once
  assert count_matmul_flops(lambda x: jax.lax.scan(lambda c, _: (c @ c, None), x, length=5)[0], spec(4, 4)) == 5 * once
  assert count_matmul_flops(lambda x: jax.lax.cond(x[0, 0] > 0, square, lambda x: x, x), spec(4, 4)) == once
  custom = jax.custom_vjp(square)
  custom.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x.T + x.T @ g,))
  assert count_matmul_flops(custom, spec(4, 4)) == once
  assert count_matmul_flops(jax.grad(lambda x: custom(x).sum()), spec(4, 4)) == 3 * once


def test_all_devices_together():
  mesh = mesh_lib.make_mesh((1, 4, 2))
  rows = PartitionSpec(("data", "model"))
  local = jax.shard_map(lambda x, y: x @ y, mesh=mesh, in_specs=(rows, PartitionSpec()), out_specs=rows)
  assert count_matmul_flops(local, spec(8, 3), spec(3, 5)) == 2 * 8 * 3 * 5


def test_an_unknown_number_of_turns_is_refused():
  with pytest.raises(ValueError, match="while loop"):
    count_matmul_flops(lambda x: jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ x, x), spec(4, 4))


def test_a_frozen_teacher_counts_once():
  """Its forward pass alone; what learns counts its forward pass and twice that going back."""

  class Objective:
    def frozen(self, variables, batch):
      return batch @ variables["teacher"]

    def loss(self, variables, batch, rng, train):
      return jnp.sum(batch @ variables["student"] - self.frozen(variables, batch)), {}, {}

  variables = {"teacher": spec(5, 7), "student": spec(5, 7)}
  once = 2 * 3 * 5 * 7
  assert model_flops(Objective(), variables, spec(3, 5)) == 3 * once + once
