#!/usr/bin/env bash
# Trains on the GPUs of several SLURM nodes until results.json exists; one task for each GPU, joined by jax.distributed.
#
#   bash launch/slurm.sh --workdir=/shared/runs/mine --nodes=2 --partition=gpu -- --config=FILE --config.data.directory=/shared/data
#
# Called on a login node it makes the environment and submits itself; within an allocation (salloc) it runs there.
# Two minutes before its time is up the job saves and queues itself again; after a preemption or a node's failure SLURM
# does (--requeue). Repository, environment, data and workdir lie on a file system that all nodes share.
# Stop: scancel --signal=TERM --batch JOB (saves first). Go on: the same command.
# Evaluation beside it: --program=evaluate --nodes=1 --gpus_per_node=1.
set -euo pipefail

workdir=  # required: where checkpoints, metrics and results.json go
nodes=1  # how many
gpus_per_node=8  # and as many tasks
cpus_per_gpu=8  # they decode and prepare the clips
time=24:00:00  # after which the job is queued again
partition=  # the cluster's default if empty
account=  # likewise
options=  # further flags of sbatch, separated by blanks
name=vatt_jax  # of the job
logs=runs/slurm  # each job appends to LOGS/JOB.log
program=train  # or evaluate
source "$(dirname "$0")/common.sh"

# After one task has ended the others have five minutes: a crashed task takes the step with it, and all start together.
step=(srun "--cpus-per-task=$cpus_per_gpu" --kill-on-bad-exit=0 --wait=300 "${job[@]}")

# srun itself would take SIGTERM for a command to abort, which leaves tasks half a minute.
until_done=(
  bash launch/until_done.sh "--stop_with=scancel --signal=TERM ${SLURM_JOB_ID:-JOB}"
  "--requeue=scontrol requeue ${SLURM_JOB_ID:-JOB}" --
)

if [ -n "${SLURM_JOB_ID:-}" ]; then
  use_environment launch/requirements-cuda.txt
  hand_over "${until_done[@]}" "${step[@]}"
fi

again=(bash launch/slurm.sh "--workdir=$workdir" "--cpus_per_gpu=$cpus_per_gpu" "--program=$program" -- "$@")
submit=(
  sbatch "--job-name=$name" "--nodes=$nodes" "--ntasks-per-node=$gpus_per_node" "--gpus-per-node=$gpus_per_node"
  "--cpus-per-task=$cpus_per_gpu" "--time=$time" --requeue --open-mode=append "--output=$logs/%j.log"
  --signal=B:USR1@120  # B: the batch shell, which until_done.sh has replaced
)
if [ -n "$partition" ]; then submit+=("--partition=$partition"); fi
if [ -n "$account" ]; then submit+=("--account=$account"); fi
# shellcheck disable=SC2206  # Several flags.
submit+=($options)

use_environment launch/requirements-cuda.txt
run mkdir -p "$logs"
run "${submit[@]}" "--wrap=exec $(quoted "${again[@]}")"
if [ -n "$dry_run" ]; then
  echo "# the job:"
  quoted "${until_done[@]}" "${step[@]}"
fi
