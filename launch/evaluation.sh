#!/usr/bin/env bash
# Evaluates each new checkpoint of a training that runs elsewhere, or here, until that training is done.
#
#   bash launch/evaluation.sh --workdir=gs://BUCKET/RUN
#
# On the CPU unless told otherwise, so that it may run beside a training that has the accelerators. Further flags of
# `evaluate` stand behind --, such as -- --config=FILE for other evaluators. Figures go to WORKDIR/eval.jsonl.
# Stop it with Ctrl-C or SIGTERM; the same command goes on with what has not been evaluated.
set -euo pipefail

workdir=  # required: of the training; it need not exist yet
device=cpu  # cpu, cuda or tpu
program=evaluate  # what runs
source "$(dirname "$0")/common.sh"

case "$device" in
  cpu)
    run export JAX_PLATFORMS=cpu
    use_environment
    ;;
  cuda | tpu) use_environment "launch/requirements-$device.txt" ;;
  *) fail "--device=$device is not one of cpu, cuda, tpu" ;;
esac
hand_over bash launch/until_done.sh -- "${job[@]}"
