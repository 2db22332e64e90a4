#!/usr/bin/env bash
# ALPRO on the demo set, from nothing to retrieval of held-out names: prompter, entities, pretraining, fine-tuning.
#
#   bash launch/alpro_demo.sh
#
# Run it again and it goes on where it stopped. Each step is one command, printed before it runs. Settings:
#   --data=DIR     the prepared data (data)
#   --runs=DIR     the runs (runs)
#   --weights=DIR  what `prompt` writes (weights)
#   --prompts=NAME what entities are asked by: caption, as the demo set's captions read ("A cat."), or what `prompt --help`
#                  names (caption: a text encoder that has read nothing else does not know "A footage of")
#   --dry_run      prints the commands only
set -euo pipefail
cd "$(dirname "$0")/.."

data=data runs=runs weights=weights prompts=caption settings="data runs weights prompts"
source launch/steps.sh

train() {  # CONFIG NAME FURTHER_FLAGS...
  local config="$1" run="$runs/$2"
  shift 2
  step train --config="$config" --config.data.directory="$data/demo_clips" \
    --config.data.mixture="(('$data/demo_pictures', 1), ('$data/demo_clips', 1))" --workdir="$run" "$@"
  if [ -z "$dry_run" ] && [ ! -e "$run/results.json" ]; then
    echo "stopped before the end; run the same command again to go on"
    exit 0
  fi
}

[ -n "$dry_run" ] || source launch/environment.sh launch/nouns-requirements.txt
step prepare --source=demo:pictures --output="$data/demo_pictures"
step prepare --source=demo:clips --output="$data/demo_clips"
train configs/pretrain/prompter.py:demo demo_prompter
[ -e "$data/demo_nouns.txt" ] || step prompt --nouns_from="$data/demo_pictures" --most=120 --output="$data/demo_nouns.txt"
entities="$data/demo_nouns.txt"
if [ "$prompts" = caption ]; then
  entities="$data/demo_entities.txt"
  echo "== awk ... $data/demo_nouns.txt > $entities   # noun<TAB>A noun."
  [ -n "$dry_run" ] || awk -F'\t' '{ print $1 "\t" ($1 ~ /^[aeiou]/ ? "An " : "A ") $1 "." }' "$data/demo_nouns.txt" >"$entities"
fi
[ -e "$weights/demo_prompter" ] || step prompt --checkpoint="$runs/demo_prompter" --entities="$entities" \
  --prompts="${prompts/caption/templates}" --output="$weights/demo_prompter"
train configs/pretrain/alpro.py:demo demo_alpro --config.init_from="$weights/demo_prompter"
train configs/finetune/msrvtt_retrieval.py:demo demo_retrieval --config.init_from="$runs/demo_alpro"
echo "== done: open $runs/demo_alpro/report.html and $runs/demo_retrieval/report.html"
