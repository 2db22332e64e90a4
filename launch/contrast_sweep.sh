#!/usr/bin/env bash
# How the contrast is made, on the demo set: temperature, weights of the pairs, one space or two, and what the pair of sound
# and text brings where the sound is speech, a sound effect, or both.
#
#   python -m vatt_jax.prepare --source=demo --output=data/demo && bash launch/contrast_sweep.sh
#
# All runs are the quickstart's with fewer steps; a row changes what its name says. Run it again and it goes on where it
# stopped. At the end `report --compare` puts all of them into one figure: R@5, the entropy of the softmax, and how well
# right pairs stand out (AUC). Settings:
#   --steps=600    of each run
#   --seed=0
#   --data=DIR     where data/demo and data/demo_effects lie (data)
#   --runs=DIR     the runs and the page contrast.html (runs/contrast)
#   --dry_run      prints the commands only
set -euo pipefail
cd "$(dirname "$0")/.."

data=data runs=runs/contrast steps=600 seed=0 settings="data runs steps seed"
source launch/steps.sh

[ -n "$dry_run" ] || source launch/environment.sh
[ -e "$data/demo_effects/preparation.json" ] || step prepare --source=demo:effects "--output=$data/demo_effects"

no_sound_text=--config.objective.pairs.audio_text=0.0
effects="(('$data/demo_effects', 1),)" both="(('$data/demo', 1), ('$data/demo_effects', 1))"
# NAME|FLAGS, the first with everything as the quickstart has it: temperature 0.07, weights 1 2 1, two spaces.
rows=(
  "as the quickstart: |"
  "temperature: 0.02|--config.objective.temperature=0.02"
  "temperature: 0.2|--config.objective.temperature=0.2"
  "temperature: 0.5|--config.objective.temperature=0.5"
  "temperature: learned|--config.objective.learned_temperature=True"
  "video-text: weight 1|--config.objective.pairs.video_text=1.0"
  "video-text: weight 4|--config.objective.pairs.video_text=4.0"
  "space: joint|--config.model.head=joint"
  "speech: without audio-text|$no_sound_text"
  "effects: without audio-text|--config.data.mixture=$effects|$no_sound_text"
  "effects: with audio-text|--config.data.mixture=$effects"
  "both: without audio-text|--config.data.mixture=$both|$no_sound_text"
  "both: with audio-text|--config.data.mixture=$both"
)
places=() names=()
for row in "${rows[@]}"; do
  IFS='|' read -ra parts <<<"$row"
  name="${parts[0]}"
  place="$runs/$(tr -cs 'a-z0-9.\n' _ <<<"$name" | sed 's/_*$//')"
  places+=("$place") names+=("$name")
  [ -e "$place/results.json" ] && continue
  step train --config=configs/pretrain/vatt_demo.py:effects "--config.data.directory=$data/demo" "--workdir=$place" \
    "--config.total_steps=$steps" "--config.seed=$seed" "--config.evaluators.effects_validation.directory=$data/demo_effects" \
    "--config.evaluators.effects_test.directory=$data/demo_effects" "${parts[@]:1}"
  [ -n "$dry_run" ] || [ -e "$place/results.json" ] || { echo "stopped before the end; run the same command again to go on"; exit 0; }
done
join() { local IFS=,; echo "$*"; }
figures=()
for figure in test/audio_to_text test/video_to_text test/audio_to_video effects_test/audio_to_text effects_test/audio_to_video; do
  figures+=("eval/$figure/recall_at_5")
done
for pair in audio_to_text video_to_text audio_to_video; do figures+=("eval/test/$pair/softmax_entropy" "eval/test/$pair/auc"); done
for pair in audio_to_text audio_to_video; do figures+=("eval/effects_test/$pair/auc"); done
step report "--compare=$(join "${places[@]}")" "--names=$(join "${names[@]}")" "--metrics=$(join "${figures[@]}")" --nolook \
  "--output=$runs/contrast.html"
