#!/usr/bin/env bash
# The table of plans in WORKSPACE.md: every published pretraining on every kind of accelerator, compiled without any.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
usage: bash launch/plan_table.sh [--dry_run] [CONFIG:TOPOLOGY ...]

Compiles training steps and prints a Markdown table, minutes for each cell. Without arguments all of
  mbs bbs lbs ma_medium alpro  on  tpu:v5p:4x4x4 tpu:v5e:8x16 tpu:v4:4x4x4 tpu:v6e:8x8 gpu:h100:8
or only those that are named, such as mbs:tpu:v5p:4x4x4. Reports that stand in $REPORTS are not made again.

  REPORTS      where they go (runs/plan)
  TPU_PYTHON   python with the packages of launch/requirements-tpu.txt (python)
  CUDA_PYTHON  python with the packages of launch/requirements-cuda.txt (python)
TEXT
}

reports=${REPORTS:-runs/plan}
run=()
cells=()
for argument in "$@"; do
  case $argument in
    --help | -h) usage; exit 0 ;;
    --dry_run) run=(echo) ;;
    -*) echo "error: unknown option $argument; --help lists them" >&2; exit 2 ;;
    *) cells+=("$argument") ;;
  esac
done
if [ ${#cells[@]} -eq 0 ]; then
  for topology in tpu:v5p:4x4x4 tpu:v5e:8x16 gpu:h100:8 tpu:v4:4x4x4 tpu:v6e:8x8; do
    for config in mbs bbs ma_medium lbs alpro; do cells+=("$config:$topology"); done
  done
fi

mkdir -p "$reports"
files=()
for cell in "${cells[@]}"; do
  name=${cell%%:*} topology=${cell#*:}
  config=configs/pretrain/vatt.py:$name,pod
  [ "$name" = alpro ] && config=configs/pretrain/alpro.py:scratch,pod
  options=() python=${TPU_PYTHON:-python}
  if [ "${topology%%:*}" = gpu ]; then
    options=("--config.mesh=(1, 8, 1)") python=${CUDA_PYTHON:-python}
    [ "$name" = alpro ] || options+=("--config.accumulate=8")
  fi
  file=$reports/$name-${topology//:/-}.json
  files+=("$file")
  [ -e "$file" ] || "${run[@]}" "$python" -m vatt_jax.plan --name="$name" --config="$config" --topology="$topology" \
    "${options[@]}" --json="$file" || [ $? -eq 1 ]  # One that fails leaves a gap in the table.
done
made=()
for file in "${files[@]}"; do [ -e "$file" ] && made+=("$file"); done
"${run[@]}" "${TPU_PYTHON:-python}" -m vatt_jax.plan --table "${made[@]}"
