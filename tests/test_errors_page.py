"""docs/errors.md quotes what the programs really say."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent


def templates():
  """Every string of the code, with … for what is put in."""
  for path in sorted((ROOT / "vatt_jax").rglob("*.py")):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
      elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


MESSAGES = re.findall(r"^\| `([^`]*)` \|", (ROOT / "docs" / "errors.md").read_text(), re.M)


@pytest.fixture(scope="module")
def code():
  return [" ".join(each.split()) for each in templates()]


@pytest.mark.parametrize("message", MESSAGES)
def test_the_code_says_so(message, code):
  """All pieces of the message between its … stand in one string of the code, in this order."""
  pattern = re.compile(".*".join(re.escape(piece.strip()) for piece in message.split("…")))
  assert any(pattern.search(each) for each in code)
