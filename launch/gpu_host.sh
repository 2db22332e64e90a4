#!/usr/bin/env bash
# Trains on this machine's GPUs until results.json exists. One process drives them all.
#
#   bash launch/gpu_host.sh --workdir=runs/mine -- --config=configs/pretrain/vatt.py:bbs --config.data.directory=data/mine
#   bash launch/gpu_host.sh --check
#
# --check says whether this GPU can be trusted: loss and gradients against the CPU, bfloat16, flash attention, the same
# weights after a kill, and its utilization. What stands behind -- goes to launch/gpu_check.py.
# Stop it with Ctrl-C or SIGTERM: it saves; the same command goes on.
set -euo pipefail

workdir=  # where checkpoints, metrics and results.json go; required unless --check
program=train  # or evaluate, which follows the checkpoints of a run
check=  # test the GPU instead of training
requirements=launch/requirements-cuda.txt  # beside requirements.txt
source "$(dirname "$0")/common.sh"

[ -n "$check$workdir" ] || fail "--workdir is missing (or VATT_JAX_WORKDIR)"
use_environment "$requirements"
if [ -n "$check" ]; then hand_over python -m launch.gpu_check "$@"; fi
hand_over bash launch/until_done.sh -- "${job[@]}"
