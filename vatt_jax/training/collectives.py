"""What devices send to each other in one run of a compiled program, read off its HLO text.

A collective in a loop counts as often as the loop turns. Bytes are those that one device sends, by the algorithms that
reach the lower bound: (n - 1) / n of the whole array for all-gather, reduce-scatter and all-to-all among n devices, twice
that for all-reduce, all of it for collective-permute and send.

TPU programs hide some: an all-reduce in a computation called all-reduce-scatter is a reduce-scatter, and one collective
that is carried out in parts beside other work stands in several fusions under one channel.
"""

import collections
import dataclasses
import math
import re

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute", "send")
BETWEEN_SLICES = "send"  # what TPU slices tell each other goes over the data-centre network, and through their hosts
_ROOT = "ROOT"
_BITS = {"pred": 8, "bf16": 16, "token": 0} | {f"c{n}": n for n in (64, 128)}


@dataclasses.dataclass(frozen=True)
class _Instruction:
  """One line of HLO: `name = type opcode(operands), attributes`."""

  name: str
  type: str
  opcode: str
  operands: tuple[str, ...]
  rest: str  # operands and attributes as they stand

  def called(self, attribute: str) -> str | None:
    found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.rest)
    return found and found[1]


def count(hlo: str) -> dict[str, dict[str, int]]:
  """Kind of collective -> {"count", "bytes"} for each device and run; kinds that do not occur are left out.

  Args:
    hlo: `compiled.as_text()`.
  """
  computations, entry = _parse(hlo)
  devices = re.search(r"num_partitions=(\d+)", hlo)
  found, parts = [], collections.defaultdict(list)

  def visit(name: str, times: int) -> None:
    for key, instruction in computations.get(name, {}).items():
      if key == _ROOT:
        continue
      kind = instruction.opcode.removesuffix("-start")
      if kind in KINDS:
        kind = "reduce-scatter" if "all-reduce-scatter" in name else kind
        item = (kind, times, _sent(kind, instruction, int(devices[1]) if devices else 1))
        channel = re.search(r"channel_id=(\d+)", instruction.rest)
        in_parts = "async_collective_fusion_config" in instruction.rest and channel
        (parts[kind, channel[1]] if in_parts else found).append(item)
      elif kind == "while":
        visit(instruction.called("body"), times * _turns(instruction, computations, name))
      else:
        for attribute in ("calls", "to_apply", "true_computation", "false_computation"):
          if callee := instruction.called(attribute):
            visit(callee, times)
        if branches := re.search(r"branch_computations=\{([^}]*)\}", instruction.rest):
          for callee in branches[1].replace("%", "").split(","):
            visit(callee.strip(), times)

  visit(entry, 1)
  # Parts of one collective may lie in loops of their own; it runs as often as the outermost of them.
  found += [min(items, key=lambda item: item[1]) for items in parts.values()]
  total = {kind: {"count": 0, "bytes": 0} for kind, _, _ in found}
  for kind, times, sent in found:
    total[kind]["count"] += times
    total[kind]["bytes"] += round(times * sent)
  return {kind: total[kind] for kind in KINDS if kind in total}


def _parse(hlo: str) -> tuple[dict[str, dict[str, _Instruction]], str]:
  """Computation -> its instructions by name, its result once more as `_ROOT`; and the name of the entry."""
  computations, entry, current = {}, "", None
  for line in hlo.splitlines():
    if header := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$", line):
      current = computations.setdefault(header[2], {})
      entry = header[2] if header[1] else entry
    elif line.startswith("}"):
      current = None
    elif current is not None and (found := re.match(r"\s+(ROOT )?%?([\w.\-]+) = ", line)):
      instruction = _instruction(found[2], line[found.end() :])
      current[instruction.name] = instruction
      if found[1]:
        current[_ROOT] = instruction
  return computations, entry


def _instruction(name: str, text: str) -> _Instruction:
  end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
  shape, text = text[:end], text[end:].lstrip()
  opens = text.index("(")
  inside = text[opens + 1 : _closing(text, opens)]
  return _Instruction(name, shape, text[:opens], tuple(re.findall(r"%([\w.\-]+)", inside)), text[opens:])


def _closing(text: str, opens: int) -> int:
  depth = 0
  for bracket in re.finditer(r"[()]", text[opens:]):
    depth += 1 if bracket[0] == "(" else -1
    if not depth:
      return opens + bracket.start()
  raise ValueError(f"unbalanced brackets in {text[:80]!r}")


def _sent(kind: str, instruction: _Instruction, devices: int) -> float:
  """Bytes that one device sends."""
  n = _group_size(instruction.rest, devices)
  size = _bytes(instruction.type)
  if kind == BETWEEN_SLICES:
    return size
  started = instruction.opcode.endswith("-start")
  if kind == "collective-permute":
    return size / 2 if started else size  # Started ones hold their operand beside the result.
  if started and kind in ("all-gather", "reduce-scatter"):
    size *= n / (n + 1)  # One of the two is an n-th of the other.
  elif kind == "reduce-scatter" and instruction.opcode == kind:
    size *= n
  return (2 if kind == "all-reduce" else 1) * size * (n - 1) / n


def _bytes(shape: str) -> int:
  """Of an array, or of all arrays in a tuple; scalars, which are semaphores there, are nothing."""
  total = 0
  for dtype, dimensions in re.findall(r"\b([a-z]+\d*\w*)\[([\d,]*)\]", shape):
    bits = _BITS[dtype] if dtype in _BITS else int(re.search(r"\d+", dtype)[0])
    total += math.prod(int(n) for n in dimensions.split(",")) * bits // 8 if dimensions else 0
  return total


def _group_size(text: str, devices: int) -> int:
  """Of `replica_groups`, in all the ways to write them; without any, all devices."""
  if found := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
    return found[1].count(",") + 1
  if found := re.search(r"replica_groups=\[\d+,(\d+)\]<=", text):
    return int(found[1])
  if found := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", text):
    sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", found[1])}
    axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", found[2])
    return math.prod(int(part) if part else sizes[axis] for axis, part in axes)
  return devices


def _turns(loop: _Instruction, computations: dict, caller: str) -> int:
  """How often a while loop turns: as the compiler says, else from its counter; 1 where neither tells."""
  if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.rest):
    return int(known[1])
  condition, body = computations[loop.called("condition")], computations[loop.called("body")]
  start = computations[caller][loop.operands[0]]
  compare = condition[_ROOT]
  if compare.opcode != "compare" or "direction=LT" not in compare.rest or start.opcode != "tuple":
    return 1
  counter, limit = (condition[name] for name in compare.operands)
  index = int(found[1]) if (found := re.search(r"index=(\d+)", counter.rest)) else None
  first = index is not None and _constant(computations[caller][start.operands[index]], computations[caller])
  last = _constant(limit, condition)
  step = index is not None and _step(body[_ROOT].operands[index], body, index)
  return -(-(last - (first or 0)) // step) if step and last is not None else 1


def _constant(instruction: _Instruction, computation: dict) -> int | None:
  while instruction.opcode in ("copy", "bitcast", "convert"):
    instruction = computation[instruction.operands[0]]
  found = instruction.opcode == "constant" and re.match(r"\((-?\d+)\)", instruction.rest)
  return int(found[1]) if found else None


def _step(name: str, body: dict, index: int) -> int | None:
  """By how much a loop's counter grows in its body, where that is a chain of additions."""
  total = 0
  while True:
    instruction = body[name]
    if instruction.opcode == "get-tuple-element":
      return total if re.search(rf"index={index}\b", instruction.rest) else None
    if instruction.opcode in ("copy", "bitcast"):
      name = instruction.operands[0]
    elif instruction.opcode == "add":
      constants = [_constant(body[operand], body) for operand in instruction.operands]
      if constants.count(None) != 1:
        return None
      total += next(value for value in constants if value is not None)
      name = instruction.operands[constants.index(None)]
    else:
      return None
