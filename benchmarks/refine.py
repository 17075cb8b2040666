"""What refinement makes sharper: ``python benchmarks/refine.py [--objects 3] [--json refine.json]``.

Real views of held-out chairs. Eight of an object's 24 pictures are fused into a field by the checkpoint, whose surface
is made to agree with their masks and then refined, as ``tunemv3d refine`` does it; the other sixteen, which nothing
saw, are the judge, with the object's own mesh where its library is at hand (``--library``):

- ``psnr``: of the shape's rendering on white, dB, mean over the sixteen;
- ``mask_iou``: of its opacity with their masks;
- ``chamfer``: mean distance between what both surfaces show these cameras, both ways, in thousandths of a world unit;
- ``normals``: mean angle in degrees where both show something.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.generation import SceneShape
from tunemv3d_core.io.checkpoint import load_checkpoint
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.sampling import fuse_clean
from tunemv3d_core.slots import Pictures, Shape
from tunemv3d_core.types import Views
from tunemv3d_data.meshes.mesh import Mesh, load_mesh
from tunemv3d_data.sources.reading import read_sources
from tunemv3d_shape.cleaning import remove_floaters
from tunemv3d_shape.refinement.fit import FitOptions, fit
from tunemv3d_shape.silhouette_fit import fit_silhouettes
from tunemv3d_shape.surface import extract_surface
from tunemv3d_shape.tracing import Tracer
from tunemv3d_train.multiview import MultiviewImages

GIVEN, JUDGES = list(range(8)), list(range(8, 24))


def pictures_of(views: Views) -> Pictures:
    """Datasets yield views on white; refinement takes colours that are not multiplied by alpha."""
    white, alpha = views.images[0] / 2 + 0.5, views.alpha[0]
    colours = (white - 1 + alpha[:, None]) / alpha[:, None].clamp(min=1 / 255)
    return Pictures(colours.clamp(0, 1), alpha, views.cameras[0])


@torch.no_grad()
def field_of(model: MultiviewDiffusion, views: Views) -> SceneShape:
    latents = model.backbone.encode_images(views.images)
    scene = fuse_clean(model, latents, model.backbone.encode_text(views.captions), views.cameras)
    return SceneShape(scene, model, (latents.shape[-2], latents.shape[-1]))


def measure(shape: Shape, judges: Pictures, truth: Mesh | None) -> dict[str, float]:
    seen = shape.pictures(judges.cameras)
    assert seen is not None
    error = (seen.on_white() - judges.on_white()).square().mean((1, 2, 3))
    ours, theirs = seen.alpha > 0.5, judges.alpha > 0.5
    found = {
        "psnr": float((-10 * error.log10()).mean()),
        "mask_iou": float((ours & theirs).sum() / (ours | theirs).sum()),
    }
    if truth is not None:
        surface = remove_floaters(extract_surface(shape, 192))
        corners = truth.triangles.reshape(-1, 3)
        exact = corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
        found |= compare(Tracer(surface.vertices, surface.faces), Tracer(*exact), judges)
    return {name: round(value, 4) for name, value in found.items()}


def compare(tracer: Tracer, exact: Tracer, judges: Pictures) -> dict[str, float]:
    """Points and normals that both surfaces show the cameras."""
    clouds: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    angles = []
    for index in range(len(judges.alpha)):
        camera = judges.cameras[index]
        depths = [z.depth(camera, judges.size) for z in (tracer, exact)]
        maps = [places_of(camera, depth, judges.size) for depth in depths]
        for cloud, places, depth in zip(clouds, maps, depths, strict=True):
            cloud.append(places[np.isfinite(depth)])
        with np.errstate(invalid="ignore"):
            cosine = (normals_of(maps[0]) * normals_of(maps[1])).sum(-1)
        angles.append(np.degrees(np.arccos(cosine[np.isfinite(cosine)].clip(-1, 1))))
    one, other = (np.concatenate(cloud) for cloud in clouds)
    there, back = cKDTree(other).query(one)[0].mean(), cKDTree(one).query(other)[0].mean()
    return {"chamfer": float(there + back) / 2 * 1000, "normals": float(np.concatenate(angles).mean())}


def places_of(camera: Cameras, depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rays = camera.rays(size)
    flat = rays.origins.numpy() + np.where(np.isfinite(depth), depth, np.nan).reshape(-1, 1) * rays.directions.numpy()
    return np.asarray(flat.reshape(*size, 3))


def normals_of(places: np.ndarray) -> np.ndarray:
    """From neighbouring points of a depth map; not a number at outlines."""
    across, down = places[1:, 1:] - places[1:, :-1], places[1:, 1:] - places[:-1, 1:]
    cross = np.cross(across, down)
    steps = np.linalg.norm(across, axis=-1) + np.linalg.norm(down, axis=-1)
    cross[steps > 0.15] = np.nan
    return np.asarray(cross / np.linalg.norm(cross, axis=-1, keepdims=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="chairs-mini")
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--steps", type=int, default=FitOptions().steps)
    parser.add_argument("--library", type=Path, help="the folder of Sweet Home 3D libraries that the chairs come from")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = MultiviewImages(find_asset("chairs"))
    _, model = load_checkpoint(options.checkpoint)
    meshes = {source.id: source for source in read_sources(options.library)} if options.library else {}
    rows: list[dict[str, Any]] = []
    for index in dataset.splits()["held_out"][: options.objects]:
        given, judges = dataset.views(index, GIVEN), pictures_of(dataset.views(index, JUDGES))
        id_ = given.ids[0]
        truth = load_mesh(meshes[id_]) if id_ in meshes else None
        field = field_of(model, given)
        before = measure(field, judges, truth)
        seen = pictures_of(given)
        started, clock = time.process_time(), time.perf_counter()
        refined, looks, _ = fit(fit_silhouettes(field, seen), seen, FitOptions(steps=options.steps))
        seconds = {"cpu": round(time.process_time() - started, 1), "wall": round(time.perf_counter() - clock, 1)}
        after = measure(refined, judges, truth)
        rows.append({"object": id_, "before": before, "after": after, "looks": looks, "seconds": seconds})
        print(json.dumps(rows[-1]), flush=True)
        if options.json:
            report = {"checkpoint": options.checkpoint, "device": "CPU, one thread", "torch": torch.__version__}
            options.json.write_text(json.dumps({**report, "objects": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
