#!/usr/bin/env bash
# Runs a program of vatt_jax again and again until its WORKDIR/results.json exists; all launchers do.
#
#   bash launch/until_done.sh -- python -m vatt_jax.train --config=FILE --workdir=DIR
#
# Exit 0 without results.json means saved and stopped: it runs again. Exit 2 is the user's error: it stops. Anything else
# is a crash: it runs again, but not for ever. A command without --workdir runs once.
# SIGTERM and SIGINT go to the program as SIGTERM: it saves, and this ends, too. SIGUSR1 does the same, and then `requeue`.
# Its own exit codes: 0 results.json exists, 2 the user's error, 1 too many crashes, 128 + signal when stopped by one.
set -uo pipefail

retries=5  # crashes in a row after which it gives up
wait_seconds=10  # before it runs again; twice as long after each further crash
healthy_seconds=1800  # a run that lasts longer starts the count of crashes anew
stop_with=  # a command that tells the program to stop, where SIGTERM would not reach it
requeue=  # a command for the end after SIGUSR1
source "$(dirname "$0")/common.sh"

[ $# -gt 0 ] || fail "nothing to run: bash launch/until_done.sh -- COMMAND"
workdir=""
for argument in "$@"; do
  case "$argument" in --workdir=*) workdir="${argument#*=}" ;; esac
done
if [ -n "$dry_run" ]; then
  quoted "$@"
  if [ -n "$workdir" ]; then echo "# again until $workdir/results.json exists; at most $retries crashes in a row"; fi
  exit 0
fi

say() { echo "until_done: $1" >&2; }

finished() {
  case "$workdir" in
    # Object storage is asked in the way in which the programs write to it.
    *://*) python -c 'import sys; from etils import epath; sys.exit(not epath.Path(sys.argv[1]).exists())' "$workdir/results.json" ;;
    *) [ -e "$workdir/results.json" ] ;;
  esac
}

signal="" child=""
ask() { ${stop_with:-kill -TERM "$child"} 2>/dev/null; }
# shellcheck disable=SC2329  # The traps call it.
stop() {
  signal="$1"
  if [ -n "$child" ]; then ask; fi
}
for name in TERM INT USR1; do
  # shellcheck disable=SC2064  # The name is meant as it is now.
  trap "stop $name" "$name"
done

# Waits for a command as its parent, so that signals are handled while it runs.
attend() {
  local code=0
  "$@" &
  child=$!
  if [ -n "$signal" ]; then ask; fi  # It came in between.
  while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
  done
  child=""
  return "$code"
}

crashes=0
while [ -z "$signal" ]; do
  began=$SECONDS
  attend "$@"
  code=$?
  if [ -n "$signal" ]; then break; fi
  pause="$wait_seconds"
  case "$code" in
    0)
      if [ -z "$workdir" ] || finished; then exit 0; fi
      crashes=0
      say "saved and stopped without results.json; it goes on in $pause s"
      ;;
    2) exit 2 ;;
    *)
      if [ $((SECONDS - began)) -gt "$healthy_seconds" ]; then crashes=0; fi
      crashes=$((crashes + 1))
      if [ -z "$workdir" ] || [ "$crashes" -gt "$retries" ]; then
        say "exit code $code; gives up after $crashes crash(es) in a row"
        exit 1
      fi
      pause=$((wait_seconds * 2 ** (crashes - 1)))
      say "exit code $code, crash $crashes in a row of at most $retries; it goes on in $pause s"
      ;;
  esac
  attend sleep "$pause"
  # Of several hosts one writes results.json, and shared file systems may show it late.
  if [ "$code" = 0 ] && finished; then exit 0; fi
done

if [ -n "$workdir" ] && finished; then exit 0; fi
say "stopped by SIG$signal; the same command goes on from here"
if [ "$signal" = USR1 ] && [ -n "$requeue" ]; then
  # shellcheck disable=SC2086  # It is a command with arguments.
  $requeue
fi
exit $((128 + $(kill -l "$signal")))
