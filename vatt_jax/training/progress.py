"""The progress bar, and the times behind it."""

from collections.abc import Callable, Iterator
import contextlib
import sys
import time

import tqdm


class Progress:
  """Counts steps; says how long they took and how much of that was waiting for data.

  On a terminal it is a bar with rate, time left and loss; in a log file, a line at most every ten seconds.

  Args:
    first, total: steps done before and in all.
    batch_size: clips per step.
    utilization: seconds of a step -> the share of the devices' peak that it reaches; None where that is not known.
    visible: whether anything is shown; the times are taken all the same.
  """

  def __init__(
    self, first: int, total: int, batch_size: int, utilization: Callable[[float], float] | None = None,
    visible: bool = True,
  ):  # fmt: skip
    self._batch_size, self._total, self._utilization, self._visible = batch_size, total, utilization, visible
    self._terminal = sys.stderr.isatty() and visible
    self._bar = tqdm.tqdm(initial=first, total=total, desc="training", unit="step", disable=not self._terminal)
    self._waited = 0.0
    self._steps = 0
    self._began = self._spoke = time.monotonic()

  @contextlib.contextmanager
  def waiting(self) -> Iterator[None]:
    """What happens inside is waiting for a batch."""
    began = time.monotonic()
    yield
    self._waited += time.monotonic() - began

  def step(self) -> None:
    self._steps += 1
    self._bar.update()

  def times(self) -> dict[str, float]:
    """Times since the last call, as metrics; starts counting anew."""
    now = time.monotonic()
    elapsed, steps = max(now - self._began, 1e-9), max(self._steps, 1)
    times = {
      "time/step_seconds": elapsed / steps,
      "time/data_wait_fraction": min(1.0, self._waited / elapsed),
      "throughput/clips_per_second": self._steps * self._batch_size / elapsed,
    }
    if self._utilization and self._steps:
      times["throughput/model_flops_utilization"] = self._utilization(times["time/step_seconds"])
    self._began, self._waited, self._steps = now, 0.0, 0
    return times

  def pause(self) -> None:
    """What happened since the last step (an evaluation, say) is nobody's step time."""
    self._began, self._waited, self._steps = time.monotonic(), 0.0, 0

  def show(self, step: int, metrics: dict[str, float]) -> None:
    text = f"loss {metrics['loss']:.3f}"
    if "loss/untrained" in metrics:  # Contrastive: where it starts, and how many negatives are none.
      text += f" (untrained {metrics['loss/untrained']:.2f}, log batch {metrics['loss/log_batch_size']:.2f}"
      text += f", duplicate captions {100 * metrics['data/duplicate_captions']:.0f} %)"
    text += f", {metrics['throughput/clips_per_second']:.0f} clips/s"
    if "throughput/model_flops_utilization" in metrics:
      text += f", {100 * metrics['throughput/model_flops_utilization']:.0f} % of peak"
    self._bar.set_postfix_str(text)
    now = time.monotonic()
    if not self._terminal and (now - self._spoke > 10 or step == self._total):
      left = (self._total - step) * metrics["time/step_seconds"]
      self.say(f"step {step}/{self._total}: {text}, {left / 60:.1f} min left")
      self._spoke = now

  def say(self, line: str) -> None:
    """A line that does not break the bar."""
    if self._visible:
      with contextlib.suppress(OSError):  # A log on a full disk is no reason to stop.
        tqdm.tqdm.write(line, file=sys.stderr)

  def close(self) -> None:
    self._bar.close()
