"""Who does what, where several jobs on a shared file system take their work from one directory."""

from collections.abc import Callable, Iterator
import contextlib
import json
import os
import pathlib
import secrets
import socket
import threading
import time

FOLDER = ".claims"  # in a workdir: which job evaluates which checkpoint; a name ends in -STEP


class Claims:
  """Pieces of work by name, each done by one job at a time.

  A claim is a file that only one job can create, and that its owner touches while it works. One that has not been touched
  for `silent_seconds`, on the clock of the job that looks, belongs to the dead: its successor is a file with the next
  number, which again only one job can create. So nothing is ever taken away from a file that somebody else may hold, and
  an owner that was thought dead sees that it was replaced.

  Buckets have no files that only one can create: there every claim is granted.

  Args:
    folder: for the files.
    silent_seconds: without a touch; owners touch six times as often.
    clock: seconds on this machine.
  """

  def __init__(self, folder: str, silent_seconds: float = 60.0, clock: Callable[[], float] = time.monotonic):
    self._folder, self._silent_seconds, self._clock = folder, silent_seconds, clock
    self._seen: dict[str, tuple[tuple, float]] = {}  # name -> what the claim looked like, and since when

  def take(self, name: str) -> "Claim | None":
    """The claim, or None while another job that is alive has it.

    Raises:
      OSError: the folder cannot be written.
    """
    if "://" in self._folder:
      return Claim(None, "", "")
    folder = pathlib.Path(self._folder)
    folder.mkdir(parents=True, exist_ok=True)
    number = _newest(folder, name)
    if number >= 0 and not self._is_dead(folder / f"{name}.{number}"):
      return None
    path, owner = folder / f"{name}.{number + 1}", f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    try:
      with path.open("x") as file:
        file.write(json.dumps({"owner": owner, "since": time.strftime("%Y-%m-%d %H:%M:%S")}))
    except FileExistsError:
      return None
    self._seen.pop(name, None)
    return Claim(path, name, owner, self._silent_seconds / 6)

  def owner(self, name: str) -> str:
    """Of the newest claim, in words; empty where there is none."""
    folder = pathlib.Path(self._folder)
    return _owner(folder / f"{name}.{_newest(folder, name)}").rsplit(":", 1)[0]

  def names(self) -> set[str]:
    """What is claimed, by jobs that live or died."""
    folder = pathlib.Path(self._folder)
    return {path.stem for path in folder.iterdir()} if folder.exists() else set()

  def steps_in_use(self) -> set[int]:
    """Of checkpoints that are claimed by jobs that live, as far as this object has seen."""
    folder = pathlib.Path(self._folder)
    alive = [name for name in self.names() if not self._is_dead(folder / f"{name}.{_newest(folder, name)}")]
    return {int(name.rsplit("-", 1)[-1]) for name in alive if name.rsplit("-", 1)[-1].isdigit()}

  @contextlib.contextmanager
  def turn(self, name: str, pause_seconds: float = 0.2) -> Iterator[None]:
    """Waits for the claim and holds it for what happens inside."""
    while (claim := self.take(name)) is None:
      time.sleep(pause_seconds)
    with claim:
      yield

  def _is_dead(self, path: pathlib.Path) -> bool:
    try:
      look = (path.name, path.stat().st_mtime_ns)
    except FileNotFoundError:  # Given back this moment; the next look will see.
      return False
    name = path.stem
    if self._seen.get(name, (None, 0.0))[0] != look:
      self._seen[name] = (look, self._clock())
    return self._clock() - self._seen[name][1] >= self._silent_seconds


class Claim:
  """A claim that is held; a context that gives it back, however it ends."""

  def __init__(self, path: pathlib.Path | None, name: str, owner: str, beat_seconds: float = 10.0):
    self._path, self._name, self._owner, self._done = path, name, owner, threading.Event()
    self._thread = threading.Thread(target=self._beat, args=(beat_seconds,), daemon=True)
    if path is not None:
      self._thread.start()

  def held(self) -> bool:
    """Whether it is still this job's: nobody has thought it dead and replaced it."""
    if self._path is None:
      return True
    newest = f"{self._name}.{_newest(self._path.parent, self._name)}"
    return newest == self._path.name and _owner(self._path) == self._owner

  def give_back(self) -> None:
    """The work is done, or somebody else may try; no harm where the claim was replaced, or given back before."""
    if self._path is not None and not self._done.is_set():
      self._done.set()
      self._thread.join()
      if self.held():  # Those of the dead first: the newest one must be the last to go.
        for number in range(int(self._path.suffix[1:]) + 1):
          self._path.with_suffix(f".{number}").unlink(missing_ok=True)

  def __enter__(self) -> "Claim":
    return self

  def __exit__(self, *_) -> None:
    self.give_back()

  def _beat(self, seconds: float) -> None:
    while not self._done.wait(seconds):
      with contextlib.suppress(OSError):
        os.utime(self._path)


def _owner(path: pathlib.Path) -> str:
  try:
    return json.loads(path.read_text())["owner"]
  except (OSError, ValueError, KeyError):  # Gone, or this moment written.
    return ""


def _newest(folder: pathlib.Path, name: str) -> int:
  """The number of the newest claim of this name, -1 where there is none."""
  numbers = [path.suffix[1:] for path in folder.glob(f"{name}.*") if path.stem == name]
  return max((int(number) for number in numbers if number.isdigit()), default=-1)
