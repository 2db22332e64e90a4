"""SHA-256 of files, remembered by path, size and time of change, so that a large folder is read once."""

import hashlib
import json
import os
import pathlib
import threading
import time

RACY_SECONDS = 2.0  # A file this young may change again without its time of change moving on.


class Digests:
  """Digests of files; those of earlier runs are remembered in a file of JSON lines.

  Safe to use from threads. Pickles to an instance that remembers nothing.
  """

  def __init__(self, memory: os.PathLike | str | None = None):
    self._memory = pathlib.Path(memory) if memory else None
    self._lock = threading.Lock()
    self._known: dict[str, tuple[int, int, str]] | None = None

  def __reduce__(self):
    return (Digests, ())

  def of(self, path: os.PathLike | str) -> str:
    """Hex SHA-256 of a file's bytes; OSError where it cannot be read."""
    path = os.path.abspath(path)
    status = os.stat(path)
    with self._lock:
      if self._known is None:
        self._known = self._load()
      size, changed, digest = self._known.get(path, (None, None, None))
    if (size, changed) == (status.st_size, status.st_mtime_ns):
      return digest
    with open(path, "rb") as file:
      digest = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time() - status.st_mtime > RACY_SECONDS:
      self._remember(path, status.st_size, status.st_mtime_ns, digest)
    return digest

  def _load(self):
    known = {}
    if self._memory and self._memory.exists():
      for line in self._memory.read_text("utf-8", errors="replace").splitlines():
        try:
          path, *entry = json.loads(line)
          size, changed, digest = entry
        except ValueError:  # The line that was being written when the run was killed.
          continue
        known[path] = (size, changed, digest)
    return known

  def _remember(self, path, size, changed, digest):
    with self._lock:
      self._known[path] = (size, changed, digest)
      if self._memory:
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        with self._memory.open("a", encoding="utf-8") as file:
          file.write(json.dumps([path, size, changed, digest]) + "\n")
