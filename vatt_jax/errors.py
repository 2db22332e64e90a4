"""Errors that are the user's, and how every program ends: 0 done, 2 the user's error (one sentence), 1 a bug.

130 is Ctrl-C, 141 a reader that has gone.
"""

from collections.abc import Callable, Iterator
import contextlib
import errno
import importlib
import os
import select
import signal
import sys

from absl import app, flags, logging


class UserError(Exception):
  """Something that the user can put right; the message is a sentence that says how."""


def run(main: Callable[[list[str]], None] | str) -> None:
  """Runs an absl program with the exit codes of the project. Its flags are defined already.

  Args:
    main: takes the arguments that are not flags; may raise `UserError`. Or the name of the module whose `main` that is,
      which is imported only when the flags are read: a program calls this above its own imports, so that `--help` and wrong
      flags are answered at once.
  """

  def guarded(argv):
    if not flags.FLAGS["verbosity"].present:  # What matters is printed by the programs themselves.
      logging.set_verbosity(logging.ERROR)
    try:
      (importlib.import_module(main).main if isinstance(main, str) else main)(argv)
    except UserError as error:
      _exit(str(error))
    except OSError as error:
      if error.errno not in _NO_PLACE:
        raise
      _exit(
        f"{error.filename or 'a file'} cannot be written: {error.strerror}. Make room there, or choose another place."
      )

  _open_what_is_closed()
  # TensorFlow loads Keras 3 at once, a quarter of the time to start, but Keras 2 only when asked; no program needs either.
  os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # Not in the background, where it is ignored.
    signal.signal(signal.SIGINT, _interrupted)
  try:
    app.run(guarded, flags_parser=_parse_flags)
  except KeyboardInterrupt:  # Of `cleaning_up`.
    _interrupted()
  except BrokenPipeError:
    if _is_read():  # Another pipe.
      raise
    sys.exit(_NOBODY_READS)
  finally:
    with contextlib.suppress(OSError):  # A full disk.
      _is_read()


def _open_what_is_closed() -> None:
  """Standard streams that are closed lead nowhere: else the next file has their number, and libraries print into it."""
  for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
    if getattr(sys, name) is None:
      setattr(sys, name, open(os.devnull, mode))  # It takes the lowest number that is free.


_NO_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # Whoever writes may say it better; nobody has to.
INTERRUPTED = 130  # 128 + SIGINT, as of every other program


def _interrupted(*_) -> None:
  """Ctrl-C ends a program there and then: while libraries are loaded or compile, an exception is lost or crashes them."""
  with contextlib.suppress(Exception):  # Ctrl-C may come while something is being printed.
    sys.stdout.flush()
  with contextlib.suppress(OSError):
    os.write(2, b"\nstopped by Ctrl-C.\n")
  os._exit(INTERRUPTED)


@contextlib.contextmanager
def cleaning_up() -> Iterator[None]:
  """In here Ctrl-C raises KeyboardInterrupt, for who has something to put away first."""
  if ends_there := signal.getsignal(signal.SIGINT) is _interrupted:
    signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    yield
  finally:
    if ends_there:
      signal.signal(signal.SIGINT, _interrupted)


_NOBODY_READS = 141  # Of a program that is cut short because its reader has gone: 128 + SIGPIPE, as of every other one.


def _is_read() -> bool:
  """Whether what is printed has a reader. Where that has gone, as `head` does, the rest goes nowhere, quietly."""
  poll = select.poll()
  poll.register(sys.stdout, 0)  # Errors are told without being asked for.
  try:
    sys.stdout.flush()
    gone = bool(poll.poll(0))
  except BrokenPipeError:
    gone = True
  if gone:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  return not gone


def _parse_flags(argv: list[str]) -> list[str]:
  if {"--help", "-h", "--helpshort", "-help"} & set(argv[1:]):
    print(f"{sys.modules['__main__'].__doc__}\nflags:\n{flags.FLAGS.main_module_help()}")
    sys.exit(0)
  try:
    arguments = flags.FLAGS(argv)
    if "config" in flags.FLAGS and flags.FLAGS.config is not None:
      flags.FLAGS.config.to_dict()  # A file that could not be loaded says so only when it is used.
    return arguments
  except flags.Error as error:
    if "Traceback" in str(error):  # An error inside of a config file.
      _exit(f"the config cannot be read: {last_line(error)}")
    _exit(f"{last_line(error)} ({argv[0]} --help lists the flags)")
  except (AttributeError, KeyError) as error:
    lines = [line.strip("'\\") for line in last_line(error).split("\\n")]  # KeyErrors of KeyErrors quote each other.
    _exit(f"a --config.NAME=VALUE names a field that the config does not have: {'. '.join(lines)}")
  except Exception as error:  # A config file is Python: reading one can fail in any way.
    _exit(f"the config cannot be read: {type(error).__name__}: {last_line(error)}")


def last_line(error: Exception) -> str:
  """The end of its message, which says the most."""
  return ([line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1]


def _exit(sentence: str) -> None:
  print(f"error: {sentence}", file=sys.stderr)
  sys.exit(2)
