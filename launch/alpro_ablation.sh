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

data=data runs=runs/ablation weights=weights seeds="0 1 2" rows="none mlm_vtm no_pem no_vtc all" table=""
settings="data runs weights seeds rows table"
source launch/steps.sh

train() {  # CONFIG RUN SEED FURTHER_FLAGS...
  local flags=("--config=$1" "--workdir=$2" "--config.seed=$3" "--config.data.directory=$data/demo_clips"
    "--config.data.mixture=(('$data/demo_pictures', 1), ('$data/demo_clips', 1))" "${@:4}")
  [ -e "$2/results.json" ] && return
  step train "${flags[@]}"
  [ -n "$dry_run" ] || [ -e "$2/results.json" ] || { echo "stopped before the end; run the same command again to go on"; exit 0; }
}

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
