#!/bin/sh
# Tune chairs-mini on a GPU: sh train.sh TRAIN_DIR OUT STEPS [--set a.b=value ...]. Started again, it goes on where it was.
set -e
data=$1 out=$2 steps=$3
shift 3
resume=$([ -d "$out/checkpoints" ] && echo --resume || true)
tunemv3d-train chairs-mini --out "$out" --steps "$steps" $resume \
    --set data.path="$data" --set train.batch=8 --set train.precision=bf16 --set train.cuda_graph=true \
    --set train.ema=0.999 --set optimizer.warmup=200 --set train.log_every=100 --set train.checkpoint_every=500 "$@"
