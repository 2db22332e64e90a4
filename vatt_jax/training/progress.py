"""The progress bar, and the times behind it."""

import sys
import time

import tqdm


class Progress:
  """Counts steps; says how long they took and how much of that was waiting for data.

  On a terminal it is a bar with rate, time left and loss; in a log file, a line at most every ten seconds.

  Args:
    first, total: steps done before and in all.
    batch_size: clips per step.
  """

  def __init__(self, first: int, total: int, batch_size: int, description: str = "training"):
    self._batch_size, self._total = batch_size, total
    self._terminal = sys.stderr.isatty()
    self._bar = tqdm.tqdm(initial=first, total=total, desc=description, unit="step", disable=not self._terminal)
    self._waited = 0.0
    self._steps = 0
    self._began = self._spoke = time.monotonic()

  def waited(self, seconds: float) -> None:
    """`seconds` were spent waiting for a batch."""
    self._waited += seconds

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
    self._bar.set_postfix_str(text)
    now = time.monotonic()
    if not self._terminal and (now - self._spoke > 10 or step == self._total):
      left = (self._total - step) * metrics["time/step_seconds"]
      self.say(f"step {step}/{self._total}: {text}, {left / 60:.1f} min left")
      self._spoke = now

  def say(self, line: str) -> None:
    """A line that does not break the bar."""
    tqdm.tqdm.write(line, file=sys.stderr)

  def close(self) -> None:
    self._bar.close()
