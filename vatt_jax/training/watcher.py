"""A look at a run from outside, by the heartbeat that it leaves in its workdir: at work, slow, or gone."""

from collections.abc import Callable
import time

from etils import epath

from vatt_jax.training import workdir as workdir_lib
from vatt_jax.training.monitor import PHASES

BEATS_SECONDS = 15.0  # A run writes every five.


class Watcher:
  """Tells a trainer that died from one that is slow, each once for each time.

  A heartbeat that changes is a sign of life, whatever the clock says on the trainer's machine; of one that does not change,
  the time in it says how long ago it was written.

  Args:
    workdir: of the run.
    silent_seconds: without a heartbeat; then the trainer may have died.
    stalled_seconds: with heartbeats and without progress; then it is slow.
    clock: seconds on this machine.
  """

  def __init__(
    self, workdir: str, silent_seconds: float = 60.0, stalled_seconds: float = 300.0,
    clock: Callable[[], float] = time.monotonic,
  ):  # fmt: skip
    self._workdir, self._path = workdir, epath.Path(workdir) / workdir_lib.HEARTBEAT
    self._silent_seconds, self._stalled_seconds, self._clock = silent_seconds, stalled_seconds, clock
    self._last, self._since = None, clock()
    self._told = "at work"

  def look(self) -> str | None:
    """A sentence where there is news of the trainer, else None."""
    beat = workdir_lib.read_heartbeat(self._path)
    if not beat:
      return None
    if beat.get("written") != self._last:
      self._last, self._since = beat.get("written"), self._clock()
    unchanged = self._clock() - self._since
    ago = max(unchanged, time.time() - beat.get("written", 0.0))
    state = self._state(beat, unchanged, ago)
    if state is None or state == self._told:
      return None
    self._told = state
    where = f"step {beat.get('step')}, {PHASES.get(beat.get('phase'), beat.get('phase'))}"
    waiting = "; waiting, as the same `train` command goes on from there"
    return {
      "at work": f"the trainer of {self._workdir} is at work again: {where}.",
      "slow": f"the trainer of {self._workdir} is alive but has made no progress for {beat.get('age_seconds', 0):,.0f} s: {where}.",
      "ended": f"the trainer of {self._workdir} {beat['phase']} {ago:,.0f} s ago at step {beat.get('step')} without results{waiting}.",
      "silent": f"the trainer of {self._workdir} was last seen {ago:,.0f} s ago ({where}): it may have died{waiting}.",
    }[state]  # fmt: skip

  def _state(self, beat: dict, unchanged: float, ago: float) -> str | None:
    """None: too early to say."""
    if beat.get("phase") in ("ended", "failed"):
      return "ended"
    if ago > self._silent_seconds:  # Clocks may differ: it had time to beat while it was looked at.
      return "silent" if unchanged >= min(BEATS_SECONDS, self._silent_seconds) else None
    return "slow" if beat.get("age_seconds", 0.0) > self._stalled_seconds else "at work"
