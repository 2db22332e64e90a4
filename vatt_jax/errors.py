"""Errors that are the user's, and how every program ends: 0 done, 2 the user's error (one sentence), 1 a bug."""

from collections.abc import Callable
import sys

from absl import app, flags, logging


class UserError(Exception):
  """Something that the user can put right; the message is a sentence that says how."""


def run(main: Callable[[list[str]], None]) -> None:
  """Runs an absl program with the exit codes of the project.

  Args:
    main: takes the arguments that are not flags; may raise `UserError`.
  """

  def guarded(argv):
    if not flags.FLAGS["verbosity"].present:  # Libraries tell a lot at level INFO.
      logging.set_verbosity(logging.WARNING)
    try:
      main(argv)
    except UserError as error:
      _exit(str(error))

  app.run(guarded, flags_parser=_parse_flags)


def _parse_flags(argv: list[str]) -> list[str]:
  if {"--help", "-h", "--helpshort", "-help"} & set(argv[1:]):
    print(f"{sys.modules['__main__'].__doc__}\nflags:\n{flags.FLAGS.main_module_help()}")
    sys.exit(0)
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    _exit(f"{error} ({argv[0]} --help lists the flags)")
  except Exception as error:  # A config file is Python: reading one can fail in any way.
    _exit(f"the config cannot be read: {type(error).__name__}: {error}")


def _exit(sentence: str) -> None:
  print(f"error: {sentence}", file=sys.stderr)
  sys.exit(2)
