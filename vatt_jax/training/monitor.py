"""What a run is doing right now, whether it is stuck, and where its time went."""

from collections.abc import Callable, Iterator
import contextlib
import faulthandler
import os
import socket
import sys
import threading
import time

from etils import epath
import jax

from vatt_jax.training import workdir as workdir_lib

PHASES = {  # in the order of the summary
  "train": "training", "compile": "compiling", "data": "waiting for data", "save": "saving", "evaluate": "evaluating",
  "start": "starting",
}  # fmt: skip


class Monitor:
  """Phases of a run; `heartbeat.json` in the workdir shows the present one and its age, for whoever looks from outside.

  {"phase", "step", "age_seconds": since the last sign of progress, "phase_seconds": in this phase, "written": Unix time,
  "process", "host", "seconds": phase -> seconds so far, "steps": how many were computed, "began": Unix time}; the last
  three count from the first start of the run on, restarts included. Process i of several writes `heartbeat.i.json`.

  Where nothing has moved for `stall_seconds`, the stacks of all threads are printed, once for each time.

  Args:
    workdir: of the run.
    stall_seconds: 0: never.
    say: prints a line.
    beat_seconds: how often the file is written.
  """

  def __init__(self, workdir: str, stall_seconds: float, say: Callable[[str], None], beat_seconds: float = 5.0):
    index = jax.process_index()
    self._path = epath.Path(workdir) / (workdir_lib.HEARTBEAT if index == 0 else f"heartbeat.{index}.json")
    self._stall_seconds, self._say, self._beat_seconds = stall_seconds, say, beat_seconds
    before = workdir_lib.read_heartbeat(self._path)
    self._seconds = {name: before.get("seconds", {}).get(name, 0.0) for name in PHASES}
    self._steps, self._began = before.get("steps", 0), before.get("began", time.time())
    self._starts = before.get("starts", 0) + 1
    self._phase, self._step = "start", 0
    self._since = self._moved = self._counted = time.monotonic()
    self._warned = False
    self._lock, self._ended = threading.RLock(), threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True, name="monitor")

  def __enter__(self) -> "Monitor":
    self._thread.start()
    return self

  def __exit__(self, kind, *_) -> None:
    self.close("failed" if kind else "ended")

  def close(self, last: str = "ended") -> str:
    """Writes the last heartbeat, of a phase called `last`; returns what the run was doing, in words."""
    self._ended.set()
    self._thread.join()
    with self._lock:
      self._count()
      phase, self._phase = self._phase, last
    self._write()
    return PHASES[phase]

  @contextlib.contextmanager
  def phase(self, name: str) -> Iterator[None]:
    """What happens inside is of this phase, a name in `PHASES`, and not of the one around it."""
    with self._lock:
      self._count()
      outer, self._phase = self._phase, name
      self._since = self._moved = time.monotonic()
    try:
      yield
    finally:
      with self._lock:
        self._count()
        self._phase = outer
        self._since = self._moved = time.monotonic()

  def alive(self) -> None:
    """There is progress."""
    self._moved, self._warned = time.monotonic(), False

  def stepped(self, step: int) -> None:
    """A step was computed: `step` are done now."""
    self._step = step
    self._steps += 1
    self.alive()

  def at(self, step: int) -> None:
    """The run goes on from this step."""
    self._step = step

  def seconds(self) -> dict[str, float]:
    """Phase -> seconds, restarts included."""
    with self._lock:
      self._count()
      return dict(self._seconds)

  def goodput(self) -> float:
    """The share of all time since the first start that went into steps which were not computed twice."""
    useful = self.seconds()["train"] * min(1.0, self._step / max(self._steps, 1))
    return useful / max(time.time() - self._began, 1e-9)

  def summary(self) -> str:
    """Where the time went, in a sentence."""
    seconds, all_seconds = self.seconds(), max(time.time() - self._began, 1e-9)
    shares = {PHASES[name]: value / all_seconds for name, value in seconds.items()}
    shares["not running"] = max(0.0, 1.0 - sum(shares.values()))
    parts = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items() if share >= 0.0005)
    again = self._steps - self._step
    twice = f"; {again} of {self._steps} steps were computed again" if again > 0 else ""
    return f"where {all_seconds:,.0f} s in {self._starts} start(s) went: {parts}{twice}"

  def _count(self) -> None:
    now = time.monotonic()
    self._seconds[self._phase] += now - self._counted
    self._counted = now

  def _watch(self) -> None:
    beat = min(self._beat_seconds, self._stall_seconds / 2 or self._beat_seconds)
    while not self._ended.wait(beat):
      self._write()
      age = time.monotonic() - self._moved
      if self._stall_seconds and age > self._stall_seconds and not self._warned:
        self._warned = True
        self._say(
          f"warning: nothing has moved for {age:.0f} s; step {self._step}, {PHASES[self._phase]}. What the threads are doing:"
        )
        faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)

  def _write(self) -> None:
    with self._lock:
      now = time.monotonic()
      row = {
        "phase": self._phase,
        "step": self._step,
        "age_seconds": round(now - self._moved, 3),
        "phase_seconds": round(now - self._since, 3),
        "written": time.time(),
        "process": os.getpid(),
        "host": socket.gethostname(),
        "seconds": {**self._seconds},
        "steps": self._steps,
        "starts": self._starts,
        "began": self._began,
      }
      if self._phase in PHASES:
        row["seconds"][self._phase] += now - self._counted
    try:
      workdir_lib.write_json(self._path, row)
    except OSError:  # A full disk is told by what cannot do without it.
      pass
