"""Work that several jobs share: one at a time, and what the dead leave behind is taken over."""

import os
import threading
import time

from vatt_jax.training.claims import Claims


class Clock:
  now = 0.0

  def __call__(self):
    return self.now


def test_one_job_at_a_time(tmp_path):
  mine, others = Claims(str(tmp_path)), Claims(str(tmp_path))
  claim = mine.take("step-500")
  assert claim.held() and others.take("step-500") is None and ":" in others.owner("step-500")
  assert others.take("step-50") is not None  # Another name, though it begins alike.
  assert others.names() == {"step-500", "step-50"} and Claims(str(tmp_path / "none")).names() == set()
  claim.give_back()
  again = others.take("step-500")
  assert again.held()
  claim.give_back()  # Twice does no harm to whoever has it now.
  assert again.held() and not claim.held()


def test_of_many_one_gets_it(tmp_path):
  start, got = threading.Barrier(16), []

  def run():
    claims = Claims(str(tmp_path))
    start.wait()
    if claims.take("work"):
      got.append(1)

  threads = [threading.Thread(target=run) for _ in range(16)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(got) == 1


def test_the_claim_of_a_dead_job_is_taken_over_once(tmp_path):
  """The dead owner here is one whose clock stands still: its thread never touches the file."""
  clock = Clock()
  slow = Claims(str(tmp_path), silent_seconds=1e9).take("work")
  second, third = (Claims(str(tmp_path), silent_seconds=60.0, clock=clock) for _ in range(2))
  assert second.take("work") is None and third.take("work") is None
  clock.now = 59.0
  assert second.take("work") is None
  clock.now = 61.0
  taken = second.take("work")
  assert taken.held() and third.take("work") is None  # To the third it is a new claim, however old the first was.
  assert not slow.held()  # It was only slow, and sees that its results are not wanted.
  slow.give_back()
  assert taken.held()
  taken.give_back()
  assert not list(tmp_path.iterdir())


def test_what_the_living_have_is_in_use(tmp_path):
  clock, folder = Clock(), str(tmp_path)
  trainer = Claims(folder, silent_seconds=60, clock=clock)
  assert trainer.steps_in_use() == set()
  Claims(folder).take("own-400"), Claims(folder).take("writing")
  (tmp_path / "0a1b-200.0").write_text("")  # Of a job that died.
  assert trainer.steps_in_use() == {200, 400}  # So far it looks alive.
  clock.now = 61
  os.utime(tmp_path / "own-400.0", (1, 1))
  assert trainer.steps_in_use() == {400}


def test_a_job_that_works_stays_the_owner(tmp_path):
  claims = Claims(str(tmp_path), silent_seconds=0.6)  # Touched every tenth of a second.
  claim, others = claims.take("work"), Claims(str(tmp_path), silent_seconds=0.6)
  ends = time.monotonic() + 1.5
  while time.monotonic() < ends:
    assert others.take("work") is None
    time.sleep(0.05)
  claim.give_back()
  with others.turn("work"):
    assert claims.take("work") is None


def test_buckets_grant_everything():
  claims = Claims("gs://bucket/run/.claims")
  assert claims.take("work").held() and claims.take("work").held()
