"""Is glTF read as Blender reads it? Silhouettes and colours of every .glb and .gltf below a folder, without light.

Run it as ``python benchmarks/gltf.py FOLDER --blender BPY/bin/python [--views 4] [--size 128] [--out FOLDER]``; ``--out``
gets ``results.json`` and ``sheet.png``: Blender, embree and moderngl beside one another, an asset a row. Blender runs in
processes of its own (bpy 5.0), with the same cameras, and shows base colour and emission; so do ours, once what they
raise is taken off. Files of the same content count once.
"""

import argparse
import hashlib
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
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

SAMPLES, GRID, TIME = 64, 8, 300
"""Of a pixel in Blender, along its side in ours, and seconds for an asset."""
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


def ours(name: str, mesh: Mesh, cameras: Cameras, size: int) -> Any:
    """Views ``n h w 4`` without light and without what the darkest colour is raised to."""
    renderer = (EmbreeRenderer if name == "embree" else ModernglRenderer)(GRID)
    views = list(renderer(mesh, cameras, (size, size), FLAT))
    alpha = np.stack([view["rgba"][..., 3] for view in views])
    colour = (np.stack([view["albedo"] for view in views]).astype(np.float64) - DARKEST) * (255 / (255 - DARKEST))
    return np.concatenate([np.rint(colour.clip(0, 255)), alpha[..., None]], axis=-1)


def blender(program: str, path: Path, fit: Any, cameras: Cameras, size: int) -> Any:
    """Views ``n h w 4``, or Blender's last words."""
    poses = zip(cameras.camera_to_world.tolist(), cameras.intrinsics.tolist(), strict=True)
    with tempfile.TemporaryDirectory() as name:
        job = {
            "file": str(path),
            "fit": fit,
            "cameras": [{"camera_to_world": pose, "intrinsics": intrinsics} for pose, intrinsics in poses],
            "size": size,
            "samples": SAMPLES,
            "out": name,
        }
        (Path(name) / "job.json").write_text(json.dumps(job))
        script = Path(__file__).parent / "gltf_in_blender.py"
        command = [program, str(script), str(Path(name) / "job.json")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIME)
        except subprocess.TimeoutExpired:
            return f"took longer than {TIME} s"
        pictures = [Path(name) / f"{index}.png" for index in range(cameras.shape[0])]
        if done.returncode or not all(picture.exists() for picture in pictures):
            return ((done.stderr.strip() or done.stdout.strip()).splitlines() or ["ended"])[-1][:200]
        return np.stack([np.asarray(Image.open(picture).convert("RGBA")) for picture in pictures]).astype(np.float64)


def agreement(one: Any, other: Any) -> dict[str, float]:
    """IoU of the pixels' coverage; colours where both cover the pixel whole."""
    whole = (one[..., 3] == 255) & (other[..., 3] == 255)
    both, either = (extreme(one[..., 3], other[..., 3]).sum() for extreme in (np.minimum, np.maximum))
    figures = {"iou": float(both / either) if either else 1.0}
    if whole.any():
        a, b = one[whole][:, :3], other[whole][:, :3]
        figures |= {"mean_colour": float(np.abs(a.mean(0) - b.mean(0)).max()), "pixels": float(np.abs(a - b).mean())}
    return {name: round(value, 4) for name, value in figures.items()}


def row(path: Path, options: argparse.Namespace) -> tuple[dict[str, Any], list[Any]]:
    """Figures of an asset, and its pictures."""
    figures: dict[str, Any] = {"asset": str(path.relative_to(options.folder))}
    start = time.perf_counter()
    with collect() as heard:
        try:
            mesh, fit = read(path)
        except TuneMV3DError as error:
            return figures | {"refused": str(error)}, []
    figures |= {"faces": len(mesh.triangles), "read_s": round(time.perf_counter() - start, 3)}
    figures |= {"notes": sorted({note.text for note in heard})} if heard else {}
    cameras = viewpoints(path.stem, options.views)
    theirs = blender(options.blender, path, fit, cameras, options.size)
    made = {name: ours(name, mesh, cameras, options.size) for name in options.renderers}
    if isinstance(theirs, str):
        return figures | {"blender": theirs}, []
    for name, views in made.items():
        figures[name] = agreement(theirs, views)
    if len(made) == 2:
        figures["ours"] = agreement(*made.values())
    return figures, [theirs, *made.values()]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--blender", required=True)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--only", default="", help="assets whose path contains this")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.renderers = ["embree"] if why_not_moderngl() else ["embree", "moderngl"]
    options.out.mkdir(parents=True, exist_ok=True)
    found = [path for path in assets(options.folder) if options.only in str(path)]
    with ThreadPoolExecutor(1) as pool:
        made = list(pool.map(lambda path: row(path, options), found))
    rows = [figures for figures, _ in made]
    same = [is_same(figures, options.renderers) for figures in rows]
    for figures, agrees in zip(rows, same, strict=True):
        if not agrees:
            print(json.dumps(figures))
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
    print(json.dumps(summary))
    (options.out / "results.json").write_text(json.dumps(summary | {"assets": rows}, indent=1))
    sheet([pictures for _, pictures in made if pictures], options.out / "sheet.png")


if __name__ == "__main__":
    main()
