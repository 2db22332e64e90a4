"""Worker processes that may die or hang: a decoder that does costs the file it did it on, not the run."""

import collections
from collections.abc import Callable, Iterator, Sequence
import concurrent.futures
from concurrent.futures.process import BrokenProcessPool
import math
import multiprocessing
import os
import signal
import threading
import time
from typing import Any

_shared = None  # In a worker: see `_until_a_death`.
_slot = 0  # In a worker: the place in `_shared` of the task under way.


class Crashed(Exception):
  """The process that worked on the task died: a crash of a decoder, or the system ran out of memory."""


class Hung(Exception):
  """The process that worked on the task got nowhere for too long and was ended."""


def moving() -> None:
  """Says that the task under way in this process gets on; a task that takes long calls it again and again."""
  if _shared is not None:
    _shared[_slot] = time.monotonic()


def each(
  function: Callable[[Any], Any], tasks: Sequence[Any], *, workers: int, timeout_seconds: float = math.inf
) -> Iterator[tuple[Any, Any]]:
  """Calls `function` on every task, in processes, and yields (task, result) in the order they are done.

  When a process dies nobody knows which task killed it: all that were under way are tried again, one at a time, and
  the one that kills its process again has `Crashed()` as its result. When a task hangs all processes are ended; it has
  `Hung(why)` as its result, the others begin again.

  Args:
    function: picklable; its exceptions are raised here.
    tasks: picklable.
    workers: number of processes; 0 works in this process, one task after the other, and waits for each.
    timeout_seconds: a task hangs when it has not called `moving` for so long.
  """
  if workers == 0:
    for task in tasks:
      yield task, function(task)
    return
  waiting = collections.deque(tasks)
  while waiting:
    suspects = yield from _until_a_death(function, waiting, workers, timeout_seconds)
    for task in suspects:
      again = yield from _until_a_death(function, collections.deque([task]), 1, timeout_seconds)
      if again:
        yield task, Crashed()


def _until_a_death(function, waiting: collections.deque, workers: int, timeout_seconds: float):
  """Works until nothing is waiting, a process dies or a task hangs.

  Returns the tasks that were under way when a process died; those beside one that hung are put back to the waiting.
  """
  context, workers = multiprocessing.get_context("spawn"), min(workers, len(waiting))
  moved = context.RawArray("d", workers)  # When the task in this slot last got on, by the clock of all processes.
  executor = concurrent.futures.ProcessPoolExecutor(
    workers, mp_context=context, initializer=_start_worker, initargs=(moved,)
  )
  under_way, slots = {}, {}
  try:
    while waiting or under_way:
      while waiting and len(under_way) < workers:  # No queue: whatever is under way is a suspect when one dies.
        task, slot = waiting.popleft(), min(set(range(workers)) - {slots[future] for future in under_way})
        moved[slot] = math.inf  # It has not begun: a process takes a while to start.
        try:
          future = executor.submit(_work, function, slot, task)
        except BrokenProcessPool:
          return [*under_way.values(), task]
        under_way[future], slots[future] = task, slot
      done, _ = concurrent.futures.wait(under_way, min(1, timeout_seconds), concurrent.futures.FIRST_COMPLETED)
      for future in done:
        try:
          result = future.result()
        except BrokenProcessPool:
          continue
        yield under_way.pop(future), result
      if any(future.done() for future in under_way):  # What is done and still here has no result.
        return list(under_way.values())
      hung = [future for future in under_way if time.monotonic() - moved[slots[future]] > timeout_seconds]
      if hung:
        waiting.extendleft(task for future, task in under_way.items() if future not in hung)
        for future in hung:
          yield under_way[future], Hung(f"{timeout_seconds:g} s without progress")
        return []
    return []
  finally:
    processes = list((executor._processes or {}).values()) if under_way else []
    executor.shutdown(wait=not under_way, cancel_futures=True)
    for process in processes:  # Stopped half-way: do not finish a long film that nobody waits for.
      process.kill()


def _work(function, slot, task):
  global _slot
  _slot = slot
  moving()
  return function(task)


def _start_worker(moved):
  global _shared
  _shared = moved
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides.
  threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent():
  """An executor's orphans would wait for work for ever."""
  multiprocessing.parent_process().join()
  os._exit(1)
