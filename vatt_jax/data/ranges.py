"""What the numbers of input options may be, so that a slip of the pen is told and not computed with."""


def check(options: object, *, positive: tuple[str, ...], shares: tuple[str, ...] = ()) -> None:
  """ValueError where a field, or a number of it, is not above 0, or a share is not in [0, 1)."""
  for name in positive:
    value = getattr(options, name)
    if any(number <= 0 for number in (value if isinstance(value, tuple | list) else (value,))):
      raise ValueError(f"{name} {value!r} is not positive")
  for name in shares:
    if not 0 <= getattr(options, name) < 1:
      raise ValueError(f"{name} {getattr(options, name)!r} is not at least 0 and below 1")
