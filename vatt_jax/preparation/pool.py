"""Worker processes that may die: a decoder that crashes costs the file it crashed on, not the run."""

import collections
from collections.abc import Callable, Iterator, Sequence
import concurrent.futures
from concurrent.futures.process import BrokenProcessPool
import multiprocessing
import os
import signal
import threading
from typing import Any


class Crashed(Exception):
  """The process that worked on the task died: a crash of a decoder, or the system ran out of memory."""


def each(function: Callable[[Any], Any], tasks: Sequence[Any], *, workers: int) -> Iterator[tuple[Any, Any]]:
  """Calls `function` on every task, in processes, and yields (task, result) in the order they are done.

  When a process dies nobody knows which task killed it: all that were under way are tried again, one at a time, and
  the one that kills its process again has `Crashed()` as its result.

  Args:
    function: picklable; its exceptions are raised here.
    tasks: picklable.
    workers: number of processes; 0 works in this process, one task after the other.
  """
  if workers == 0:
    for task in tasks:
      yield task, function(task)
    return
  waiting = collections.deque(tasks)
  while waiting:
    suspects = yield from _until_a_death(function, waiting, workers)
    for task in suspects:
      again = yield from _until_a_death(function, collections.deque([task]), 1)
      if again:
        yield task, Crashed()


def _until_a_death(function, waiting: collections.deque, workers: int):
  """Works until nothing is waiting or a process dies; returns the tasks that were under way when one died."""
  executor = concurrent.futures.ProcessPoolExecutor(
    min(workers, len(waiting)), mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
  )
  under_way = {}
  try:
    while waiting or under_way:
      while waiting and len(under_way) < workers:  # No queue: whatever is under way is a suspect when one dies.
        task = waiting.popleft()
        try:
          under_way[executor.submit(function, task)] = task
        except BrokenProcessPool:
          return [*under_way.values(), task]
      done, _ = concurrent.futures.wait(under_way, return_when=concurrent.futures.FIRST_COMPLETED)
      for future in done:
        try:
          result = future.result()
        except BrokenProcessPool:
          continue
        yield under_way.pop(future), result
      if any(future.done() for future in under_way):  # What is done and still here has no result.
        return list(under_way.values())
    return []
  finally:
    processes = list((executor._processes or {}).values()) if under_way else []
    executor.shutdown(wait=not under_way, cancel_futures=True)
    for process in processes:  # Stopped half-way: do not finish a long film that nobody waits for.
      process.terminate()


def _start_worker():
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides.
  threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent():
  """An executor's orphans would wait for work for ever."""
  multiprocessing.parent_process().join()
  os._exit(1)
