#!/usr/bin/env bash
# Trains on a Cloud TPU VM that exists, on all its workers, until results.json exists. Called where gcloud is.
#
#   bash launch/tpu_vm.sh --name=TPU --zone=us-west4-a --workdir=gs://BUCKET/RUN -- --config=FILE --config.data.directory=gs://BUCKET/DATA
#
# Each worker builds launch/Dockerfile from this checkout and runs it in a container that outlives the connection. Worker
# 0's log is shown and appended to LOGS/TPU.log. Interrupted (Ctrl-C), only the watching ends; the same command takes it
# up again, and starts what no longer runs, as after a maintenance of the machines.
# Stop: the same command with --stop; it saves first. A TPU that comes and goes: launch/tpu_queue.sh.
# Exit codes: 0 results.json exists, 2 the user's error, 1 too many crashes, 143 stopped, 75 the TPU is gone.
set -euo pipefail

name=  # required: of the TPU VM
zone=  # required: such as us-west4-a
workdir=  # required: gs://..., or a place that all workers mount
image=  # to pull instead of building one on each worker
stop=  # stop the training
logs=runs/tpu  # where the log goes
poll_seconds=30  # between looks at a TPU that does not answer
program=train  # or evaluate
source "$(dirname "$0")/common.sh"

on_workers() { run gcloud compute tpus tpu-vm ssh "$name" "--zone=$zone" "--worker=$1" "--command=$2"; }

# Renamed first: a container that is no longer there was stopped on purpose, one that ended fell with its machine.
if [ -n "$stop" ]; then
  on_workers all "sudo docker rename vatt_jax vatt_jax_stopped && sudo docker stop vatt_jax_stopped; sudo docker rm --force vatt_jax_stopped"
  exit
fi

send_image() {
  if [ -n "$image" ]; then
    on_workers all "sudo docker pull $image"
    return
  fi
  run tar czf "$sources" --exclude=./.git --exclude=./.venv --exclude=./runs --exclude=./data --exclude=__pycache__ . &&
  run gcloud compute tpus tpu-vm scp "$sources" "$name:vatt_jax.tar.gz" "--zone=$zone" --worker=all &&
  on_workers all "rm -rf vatt_jax && mkdir vatt_jax && tar xzf vatt_jax.tar.gz -C vatt_jax && sudo docker build --tag vatt_jax --build-arg REQUIREMENTS=launch/requirements-tpu.txt --file vatt_jax/launch/Dockerfile vatt_jax"
}

start() {
  # Five minutes to save when it is stopped. The TPU's devices and its metadata server want --privileged and --net=host.
  local container="--detach --name=vatt_jax --privileged --net=host --shm-size=16g --ulimit=memlock=-1 --stop-timeout=300"
  local running="sudo docker container inspect --format={{.State.Running}} vatt_jax 2>/dev/null | grep -q true"
  on_workers all "$running || { sudo docker rm --force vatt_jax 2>/dev/null; sudo docker run $container ${image:-vatt_jax} $(quoted "${job[@]}"); }"
}

watch() { on_workers 0 "sudo docker logs --follow --tail=100 vatt_jax" 2>&1 | tee -a "$logs/$name.log" || true; }
# shellcheck disable=SC2016  # The workers expand it.
exit_codes() { on_workers all 'echo exit=$(sudo docker wait vatt_jax 2>/dev/null)'; }
state() { run gcloud compute tpus tpu-vm describe "$name" "--zone=$zone" "--format=value(state)"; }

# Waits before the next try, unless there is nothing left to try it on.
pause() {
  local now
  now="$(state)" || now="not to be found"
  if [ "$now" != READY ]; then
    echo "$name is $now; when it is READY, the same command goes on" >&2
    exit 75
  fi
  echo "$name: $1; again in $poll_seconds s" >&2
  sleep "$poll_seconds"
}

sources="${TMPDIR:-/tmp}/vatt_jax.tar.gz"
if [ -n "$dry_run" ]; then
  send_image
  start
  on_workers 0 "sudo docker logs --follow --tail=100 vatt_jax"
  exit_codes
  echo "# all 0: done; a 2 or a 1: the same; no container: 143; else, while this says READY, from the start:"
  state
  exit
fi

mkdir -p "$logs"
until send_image; do pause "the image could not be made"; done
while true; do
  start && watch
  codes="$(exit_codes | grep -o '^exit=[0-9]*' | sort -u)" || true
  if [ "$codes" = exit=0 ]; then exit 0; fi
  for code in 2 1; do  # Whatever the others say.
    if grep -qx "exit=$code" <<<"$codes"; then exit "$code"; fi
  done
  if [ "$codes" = exit= ]; then
    echo "stopped; the same command without --stop goes on from here"
    exit 143
  fi
  pause "${codes:-its workers do not answer}"
done
