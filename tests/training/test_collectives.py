"""Collectives of programs with known answers, compiled for eight devices, and of the texts that other compilers write."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import pytest

from vatt_jax.training import collectives, mesh as mesh_lib

SPLIT, WHOLE = PartitionSpec("data"), PartitionSpec()
SIZE = 8 * 64 * 4  # bytes of the array below


def count(function, into=SPLIT, out=WHOLE):
  """Of `function` of a float32 (8, 64) array on eight devices."""
  mesh = mesh_lib.make_mesh((1, 8, 1))
  place = lambda spec: NamedSharding(mesh, spec)
  compiled = jax.jit(function, in_shardings=place(into), out_shardings=place(out))
  return collectives.count(compiled.lower(jax.ShapeDtypeStruct((8, 64), jnp.float32)).compile().as_text())


def shard_mapped(function, out=SPLIT):
  return jax.shard_map(function, mesh=mesh_lib.make_mesh((1, 8, 1)), in_specs=SPLIT, out_specs=out, check_vma=False)


def test_a_gathered_array_is_sent_but_for_ones_own():
  assert count(lambda x: x * 2) == {"all-gather": {"count": 1, "bytes": SIZE * 7 // 8}}


def test_a_sum_is_sent_twice():
  assert count(lambda x: jnp.sum(x, axis=0)) == {"all-reduce": {"count": 1, "bytes": 2 * 64 * 4 * 7 // 8}}


def test_what_stays_costs_nothing():
  assert count(lambda x: x * 2, out=SPLIT) == {}


def test_other_kinds():
  ring = [(i, (i + 1) % 8) for i in range(8)]
  moved = count(shard_mapped(lambda x: jax.lax.ppermute(x, "data", ring)), out=SPLIT)
  assert moved == {"collective-permute": {"count": 1, "bytes": SIZE // 8}}
  exchanged = count(shard_mapped(lambda x: jax.lax.all_to_all(x, "data", 1, 0, tiled=True)), out=SPLIT)
  assert exchanged == {"all-to-all": {"count": 1, "bytes": SIZE // 8 * 7 // 8}}
  scattered = count(shard_mapped(lambda x: jax.lax.psum_scatter(x, "data", scatter_dimension=1, tiled=True)), out=SPLIT)
  assert sum(kind["bytes"] for kind in scattered.values()) >= SIZE // 8 * 7 // 8


@pytest.mark.parametrize("turns", [1, 5])
def test_loops_count_as_often_as_they_turn(turns):
  ring = [(i, (i + 1) % 8) for i in range(8)]
  step = lambda x, _: (jnp.tanh(jax.lax.ppermute(x, "data", ring)), None)
  once = lambda x: jax.lax.scan(step, x, None, length=turns)[0]
  assert count(shard_mapped(once))["collective-permute"] == {"count": turns, "bytes": turns * SIZE // 8}
  nested = lambda x: jax.lax.scan(lambda x, _: (once(x) + 1, None), x, None, length=3)[0]
  assert count(shard_mapped(nested))["collective-permute"] == {"count": 3 * turns, "bytes": 3 * turns * SIZE // 8}


TPU = """HloModule step, num_partitions=8

%all-reduce-scatter.1 (input.1: f32[640,16]) -> f32[80,16] {
  %input.1 = f32[640,16]{1,0:T(8,128)} parameter(0)
  ROOT %all-reduce.9 = f32[640,16]{1,0:T(8,128)} all-reduce(%input.1), channel_id=3, replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add
}

%part (p: bf16[16,128]) -> bf16[128,128] {
  %p = bf16[16,128]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %all-gather.7 = bf16[128,128]{1,0:T(8,128)(2,1)} all-gather(%p), channel_id=5, replica_groups=mesh['axis_0'=1,'axis_1'=8] {'axis_1'}, dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"2"}}
}

%condition (c: (u32[], bf16[16,128])) -> pred[] {
  %c = (u32[]{:T(128)}, bf16[16,128]{1,0:T(8,128)(2,1)}) parameter(0)
  %at = u32[]{:T(128)} get-tuple-element(%c), index=0
  %limit = u32[]{:T(128)} constant(9)
  ROOT %less = pred[]{:T(512)} compare(%at, %limit), direction=LT
}

%body (b: (u32[], bf16[16,128])) -> (u32[], bf16[16,128]) {
  %b = (u32[]{:T(128)}, /*index=1*/bf16[16,128]{1,0:T(8,128)(2,1)}) parameter(0)
  %now = u32[]{:T(128)} get-tuple-element(%b), index=0
  %shard = bf16[16,128]{1,0:T(8,128)(2,1)} get-tuple-element(%b), index=1
  %one = u32[]{:T(128)} constant(1)
  %next = u32[]{:T(128)} add(%now, %one)
  %later = u32[]{:T(128)} add(%next, %one)
  %fused = bf16[128,128]{1,0:T(8,128)(2,1)} fusion(%shard), kind=kOutput, calls=%part
  %permute-start = (bf16[16,128]{1,0:T(8,128)(2,1)}, bf16[16,128]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%shard), channel_id=6, source_target_pairs={{0,1},{1,0}}
  %permute-done = bf16[16,128]{1,0:T(8,128)(2,1)} collective-permute-done(%permute-start)
  ROOT %both = (u32[]{:T(128)}, bf16[16,128]{1,0:T(8,128)(2,1)}) tuple(%later, %permute-done)
}

ENTRY %main (x: f32[640,16], w: bf16[16,128]) -> f32[80,16] {
  %x = f32[640,16]{1,0:T(8,128)} parameter(0)
  %w = bf16[16,128]{1,0:T(8,128)(2,1)} parameter(1)
  %zero = u32[]{:T(128)} constant(1)
  %begin = bf16[128,128]{1,0:T(8,128)(2,1)} fusion(%w), kind=kCustom, calls=%part
  %start = (u32[]{:T(128)}, bf16[16,128]{1,0:T(8,128)(2,1)}) tuple(%zero, %w)
  %loop = (u32[]{:T(128)}, bf16[16,128]{1,0:T(8,128)(2,1)}) while(%start), condition=%condition, body=%body
  %after = token[] after-all()
  %send.1 = (bf16[16,128]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}, token[]) send(%w, %after), channel_id=8, is_host_transfer=true
  ROOT %sum = f32[80,16]{1,0:T(8,128)} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1
}
"""


def test_what_tpu_programs_hide():
  """A counter from 1 by 2 while below 9 turns 4 times; the gather runs beside the loop, once."""
  assert collectives.count(TPU) == {
    "all-gather": {"count": 1, "bytes": 128 * 128 * 2 * 7 // 8},
    "reduce-scatter": {"count": 1, "bytes": 640 * 16 * 4 * 7 // 8},
    "collective-permute": {"count": 4, "bytes": 4 * 16 * 128 * 2},
    "send": {"count": 1, "bytes": 16 * 128 * 2},
  }


GPU = """HloModule step, num_partitions=8

%async (p: f32[1024,8]) -> f32[1024,8] {
  %p = f32[1024,8]{1,0} parameter(0)
  ROOT %all-to-all.1 = f32[1024,8]{1,0} all-to-all(%p), channel_id=9, replica_groups=[2,4]<=[8], dimensions={0}
}

ENTRY %main (x: f32[128,1024], y: f32[1024,8]) -> f32[128,1024] {
  %x = f32[128,1024]{1,0} parameter(0)
  %y = f32[1024,8]{1,0} parameter(1)
  %all-gather-start = (f32[128,1024]{1,0}, f32[1024,1024]{1,0}) all-gather-start(%x), channel_id=1, replica_groups=[1,8]<=[8], dimensions={0}
  %all-gather-done = f32[1024,1024]{1,0} all-gather-done(%all-gather-start)
  %reduce-scatter-start = ((f32[1024,1024]{1,0}), f32[128,1024]{1,0}) reduce-scatter-start(%all-gather-done), channel_id=3, replica_groups=mesh['axis_0'=8,'axis_1'=1] {'axis_0'}, dimensions={0}, to_apply=%add
  %reduce-scatter-done = f32[128,1024]{1,0} reduce-scatter-done(%reduce-scatter-start)
  %exchange = ((f32[1024,8]{1,0}), f32[1024,8]{1,0}) async-start(%y), calls=%async
  ROOT %out = f32[128,1024]{1,0} add(%reduce-scatter-done, %x)
}
"""


def test_what_gpu_programs_start():
  whole = 1024 * 1024 * 4
  assert collectives.count(GPU) == {
    "all-gather": {"count": 1, "bytes": whole * 7 // 8},
    "reduce-scatter": {"count": 1, "bytes": whole * 7 // 8},
    "all-to-all": {"count": 1, "bytes": 1024 * 8 * 4 * 3 // 4},
  }


@pytest.mark.parametrize("groups, size", [
    ("{{0,2},{1,3}}", 2), ("[4,2]<=[2,4]T(1,0)", 2), ("mesh['a'=2,'b'=4] {'b'}", 4), ("mesh['a'=2,'b'=4] {'a','b'}", 8),
    ("mesh['a'=2,'b'=4] {'b':(2)2}", 2), ("{}", 8),
])  # fmt: skip
def test_groups_in_all_ways_to_write_them(groups, size):
  text = f"""HloModule m, num_partitions=8

ENTRY %main (x: f32[64]) -> f32[64] {{
  %x = f32[64]{{0}} parameter(0)
  ROOT %sum = f32[64]{{0}} all-reduce(%x), channel_id=1, replica_groups={groups}, to_apply=%add
}}
"""
  assert collectives.count(text) == {"all-reduce": {"count": 1, "bytes": round(2 * 64 * 4 * (size - 1) / size)}}
