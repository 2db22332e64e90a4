"""The rules of the house that a program can check."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted((ROOT / "vatt_jax").rglob("*.py")) + sorted((ROOT / "configs").rglob("*.py"))

# Imports run downwards only: a room may use rooms below it, and files of its own.
PROGRAMS = {
  "train",
  "evaluate",
  "prepare",
  "convert",
  "prompt",
  "benchmark",
  "plan",
  "report",
  "embed",
  "doctor",
  "inspect",
  "api",
  "__init__",
}
ABOVE = {
  "benchmarks": {"jobs", "objectives", "preparation", "models", "losses", "data", "training", "evaluation"},
  "search": {"jobs", "preparation", "data", "training", "evaluation"},
  "export": {"jobs", "data", "training"},
  "inspection": {"jobs", "data", "training", "evaluation"},
  "conversion": {"models", "data", "training"},
  "jobs": {"objectives", "preparation", "models", "losses", "data", "training", "evaluation"},
  "objectives": {"models", "losses", "data", "training"},
  "preparation": set(),
  "evaluation": {"data", "training"},
  "training": set(),
  "data": set(),
  "losses": set(),
  "models": set(),
  "errors": set(),
  "cache": set(),
  "placement": set(),
  "storage": set(),
}
EVERYWHERE = {"errors", "cache", "placement", "storage"}


def imported_rooms(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vatt_jax":
      parts = node.module.split(".")
      yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]


@pytest.mark.parametrize("path", [p for p in FILES if "vatt_jax" in p.parts], ids=lambda p: p.name)
def test_imports_run_downwards(path):
  room = path.relative_to(ROOT / "vatt_jax").parts[0].removesuffix(".py")
  allowed = set(ABOVE) | {"api"} if room in PROGRAMS else ABOVE.get(room, set()) | {room} | EVERYWHERE
  assert set(imported_rooms(path)) <= allowed


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_files_and_functions_stay_readable(path):
  tree = ast.parse(path.read_text())
  assert len(path.read_text().splitlines()) <= 500
  for node in ast.walk(tree):
    if isinstance(node, ast.FunctionDef):
      limit = 60 if path.name == "step.py" else 80
      assert node.end_lineno - node.lineno < limit, f"{node.name} in {path}"


@pytest.mark.parametrize("path", [p for p in FILES if "vatt_jax" in p.parts], ids=lambda p: p.name)
def test_modules_and_public_functions_have_docstrings(path):
  tree = ast.parse(path.read_text())
  assert ast.get_docstring(tree) or not tree.body
  for node in tree.body:
    if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_") and node.name != "main":
      long = node.end_lineno - node.lineno > 6
      assert ast.get_docstring(node) or not long, f"{node.name} in {path}"
