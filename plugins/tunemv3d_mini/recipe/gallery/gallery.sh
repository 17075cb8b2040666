#!/bin/sh
# The gallery of the packaged adapters: sh gallery.sh OUT [DEVICE]. OUT is a new folder; OUT/gallery.html is the page.
set -e
here=$(dirname "$0") out=$1 device=$2
[ -n "$out" ] && [ ! -e "$out" ] || { echo "gallery.sh OUT [DEVICE]: OUT should be a folder that is not there yet" >&2; exit 2; }

# Exit code 1 tells of an object that failed: it is not left out, the page shows what there is of it.
go() { tunemv3d "$@" || [ $? -eq 1 ]; }

for kind in chairs furniture; do
    go sample "$kind-mini" --prompts "$here/${kind}_prompts.txt" --seeds 0-1 --strip --video --device "$device" \
        --out "$out/$kind-mini"
    go mesh "$out/$kind-mini" --faces 1000 --texture 256 --device "$device"
done
go report "$out/chairs-mini" "$out/furniture-mini" --compact --title "chairs-mini and furniture-mini, uncurated" \
    --out "$out/gallery.html"
