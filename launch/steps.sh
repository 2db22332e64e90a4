# shellcheck shell=bash
# Sourced by scripts that run several programs, one after the other; `settings` names the variables that options may set:
#
#   data=data runs=runs settings="data runs"
#   source launch/steps.sh
#
# --NAME=VALUE sets one of them, --NAME alone to 1; with --dry_run steps are printed and not run; --help prints the comment at
# the top of the script. Afterwards "$@" is empty, as launch/environment.sh would take it for its own.

dry_run=""
for argument in "$@"; do
  case "$argument" in
    --dry_run) dry_run=1; continue ;;
    -h | --help) sed -nE '2,/^[^#]/s/^# ?//p' "launch/$(basename "$0")"; exit 0 ;;
  esac
  name="${argument%%=*}" value=1
  case "$argument" in *=*) value="${argument#*=}" ;; esac
  case " ${settings:?} " in
    *" ${name#--} "*) printf -v "${name#--}" %s "$value" ;;
    *) echo "error: unknown option $argument; --help lists them" >&2; exit 2 ;;
  esac
done
set --

step() {  # PROGRAM FLAGS...
  echo "== python -m vatt_jax.$*"
  [ -n "$dry_run" ] || python -m "vatt_jax.$1" "${@:2}"
}
