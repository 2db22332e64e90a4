#!/usr/bin/env bash
# From a fresh machine to encoders and a report: environment, data, training, evaluation.
#
#   bash launch/quickstart.sh                    the demo set: pictures, voices that name them, the names
#   bash launch/quickstart.sh --source=FOLDER    your own videos
#
# Run it again and it goes on where it stopped. Further options go to `prepare`:
#   --output=DIR   the prepared data (data/demo, or data/FOLDER's name)
#   --workdir=DIR  the run (runs/demo, or runs/FOLDER's name)
set -euo pipefail
started=$(pwd)
cd "$(dirname "$0")/.."

from=demo output="" workdir="" config=configs/pretrain/vatt_demo.py prepare_flags=()
for argument in "$@"; do
  case "$argument" in
    --source=*) from="${argument#*=}" ;;
    --output=*) output="${argument#*=}" ;;
    --workdir=*) workdir="${argument#*=}" ;;
    --config=*) config="${argument#*=}" ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' launch/quickstart.sh; exit 0 ;;
    --*=*) prepare_flags+=("$argument") ;;
    *) echo "error: unknown option $argument (--source=FOLDER, --output=DIR, --workdir=DIR)" >&2; exit 2 ;;
  esac
done
# shellcheck disable=SC2088  # A tilde that the shell has left as it was.
absolute() { case "$1" in /*) echo "$1" ;; "~/"*) echo "$HOME/${1#"~/"}" ;; *) echo "$started/$1" ;; esac; }
name=demo
if [ "$from" != demo ]; then
  from="$(absolute "$from")"
  if [ -d "$from" ]; then
    from="$(cd "$from" && pwd)"
    name="$(basename "$from")"
  else
    name="$(basename "${from%.*}")"
  fi
fi
[ -e "${config%%:*}" ] || config="$(absolute "$config")"
output="${output:+$(absolute "$output")}"
output="${output:-data/$name}"
workdir="${workdir:+$(absolute "$workdir")}"
workdir="${workdir:-runs/$name}"

echo "== environment"
set --  # A sourced file sees the arguments of its caller.
source launch/environment.sh
echo "== data: $from -> $output"
python -m vatt_jax.prepare --source="$from" --output="$output" ${prepare_flags[@]+"${prepare_flags[@]}"}
echo "== training and evaluation: $workdir"
python -m vatt_jax.train --config="$config" --config.data.directory="$output" --workdir="$workdir"
if [ ! -e "$workdir/results.json" ]; then
  echo "stopped before the end; run the same command again to go on"
  exit 0
fi
echo "== done: open $(cd "$workdir" && pwd)/report.html"
