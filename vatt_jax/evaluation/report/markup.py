"""HTML and SVG from Python, escaped unless it was made here: captions are data and may hold anything."""

from collections.abc import Iterable
import html

_VOID = {"img", "meta"}


class Markup(str):
  """Text that already is markup; every other string is escaped when it enters a `tag`."""


def tag(name: str, /, *children, **attributes) -> Markup:
  """One element.

  Args:
    name: such as "div" or "path".
    *children: strings (escaped), `Markup` (kept), other values (their text), None (nothing), or iterables of these.
    **attributes: `class_` means class, `stroke_width` means stroke-width; None and False leave an attribute out, True
      writes it without a value.
  """
  written = "".join(_attribute(key, value) for key, value in attributes.items())
  return Markup(f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable) -> Markup:
  """Children of an element, one after the other, escaped as in `tag`."""
  return Markup("".join(_child(child) for child in children))


def _attribute(key: str, value) -> str:
  if value is None or value is False:
    return ""
  key = key.rstrip("_").replace("_", "-")
  return f" {key}" if value is True else f' {key}="{html.escape(str(value))}"'


def _child(child) -> str:
  if child is None:
    return ""
  if isinstance(child, Markup):
    return child
  if isinstance(child, Iterable) and not isinstance(child, str):
    return join(child)
  return html.escape(str(child))
