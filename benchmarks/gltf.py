"""Is glTF read as Blender reads it? Silhouettes and colours of every .glb and .gltf below a folder, without light.

Run it as ``python benchmarks/gltf.py FOLDER --blender BPY/bin/python --out OUT [--views 2] [--why WHY.json]``.
OUT gets ``results.json`` and ``sheet.png``: Blender, embree and moderngl side by side. Blender runs in processes of its
own (bpy 5.0) with the same cameras, and shows base colour and emission; so do ours, once what they raise is taken off.
Files of the same content count once. ``--why`` says, by parts of assets' paths, what is known of those that differ.
"""

import argparse
import hashlib
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_data.files import Folder, digest
from tunemv3d_data.meshes.checks import MAX_FACES
from tunemv3d_data.meshes.gltf.read import read_gltf
from tunemv3d_data.meshes.mesh import Mesh, assembled
from tunemv3d_data.meshes.neighbours import Neighbours
from tunemv3d_data.notes import collect
from tunemv3d_data.renderers.auto import why_not_moderngl
from tunemv3d_data.renderers.embree import EmbreeRenderer
from tunemv3d_data.renderers.light import DARKEST, FLAT
from tunemv3d_data.renderers.moderngl import ModernglRenderer
from tunemv3d_data.rendering.viewpoints import viewpoints

GRID, AT_ONCE = 4, 20
"""Samples along a pixel's side, at the same places in all renderers; assets in one process of Blender."""
LEAST_IOU, MOST_COLOUR = 0.99, 6.0
Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def assets(folder: Path) -> Iterator[Path]:
    """Files of different content (their buffers and textures included)."""
    seen: set[str] = set()
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".glb", ".gltf") and path.is_file():
            try:
                key = digest(Folder(path.parent), path.name)
            except TuneMV3DError:
                key = hashlib.sha256(path.read_bytes()).hexdigest()
            if key not in seen:
                seen.add(key)
                yield path


def read(path: Path) -> tuple[Mesh, list[list[float]]]:
    """A mesh, and the matrix from the file's world, z up, to the mesh's."""
    parts = read_gltf(path.read_bytes(), Neighbours(Folder(path.parent), path.name), MAX_FACES)
    mesh = assembled(parts, Z_UP)
    before = np.concatenate([part.triangles.reshape(-1, 3) for part in parts]) @ Z_UP.T
    after = mesh.triangles.reshape(-1, 3).astype(np.float64)
    scale = np.linalg.norm(np.ptp(after, axis=0)) / np.linalg.norm(np.ptp(before, axis=0))
    matrix = np.diag([scale, scale, scale, 1.0])
    matrix[:3, 3] = after.mean(0) - scale * before.mean(0)
    return mesh, matrix.tolist()


@cache
def renderer(name: str) -> Any:
    """One of ours, with as many samples as tell coverage well."""
    return (EmbreeRenderer if name == "embree" else ModernglRenderer)(GRID)


def ours(name: str, mesh: Mesh, cameras: Cameras, size: int) -> Any:
    """Views ``n h w 4`` without light and without what the darkest colour is raised to."""
    views = list(renderer(name)(mesh, cameras, (size, size), FLAT))
    alpha = np.stack([view["rgba"][..., 3:] for view in views])
    colour = (np.stack([view["albedo"] for view in views]).astype(np.float64) - DARKEST) * (255 / (255 - DARKEST))
    return np.concatenate([np.rint(colour.clip(0, 255)).astype(np.uint8), alpha], axis=-1)


def blender(program: str, jobs: list[dict[str, Any]], scratch: Path) -> None:
    """Render jobs; where Blender dies, the job at hand has no pictures, and the others go on."""
    script = Path(__file__).parent / "gltf_in_blender.py"
    while jobs:
        (scratch / "jobs.json").write_text(json.dumps(jobs))
        command = [program, str(script), str(scratch / "jobs.json")]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        left = [job for job in jobs if not Path(job["out"]).exists()]
        if done.returncode == 0:
            return
        print(f"Blender ended with {done.returncode}: {done.stderr[-300:]}", flush=True)
        jobs = left


def pictures(folder: Path, views: int) -> Any:
    """Views ``n h w 4``, or Blender's words."""
    error = folder / "error.txt"
    if error.exists():
        return error.read_text(encoding="utf-8").splitlines()[-1][:200]
    files = [folder / f"{index}.png" for index in range(views)]
    if not all(file.exists() for file in files):
        return "Blender ended"
    fine = np.stack([np.asarray(Image.open(file).convert("RGBA")) for file in files]).astype(np.float64)
    side = fine.shape[1] // GRID
    fine = fine.reshape(len(fine), side, GRID, side, GRID, 4)
    cover = fine[..., 3:].mean((2, 4))
    colour = (fine[..., :3] * fine[..., 3:]).mean((2, 4)) / np.maximum(cover, 1)
    return np.rint(np.concatenate([colour, cover], axis=-1)).astype(np.uint8)


def agreement(one: Any, other: Any) -> dict[str, float]:
    """IoU of the pixels' coverage; colours where both cover the pixel whole."""
    whole = (one[..., 3] == 255) & (other[..., 3] == 255)
    both, either = (extreme(one[..., 3], other[..., 3]).sum(dtype=np.float64) for extreme in (np.minimum, np.maximum))
    figures = {"iou": float(both / either) if either else 1.0}
    if whole.any():
        a, b = (views[whole][:, :3].astype(np.float64) for views in (one, other))
        figures |= {"mean_colour": float(np.abs(a.mean(0) - b.mean(0)).max()), "pixels": float(np.abs(a - b).mean())}
    return {name: round(value, 4) for name, value in figures.items()}


def prepared(path: Path, options: argparse.Namespace, scratch: Path) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Figures of reading an asset, Blender's job and our pictures; the last two empty where it is refused."""
    figures: dict[str, Any] = {"asset": str(path.relative_to(options.folder))}
    start = time.process_time()
    with collect() as heard:
        try:
            mesh, fit = read(path)
        except TuneMV3DError as error:
            return figures | {"refused": str(error)}, {}, {}
    figures |= {"faces": len(mesh.triangles), "read_s": round(time.process_time() - start, 2)}
    figures |= {"notes": sorted({note.text for note in heard})} if heard else {}
    cameras = viewpoints(path.stem, options.views)
    poses = zip(cameras.camera_to_world.tolist(), cameras.intrinsics.tolist(), strict=True)
    job = {
        "file": str(path),
        "fit": fit,
        "cameras": [{"camera_to_world": pose, "intrinsics": intrinsics} for pose, intrinsics in poses],
        "size": options.size * GRID,
        "out": str(scratch / hashlib.sha256(str(path).encode()).hexdigest()[:16]),
    }
    return figures, job, {name: ours(name, mesh, cameras, options.size) for name in options.renderers}


def compared(figures: dict[str, Any], job: dict[str, Any], made: Any, options: argparse.Namespace) -> list[Any]:
    """Add what Blender's pictures say of ours; return all of them."""
    if not job:
        return []
    theirs = pictures(Path(job["out"]), options.views)
    if isinstance(theirs, str):
        figures["blender"] = theirs
        return []
    figures |= {name: agreement(theirs, views) for name, views in made.items()}
    if len(made) == 2:
        figures["ours"] = agreement(*made.values())
    why = [said for part, said in options.why.items() if part in figures["asset"]]
    if why and not is_same(figures, options.renderers):
        figures["why"] = why[0]
    return [theirs, *made.values()]


def sheet(rows: list[list[Any]], path: Path) -> None:
    """Two views of each asset by each renderer, on grey, four assets beside one another."""
    strips = [np.concatenate([views[index] for views in row for index in (0, -1)], axis=1) for row in rows]
    across = 4
    blank = np.zeros_like(strips[0])
    strips += [blank] * (-len(strips) % across)
    grid = np.concatenate([np.concatenate(strips[i : i + across], axis=1) for i in range(0, len(strips), across)])
    ground = Image.new("RGBA", grid.shape[1::-1], (200, 200, 200, 255))
    ground.alpha_composite(Image.fromarray(grid.astype(np.uint8)))
    ground.convert("RGB").save(path)


def is_same(figures: dict[str, Any], renderers: list[str]) -> bool:
    """Whether all of ours agree with Blender."""
    return all(
        name in figures
        and figures[name]["iou"] >= LEAST_IOU
        and figures[name].get("mean_colour", np.inf) <= MOST_COLOUR
        for name in renderers
    )


def write(rows: list[dict[str, Any]], shown: list[list[Any]], options: argparse.Namespace) -> None:
    """Write what there is so far."""
    same = [is_same(figures, options.renderers) for figures in rows]
    summary = {
        "date": datetime.now(UTC).date().isoformat(),
        "device": f"{platform.machine()}, {platform.system()}",
        "versions": {name: version(name) for name in ("tunemv3d-data", "numpy", "pillow", "embreex", "moderngl")},
        "views": options.views,
        "size": options.size,
        "read": sum("faces" in figures for figures in rows),
        "refused": sum("refused" in figures for figures in rows),
        "same": sum(same),
    }
    (options.out / "results.json").write_text(
        json.dumps(summary | {"assets": rows}, separators=(",", ":")).replace('{"asset"', '\n{"asset"') + "\n"
    )
    if any(shown):
        sheet([views for views in shown if views], options.out / "sheet.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--blender", required=True)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--only", default="", help="assets whose path contains this")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--why", type=lambda file: json.loads(Path(file).read_text()), default={})
    options = parser.parse_args()
    options.renderers = ["embree"] if why_not_moderngl() else ["embree", "moderngl"]
    options.out.mkdir(parents=True, exist_ok=True)
    found = [path for path in assets(options.folder) if options.only in str(path)]
    rows: list[dict[str, Any]] = []
    shown: list[list[Any]] = []
    for start in range(0, len(found), AT_ONCE):
        with tempfile.TemporaryDirectory() as name:
            made = [prepared(path, options, Path(name)) for path in found[start : start + AT_ONCE]]
            blender(options.blender, [job for _, job, _ in made if job], Path(name))
            shown += [compared(*each, options) for each in made]
            rows += [figures for figures, _, _ in made]
        print(f"{len(rows)} of {len(found)}", flush=True)
        write(rows, shown, options)


if __name__ == "__main__":
    main()
