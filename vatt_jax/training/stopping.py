"""SIGTERM and SIGINT as requests to save and stop, in whatever a run is doing."""

from collections.abc import Callable, Iterator
import contextlib
import os
import signal
import threading

import jax
from jax.experimental import multihost_utils

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
  """Notes a request to stop; the loop looks at it after every step.

  Python runs its signal handlers in the main thread, between two of its instructions: not while that thread is inside of
  a compiler, for minutes maybe. A thread of ours hears of the signal all the same, and ends the process there and then if
  it is in a phase in which nothing would be lost. A second SIGINT interrupts at once, for who does not want to wait.

  With several processes the request of one is that of all, and all stop after the same step. There a request waits for
  the end of such a phase.

  Use as a context manager, in the main thread.
  """

  def __init__(self):
    self.name = ""  # of the signal that asked
    self._leave: Callable[[str], None] | None = None
    self._lock = threading.Lock()

  def __enter__(self) -> "Stop":
    self._together = jax.process_count() > 1
    if self._together:  # JAX has taken SIGTERM when it was initialised, and tells the other processes.
      self._before = {signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))}
      return self
    reader, self._writer = os.pipe()
    os.set_blocking(self._writer, False)
    self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
    self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
    threading.Thread(target=self._listen, args=(reader,), daemon=True, name="stop").start()
    return self

  def __exit__(self, *_) -> None:
    if not self._together:
      signal.set_wakeup_fd(self._wakeup)
      os.close(self._writer)  # Ends the thread.
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def after(self, step: int) -> bool:
    """Whether to stop after this step; every process asks, after every step."""
    if self._together and multihost_utils.reached_preemption_sync_point(step):
      self.name = "SIGTERM"
    return bool(self.name)

  @contextlib.contextmanager
  def nothing_to_lose(self, leave: Callable[[str], None]) -> Iterator[None]:
    """In here a request calls leave(name of the signal), which ends the process, from whatever thread."""
    if self._together:
      yield
      return
    with self._lock:
      if self.name:
        leave(self.name)
      self._leave = leave
    try:
      yield
    finally:
      with self._lock:
        self._leave = None

  def _note(self, number, frame) -> None:
    self.name = signal.Signals(number).name
    if number == signal.SIGINT:
      signal.signal(signal.SIGINT, self._before[signal.SIGINT])

  def _listen(self, reader: int) -> None:
    while received := os.read(reader, 1):
      if received[0] in _SIGNALS:
        with self._lock:
          self.name = signal.Signals(received[0]).name
          if self._leave:
            self._leave(self.name)
    os.close(reader)
