"""The shapes of the held-out chairs, for the metric geometry-over-t: python meshes.py LIBRARIES OUT [FACES].

LIBRARIES is the folder that render.sh takes. OUT gets a binary PLY of each chair of held_out.txt, placed in the world
as its pictures show it, without colours, with at most FACES (4,000) triangles.
"""

import sys
from pathlib import Path

import fast_simplification
import numpy as np
import trimesh

from tunemv3d_data.meshes.mesh import load_mesh
from tunemv3d_data.sources.reading import read_sources


def main(libraries: Path, out: Path, faces: int = 4000) -> None:
    """Write the meshes."""
    listed = (Path(__file__).parent / "held_out.txt").read_text(encoding="utf-8").splitlines()
    names = {name for line in listed if (name := line.partition("#")[0].strip())}
    out.mkdir(parents=True, exist_ok=True)
    for source in read_sources(libraries):
        if source.id in names:
            corners = load_mesh(source).triangles.reshape(-1, 3)
            mesh = trimesh.Trimesh(corners, np.arange(len(corners)).reshape(-1, 3))
            mesh.merge_vertices()
            if len(mesh.faces) > faces:
                points, triangles = fast_simplification.simplify(mesh.vertices, mesh.faces, target_count=faces)
                mesh = trimesh.Trimesh(points, triangles)
            mesh.export(out / f"{source.id}.ply")
            print(f"{source.id}: {len(corners) // 3} triangles, {len(mesh.faces)} kept")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
