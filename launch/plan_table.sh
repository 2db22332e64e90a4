#!/usr/bin/env bash
# Makes the table of plans in WORKSPACE.md: training steps compiled for accelerators that are not there.
#
#   bash launch/plan_table.sh
#   bash launch/plan_table.sh --models=mbs --topologies=tpu:v5p:4x4x4,gpu:h100:8
#
# Minutes for each cell on a few cores. A report that is there is not made again; a cell that fails is left out.
set -euo pipefail

models=mbs,bbs,ma_medium,lbs,alpro  # arguments of configs/pretrain/vatt.py, or alpro
topologies=tpu:v5p:4x4x4,tpu:v5e:8x16,gpu:h100:8,tpu:v4:4x4x4,tpu:v6e:8x8  # as of vatt_jax.plan
reports=runs/plan  # where the reports go
tpu_python=python  # of an environment with launch/requirements-tpu.txt
cuda_python=python  # of an environment with launch/requirements-cuda.txt
source "$(dirname "$0")/common.sh"

IFS=, read -ra models <<<"$models"
IFS=, read -ra topologies <<<"$topologies"
made=()
for topology in "${topologies[@]}"; do
  for model in "${models[@]}"; do
    report="$reports/$model-${topology//:/-}.json"
    command=("$tpu_python" -m vatt_jax.plan "--name=$model" "--topology=$topology" "--json=$report")
    case "$model" in
      alpro) command+=("--config=configs/pretrain/alpro.py:scratch,pod") ;;
      *) command+=("--config=configs/pretrain/vatt.py:$model,pod") ;;
    esac
    case "$topology" in
      gpu:*)  # A host of eight has no sixteen devices to split parameters among.
        command[0]="$cuda_python"
        command+=("--config.mesh=(1, -1, 1)")
        ;;
    esac
    if [ -e "$report" ] || run "${command[@]}"; then made+=("$report"); fi
  done
done
run "$tpu_python" -m vatt_jax.plan --table ${made[@]+"${made[@]}"}
