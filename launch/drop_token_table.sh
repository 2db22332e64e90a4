#!/usr/bin/env bash
# What DropToken buys: at about equal FLOPs, dropped patches against smaller frames, fewer frames, larger patches and a
# narrower encoder, each trained on the demo set from scratch; only what the model sees of the picture differs.
#
#   python -m vatt_jax.prepare --source=demo --output=data/demo && bash launch/drop_token_table.sh
#
# All rows but the first take 36 to 39 GFLOP a step, the first, with all patches, 56. Run it again and it goes on where it
# stopped. At the end `report --compare` sets the runs beside each other. Settings:
#   --steps=600    of each run
#   --seed=0
#   --data=DIR     the prepared data (data/demo)
#   --runs=DIR     the runs and the page drop_token.html (runs/drop_token)
#   --dry_run      prints the commands only
set -euo pipefail
cd "$(dirname "$0")/.."

data=data/demo runs=runs/drop_token steps=600 seed=0 settings="data runs steps seed"
source launch/steps.sh

rows=(all_patches drop_half small_frames fewer_frames larger_patches narrower)

[ -n "$dry_run" ] || source launch/environment.sh
for row in "${rows[@]}"; do
  drop=0.0 flags=()
  case "$row" in
    all_patches) ;;
    drop_half) drop=0.5 ;;
    small_frames) flags=(--config.data.video.size=48) ;;
    fewer_frames) flags=(--config.data.video.frames=2 --config.data.video.frames_per_second=1.0) ;;
    larger_patches) flags=("--config.data.video.patch=(4, 8, 8)") ;;
    narrower) flags=(--config.model.video_size=3x84x336x4x21) ;;
  esac
  [ -e "$runs/$row/results.json" ] && continue
  step train --config=configs/pretrain/vatt_demo.py "--config.data.directory=$data" "--workdir=$runs/$row" \
    "--config.total_steps=$steps" "--config.seed=$seed" --config.model.agnostic=False --config.data.video.frames=4 \
    "--config.data.video.drop_rate=$drop" ${flags[@]+"${flags[@]}"}
  [ -n "$dry_run" ] || [ -e "$runs/$row/results.json" ] || { echo "stopped before the end; run the same command again to go on"; exit 0; }
done
step report "--compare=$(printf "$runs/%s," "${rows[@]}" | sed 's/,$//')" --nolook "--output=$runs/drop_token.html" \
  --metrics=eval/validation/video_to_text/recall_at_5,eval/test/video_to_text/recall_at_5
