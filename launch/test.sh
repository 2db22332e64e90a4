#!/usr/bin/env bash
# Environment, lint, tests, two at a time. `--all` adds what is marked slow, and Apache Beam in an environment of its own;
# other arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

all=""
if [ "${1:-}" = --all ]; then
  all=1
  shift
fi
source launch/environment.sh tests/requirements.txt
ruff check .
ruff format --check --quiet .
# worksteal: each of the two begins with a half, so that neighbours share the runs that they look at.
python -m pytest -n 2 --dist worksteal -m "not slow" "$@"
if [ -n "$all" ]; then
  python -m pytest -n 2 --dist loadfile -m slow "$@"
  beam="$venv-beam"
  [ -x "$beam/bin/pytest" ] || { python -m venv "$beam" && "$beam/bin/pip" install --quiet -r launch/beam-requirements.txt "$(grep ^pytest== tests/requirements.txt)"; }
  "$beam/bin/python" -m pytest --confcutdir=tests/preparation tests/preparation/test_beam.py
fi
