#!/usr/bin/env bash
# Gets a Cloud TPU by a queued resource, trains on it, gets another when it is preempted, until results.json exists.
#
#   bash launch/tpu_queue.sh --name=mine --zone=us-west4-a --accelerator=v5litepod-16 --spot --workdir=gs://BUCKET/RUN -- --config=FILE --config.data.directory=gs://BUCKET/DATA
#
# Called where gcloud is, and left to run (tmux): it waits, starts launch/tpu_vm.sh, and gives the TPU back at the end.
# Interrupted, the training goes on; the same command takes it up again. After an error or --stop the TPU stays, and
# costs money, until --delete. Exit codes: 0 results.json exists, 2 the user's error, 1 too many crashes, 143 stopped.
set -euo pipefail

name=  # required: of the queued resource and its TPU
zone=  # required: such as us-west4-a
workdir=  # required: gs://..., for the machines come and go
accelerator=v5litepod-16  # the slice: v4-32, v5litepod-16, v5p-32, v6e-16 and so on
runtime=  # the machines' image; by default what fits the accelerator
spot=  # cheaper, and may be taken away at any time
options=  # further flags of `gcloud compute tpus queued-resources create`, separated by blanks
delete=  # give the TPU back, stopping what runs
stop=  # stop the training, keep the TPU
image=  # see launch/tpu_vm.sh, as for the next two
logs=runs/tpu  # where the log goes
program=train  # or evaluate
poll_seconds=60  # between looks at the queue
source "$(dirname "$0")/common.sh"

case "$workdir" in gs://*) ;; *) fail "--workdir=$workdir must be on gs://: the TPU's own disks vanish with it" ;; esac
case "$accelerator" in
  v6e-*) runtime="${runtime:-v2-alpha-tpuv6e}" ;;
  v5p-*) runtime="${runtime:-v2-alpha-tpuv5}" ;;
  v5lite*) runtime="${runtime:-v2-alpha-tpuv5-lite}" ;;
  *) runtime="${runtime:-tpu-ubuntu2204-base}" ;;
esac
if [ -n "$spot" ]; then options="--spot $options"; fi

queue() { run gcloud compute tpus queued-resources "$1" "$name" "--zone=$zone" "${@:2}"; }
state() { queue describe "--format=value(state.state)"; }
# shellcheck disable=SC2086  # Several flags.
create() { queue create "--node-id=$name" "--accelerator-type=$accelerator" "--runtime-version=$runtime" $options; }
give_back() { queue delete --force --quiet; }
finished() { run gcloud storage ls "$workdir/results.json"; }
train() {
  bash launch/tpu_vm.sh "--name=$name" "--zone=$zone" "--workdir=$workdir" "--image=$image" "--logs=$logs" \
    "--program=$program" ${stop:+--stop} ${dry_run:+--dry_run} -- "$@"
}

if [ -n "$dry_run" ]; then
  echo "# until this succeeds:"
  finished
  echo "# according to what this says:"
  state
  echo "# nothing:"
  create
  echo "# ACTIVE:"
  train "$@"
  echo "# FAILED or SUSPENDED (preempted), and at the end:"
  give_back
  exit
fi
if [ -n "$delete" ]; then
  give_back
  exit
fi
if [ -n "$stop" ]; then
  train
  exit
fi

until finished >/dev/null 2>&1; do
  now="$(state 2>/dev/null)" || now=NONE
  case "$now" in
    ACTIVE)
      code=0
      train "$@" || code=$?
      if [ "$code" = 0 ]; then break; fi
      if [ "$code" != 75 ] && ! finished >/dev/null 2>&1; then
        echo "the TPU stays; give it back with: bash launch/tpu_queue.sh --name=$name --zone=$zone --workdir=$workdir --delete" >&2
        exit "$code"
      fi
      ;;
    NONE) create || fail "the queued resource could not be created; gcloud says why above" ;;
    FAILED | SUSPENDED) give_back || true ;;
  esac
  echo "$(date +%H:%M:%S) $name: $now"
  sleep "$poll_seconds"
done
if state >/dev/null 2>&1; then give_back; fi
echo "done: $workdir/results.json"
