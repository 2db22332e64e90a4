# shellcheck shell=bash
# Sourced by the other scripts: makes .venv with the pinned requirements and puts its python first on the PATH.
#   source launch/environment.sh [FURTHER_REQUIREMENTS_FILE...]
# VATT_JAX_VENV chooses another place for the environment.

venv="${VATT_JAX_VENV:-.venv}"

find_python() {
  for candidate in python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      echo "$candidate"
      return
    fi
  done
  echo "error: Python 3.11 or newer is needed (Debian 12, Ubuntu 24.04: apt-get install python3 python3-venv)." >&2
  return 1
}

make_venv() {
  local python
  python="$(find_python)" || return 1
  if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    # Debian ships venv separately, and a fresh image has no package lists.
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      { apt-get update -qq && apt-get install -y -qq "$(basename "$(readlink -f "$(command -v "$python")")")-venv"; } >/dev/null || true
    fi
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
      echo "error: $python cannot make virtual environments; as root: apt-get install python3-venv" >&2
      return 1
    fi
  fi
  "$python" -m venv "$venv"
}

install_requirements() {
  local files=(requirements.txt "$@") arguments=() stamp
  stamp="$venv/.installed-$(cat "${files[@]}" launch/constraints.txt | cksum | tr ' ' -)"
  if [ -e "$stamp" ]; then return; fi
  echo "installing ${files[*]} into $venv"
  for file in "${files[@]}"; do arguments+=(-r "$file"); done
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c launch/constraints.txt "${arguments[@]}" || return 1
  touch "$stamp"
}

{ [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; } || make_venv || exit 2
install_requirements "$@" || { echo "error: the requirements could not be installed; see above (network? disk?)." >&2; exit 2; }
PATH="$(cd "$venv/bin" && pwd):$PATH"
export PATH
