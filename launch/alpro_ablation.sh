#!/usr/bin/env bash
# Table 1 of ALPRO on the demo set: which objectives of pretraining help retrieval after fine-tuning, over seeds.
#
#   bash launch/alpro_demo.sh && bash launch/alpro_ablation.sh
#
# Each row is pretrained and fine-tuned once a seed, and the table shows mean and deviation of text-to-video retrieval on
# the test split, by cosine and by matching. All rows have the teacher of alpro_demo.sh. Run it again and it goes on where it
# stopped; while it runs, and after, --table prints what there is. Settings:
#   --seeds="0 1 2"
#   --rows="none mlm_vtm no_pem no_vtc all"   none: fine-tuned from scratch; no_pem: with VTC; no_vtc: with PEM
#   --data=DIR     the prepared data (data)
#   --runs=DIR     the runs (runs/ablation)
#   --weights=DIR  of alpro_demo.sh (weights)
#   --table        prints the table only
#   --dry_run      prints the commands only
set -euo pipefail
cd "$(dirname "$0")/.."

data=data runs=runs/ablation weights=weights seeds="0 1 2" rows="none mlm_vtm no_pem no_vtc all" dry_run="" table=""
for argument in "$@"; do
  case "$argument" in
    --data=* | --runs=* | --weights=* | --seeds=* | --rows=*) name="${argument%%=*}"; printf -v "${name#--}" '%s' "${argument#*=}" ;;
    --dry_run) dry_run=1 ;;
    --table) table=1 ;;
    -h | --help) sed -n '2,16s/^# \{0,1\}//p' launch/alpro_ablation.sh; exit 0 ;;
    *) echo "error: unknown option $argument; --help lists them" >&2; exit 2 ;;
  esac
done

train() {  # CONFIG RUN SEED FURTHER_FLAGS...
  local flags=("--config=$1" "--workdir=$2" "--config.seed=$3" "--config.data.directory=$data/demo_clips"
    "--config.data.mixture=(('$data/demo_pictures', 1), ('$data/demo_clips', 1))" "${@:4}")
  [ -e "$2/results.json" ] && return
  echo "== python -m vatt_jax.train ${flags[*]}"
  [ -n "$dry_run" ] && return
  python -m vatt_jax.train "${flags[@]}"
  [ -e "$2/results.json" ] || { echo "stopped before the end; run the same command again to go on"; exit 0; }
}

set --  # A sourced file sees the arguments of its caller.
[ -n "$dry_run" ] || source launch/environment.sh
for seed in $([ -n "$table" ] || echo "$seeds"); do
  for row in $rows; do
    pretrained="" start=""
    if [ "$row" != none ]; then
      pretrained="$runs/$row-$seed/pretrained"
      case "$row" in no_vtc | all) start="$weights/demo_prompter" ;; esac
      argument="demo$([ "$row" = all ] || echo ",$row")"
      train "configs/pretrain/alpro.py:$argument" "$pretrained" "$seed" "--config.init_from=$start"
    fi
    train configs/finetune/msrvtt_retrieval.py:demo "$runs/$row-$seed/tuned" "$seed" "--config.init_from=$pretrained"
  done
done
[ -n "$dry_run" ] || python launch/ablation_table.py "$runs" "$rows"
