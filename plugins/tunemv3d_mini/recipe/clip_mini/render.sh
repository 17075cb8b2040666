#!/bin/sh
# Render what clip-mini is trained and measured on: sh render.sh LIBRARIES OUT [WORKERS]; LIBRARIES as in recipe/chairs/render.sh.
#   OUT gets chairs, furniture (for training) and held_out (the held-out objects of both worlds with variants, for the figures)
# An interrupted run goes on where it was. Exit code 1 only says that some objects were too thin.
set -e
libraries=$1 out=$2 workers=${3:-2}
here=$(dirname "$0")
held_out=$here/../furniture/held_out.txt
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
mkdir -p "$out"
render() {
    tunemv3d data render "$libraries" --caption-rules "$here/../sweethome_captions.py" --renderer embree --no-geometry \
        --workers "$workers" --resolution 64 --views 8 --quality 90 "$@" || test $? -eq 1
}

cat "$held_out" "$here/../furniture/built_in.txt" "$here/../chairs/chairs.txt" > "$out/not_furniture.txt"
render --out "$out/held_out" --select "$held_out" --variants 7
render --out "$out/chairs" --select "$here/../chairs/chairs.txt" --exclude "$held_out" --variants 31
render --out "$out/furniture" --exclude "$out/not_furniture.txt" --variants 2
