"""Do the mesh renderers agree, and what does a view cost? On ten real objects of the Sweet Home 3D libraries.

Run it as ``python benchmarks/mesh_renderers.py FOLDER [--renderers embree,moderngl,blender] [--resolution 128]
[--views 24] [--sheet sheet.png]``; FOLDER holds the .sh3f files (Debian: sweethome3d-furniture). The first renderer is
the measure of the others. Times are of one process: wall, and processor time of all its threads and children; loading
is not counted, the first object (which compiles shaders) is.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import ComponentError
from tunemv3d_data.meshes.mesh import Mesh, load_mesh
from tunemv3d_data.renderers.light import STUDIO
from tunemv3d_data.rendering.one_object import build_renderer
from tunemv3d_data.rendering.viewpoints import viewpoints
from tunemv3d_data.sources.reading import read_sources

OBJECTS = {
    "reallusion-sitfemale01": "a person, all textures",
    "scopia-christmas-tree": "needles as texels",
    "scopia-bonsai-tree": "leaves as texels",
    "blend-swap-cc-0-antiquechair": "a wicker seat with holes as texels",
    "scopia-bicycle": "spokes as texels, thin tubes",
    "scopia-beach-chair": "sheets with both their sides, thin legs",
    "scopia-sycamoremaple": "154,000 faces",
    "blend-swap-cc-0-drawerscabinet": "a few large textured faces",
    "scopia-yamaha-yzr-r6": "17 materials",
    "kator-legaz-screen-door": "textures that repeat often",
}
Views = dict[str, Any]


def render(renderer: Any, mesh: Mesh, cameras: Cameras, resolution: int) -> tuple[Views, float, float]:
    """All views stacked, seconds of wall and of processor time."""
    wall, processor = time.perf_counter(), sum(os.times()[:4])
    views = list(renderer(mesh, cameras, (resolution, resolution), STUDIO))
    wall, processor = time.perf_counter() - wall, sum(os.times()[:4]) - processor
    return {name: np.stack([view[name] for view in views]) for name in views[0]}, wall, processor


def agreement(one: Views, other: Views) -> dict[str, float]:
    """Silhouettes at half coverage; the rest where both cover the pixel whole."""
    shown = [views["rgba"][..., 3] > 127 for views in (one, other)]
    whole = (one["rgba"][..., 3] == 255) & (other["rgba"][..., 3] == 255)
    depth = np.abs(one["depth"] - other["depth"])[whole] / one["depth"][whole]
    colour = np.abs(one["rgba"].astype(int) - other["rgba"])[whole][:, :3]
    return {
        "iou": float((shown[0] & shown[1]).sum() / (shown[0] | shown[1]).sum()),
        "depth_error": float(depth.mean()),
        "depth_off_by_1_percent": float((depth > 0.01).mean()),
        "normal_cosine": float((one["normals"] * other["normals"]).sum(-1)[whole].mean()),
        "albedo_difference": float(np.abs(one["albedo"].astype(int) - other["albedo"])[whole].mean()),
        "colour_difference": float(colour.mean()),
        "same_material": float((one["material"] == other["material"])[whole].mean()),
    }


def sheet(rows: list[list[Any]], path: Path) -> None:
    """Objects below one another, renderers side by side, on white."""
    grid = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    white = Image.new("RGBA", grid.shape[1::-1], (255, 255, 255, 255))
    white.alpha_composite(Image.fromarray(grid))
    white.convert("RGB").save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--renderers", default="embree,moderngl,blender")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    renderers: dict[str, Any] = {}
    for name in options.renderers.split(","):
        try:
            renderers[name] = build_renderer(name)
        except ComponentError as error:
            print(json.dumps({"renderer": name, "left_out": str(error)}), flush=True)
    sources = {source.id: source for source in read_sources(options.folder)}
    rows = []
    for id_, what in OBJECTS.items():
        mesh, cameras = load_mesh(sources[id_]), viewpoints(id_, options.views)
        made = {name: render(renderer, mesh, cameras, options.resolution) for name, renderer in renderers.items()}
        first = next(iter(made.values()))[0]
        for name, (views, wall, processor) in made.items():
            cost = {"wall_s_a_view": wall / options.views, "processor_s_a_view": processor / options.views}
            figures = cost | ({} if views is first else agreement(first, views))
            row = {"object": id_, "what": what, "faces": len(mesh.triangles), "renderer": name}
            print(json.dumps(row | {key: round(value, 5) for key, value in figures.items()}), flush=True)
        picked = range(0, options.views, max(options.views // 2, 1))
        rows.append([views["rgba"][index] for views, _, _ in made.values() for index in picked])
    if options.sheet:
        sheet(rows, options.sheet)


if __name__ == "__main__":
    main()
