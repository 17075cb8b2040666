#!/bin/sh
# Render the datasets of this package again: sh render.sh LIBRARIES OUT [WORKERS]
#   LIBRARIES  folder with the five .sh3f files of Debian's sweethome3d-furniture 1.8:
#              apt-get download sweethome3d-furniture && dpkg-deb -x sweethome3d-furniture_1.8-1_all.deb unpacked
#              then unpacked/usr/share/sweethome3d/furniture
#   OUT        gets chairs (the asset), train/chairs and train/furniture (what sd-mini and chairs-mini are trained on)
# An interrupted run goes on where it was. Exit code 1 at the furniture only says that some objects were too thin.
set -e
libraries=$1 out=$2 workers=${3:-2}
here=$(dirname "$0")
held_out=$here/held_out.txt
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
render() {
    tunemv3d data render "$libraries" --caption-rules "$here/../sweethome_captions.py" --renderer embree --no-geometry \
        --workers "$workers" "$@"
}

render --out "$out/chairs" --select "$here/chairs.txt" --held-out "$held_out"
render --out "$out/train/chairs" --select "$here/chairs.txt" --held-out "$held_out" \
    --variants 7 --quality 85
cat "$held_out" "$here/../furniture/built_in.txt" > "$out/train/left_out.txt"
render --out "$out/train/furniture" --exclude "$out/train/left_out.txt" \
    --variants 1 --views 10 --quality 80 || test $? -eq 1
