#!/bin/sh
# Render the furniture world again: sh render.sh LIBRARIES OUT [WORKERS]; LIBRARIES as in recipe/chairs/render.sh.
#   OUT gets furniture (the asset) and train/furniture (what furniture-mini is trained on)
# An interrupted run goes on where it was. Exit code 1 only says that some objects were too thin.
set -e
libraries=$1 out=$2 workers=${3:-2}
here=$(dirname "$0")
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
render() {
    tunemv3d data render "$libraries" --caption-rules "$here/../sweethome_captions.py" --renderer embree --no-geometry \
        --workers "$workers" "$@"
}

render --out "$out/furniture" --select "$here/packaged.txt" \
    --held-out "$here/held_out.txt" --views 24 --quality 70
render --out "$out/train/furniture" --exclude "$here/built_in.txt" --held-out "$here/held_out.txt" \
    --variants 1 --views 24 --quality 70 || test $? -eq 1
