#!/usr/bin/env bash
# Environment, lint, tests. `--all` adds what is marked slow; other arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

arguments=(-m "not slow")
if [ "${1:-}" = --all ]; then
  arguments=()
  shift
fi
source launch/environment.sh tests/requirements.txt
ruff check .
ruff format --check --quiet .
python -m pytest ${arguments[@]+"${arguments[@]}"} "$@"
