#!/bin/sh
# Tune chairs-mini on a GPU: sh chairs_mini.sh TRAIN_DIR OUT STEPS [--set a.b=value ...]. Started again, it goes on where it
# was.
set -e
data=$1 out=$2 steps=$3
shift 3
resume=$([ -d "$out/checkpoints" ] && echo --resume || true)
tunemv3d-train chairs-mini --out "$out" --steps "$steps" $resume \
    --set data.path="$data" --set data.cache_latents=true --set 'model.lifter={"type": "lora-encoder", "rank": 32}' \
    --set train.batch=8 --set train.precision=bf16 --set train.cuda_graph=true --set train.ema=0.999 \
    --set train.log_every=100 --set train.checkpoint_every=2000 --set train.keep=1 --set optimizer.warmup=200 \
    --set model.field.samples=8 --set model.field.fine_samples=16 --set views.novel_pixels=0.25 \
    --set loss.mask=0.5 --set loss.weighting=v --set loss.eikonal=0.01 \
    --set 'optimizer.lr_scale={"field": 1.5, "field.network.distance_seen": 5, "field.network.value_seen": 5,
        "lifter": 1.0, "lifter.stem": 0.5, "injector": 0.5}' "$@"
