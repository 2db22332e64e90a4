# shellcheck shell=bash
# Sourced by the launchers: one way to read settings, to print what would be done, and to do it.
#
# A launcher's settings are its lines `name=default  # meaning`. Each may be given as --name=VALUE or as VATT_JAX_NAME in
# the environment; one whose meaning begins with "required" must be; --name alone means --name=1. What stands behind `--`
# is left in "$@" and goes to the program. Works with bash 3.2, which is what macOS has.

fail() {
  echo "error: $1" >&2
  exit 2
}

_settings="$(sed -nE 's/^([a-z_]+)=([^ ]*)  # (.*)$/\1|\2|\3/p' "$0")"

_help() {
  sed -nE '2,/^[^#]/s/^# ?//p' "$0"
  printf '\nsettings, as --NAME=VALUE or as VATT_JAX_NAME in the environment:\n'
  while IFS='|' read -r _name _default _meaning; do
    printf '  --%-16s %s\n' "$_name" "$_meaning${_default:+ (default: $_default)}"
  done <<<"$_settings"
  printf '  --%-16s %s\n' dry_run "print what would be done, and do nothing"
}

_in_environment() { tr '[:lower:]' '[:upper:]' <<<"VATT_JAX_$1"; }

while IFS='|' read -r _name _; do
  _variable="$(_in_environment "$_name")"
  if [ -n "${!_variable:-}" ]; then printf -v "$_name" %s "${!_variable}"; fi
done <<<"$_settings"

dry_run="" _behind="" _rest=()
for _argument in "$@"; do
  _name="${_argument%%=*}" _name="${_name#--}"
  if [ -n "$_behind" ]; then
    _rest+=("$_argument")
  elif [ "$_argument" = -- ]; then
    _behind=yes
  elif [ "$_argument" = --help ] || [ "$_argument" = -h ]; then
    _help
    exit 0
  elif [ "$_argument" = --dry_run ]; then
    dry_run=yes
  elif grep -q "^$_name|" <<<"$_settings"; then
    case "$_argument" in *=*) printf -v "$_name" %s "${_argument#*=}" ;; *) printf -v "$_name" 1 ;; esac
  else
    fail "unknown option $_argument; --help lists the settings, and what is meant for the program stands behind --"
  fi
done
set -- ${_rest[@]+"${_rest[@]}"}

while IFS='|' read -r _name _ _meaning; do
  case "$_meaning" in
    required*) [ -n "${!_name}" ] || fail "--$_name is missing (or $(_in_environment "$_name")): ${_meaning#required: }" ;;
  esac
done <<<"$_settings"
[ -e launch/common.sh ] || fail "run it from the root of the repository: cd $(cd "$(dirname "$0")/.." && pwd)"

# A command as one would type it.
quoted() {
  local word text="" quote="'" inside="'\\''"
  for word in "$@"; do
    case "$word" in
      "" | *[!A-Za-z0-9_./:=,@%+-]*) word="'${word//$quote/$inside}'" ;;
    esac
    text="$text $word"
  done
  echo "${text:1}"
}

run() { if [ -n "$dry_run" ]; then quoted "$@"; else "$@"; fi; }

# The last thing a launcher does: the program takes the shell's place, so that signals reach it.
hand_over() {
  run exec "$@"
  exit
}

use_environment() {
  if [ -n "$dry_run" ]; then
    quoted source launch/environment.sh "$@"
  else
    source launch/environment.sh "$@"
  fi
}

# `job` is the command of a launcher that has the settings `program` and `workdir`.
if [ -n "${program:-}" ]; then
  : "${workdir:=}"
  job=(python -m "vatt_jax.$program" "--workdir=$workdir")
  if [ "$program" = evaluate ]; then job+=(--follow); fi
  job+=("$@")
fi
