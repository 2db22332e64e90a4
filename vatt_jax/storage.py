"""File systems that fail now and then: buckets, network drives."""

from collections.abc import Callable
import errno
import functools
import random
import time

from etils import epath
from etils.epath import backend as epath_backends

ATTEMPTS = 6  # the last one after half a minute
_PASSING = {
  errno.EIO, errno.EAGAIN, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED,
  errno.ECONNABORTED, errno.EPIPE, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EREMOTEIO,
}  # fmt: skip
_PASSING_CODES = {  # of TensorFlow's errors: cancelled, unknown, deadline, exhausted, aborted, internal, unavailable
  1, 2, 4, 8, 10, 13, 14,
}  # fmt: skip
_OPERATIONS = (
  "open", "exists", "isdir", "listdir", "glob", "makedirs", "mkdir", "rmtree", "remove", "rename", "replace", "copy", "stat",
)  # fmt: skip
_DONE_ONCE = {"rmtree", "remove", "rename", "replace"}  # A try whose answer was lost may have done it.


def write(path: epath.Path, content: bytes | str) -> None:
  """The file appears complete or not at all, whenever the process ends."""
  partial = path.with_name(f".{path.name}.partial")
  partial.write_bytes(content.encode() if isinstance(content, str) else content)
  partial.replace(path)


def is_passing(error: BaseException) -> bool:
  """Whether the same call may go well a moment later; a missing file, a full disk or a forbidden one stay so."""
  if isinstance(error, OSError) and error.errno is not None:
    return error.errno in _PASSING
  return isinstance(error, ConnectionError | TimeoutError) or getattr(error, "error_code", None) in _PASSING_CODES


def persistently(function: Callable, *args, pause_seconds: float = 1.0, done_once: bool = False, **kwargs):
  """function(*args, **kwargs), tried again after errors that pass, each time after twice the pause.

  Args:
    done_once: that something is missing in a second try means that the first has done its work.
  """
  for attempt in range(ATTEMPTS):
    try:
      return function(*args, **kwargs)
    except FileNotFoundError:
      if done_once and attempt:
        return None
      raise
    except Exception as error:
      if not is_passing(error) or attempt == ATTEMPTS - 1:
        raise
    time.sleep(pause_seconds * 2**attempt * random.uniform(0.5, 1.0))  # Not all hosts at the same moment.


def retry_passing_errors(pause_seconds: float = 1.0) -> Callable[[], None]:
  """From now on every operation through `epath`, Orbax's too, is tried again after errors that pass.

  Returns:
    A function that undoes it.
  """
  undo = []
  for backend in (epath_backends.os_backend, epath_backends.tf_backend, epath_backends.fsspec_backend):
    for name in _OPERATIONS:
      plain = getattr(backend, name)
      if not hasattr(plain, "retried"):
        again = functools.partial(persistently, plain, pause_seconds=pause_seconds, done_once=name in _DONE_ONCE)
        again.retried = True
        setattr(backend, name, again)
        undo.append(functools.partial(setattr, backend, name, plain))
  return lambda: [restore() for restore in undo]
