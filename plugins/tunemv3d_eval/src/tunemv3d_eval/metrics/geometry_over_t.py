"""Does the field find the shape of real objects, and at which noise level? Its surface beside the real mesh."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import DatasetError, TuneMV3DWarning
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_core.sampling import fuse_clean
from tunemv3d_core.slots import Figure, HasSurface, MeasuredObject, Need
from tunemv3d_eval.metrics.geometry_spec import GeometryOverTSpec
from tunemv3d_eval.metrics.points import chamfer, f_score, nearest
from tunemv3d_eval.metrics.surface import Floats, Triangles, extract, occupied, require, sample_points

SUFFIXES = (".obj", ".ply", ".stl", ".off", ".glb", ".gltf")

CELLS = 48
"""Along the side of the cube from -1 to 1 in which volumes are compared."""

PER_CELL = 100_000
"""Points that mark a surface's cells: about 40 for each that a chair has."""

FARTHEST = 2.0
"""Chamfer distance of a surface that is not there: the diameter of the unit sphere."""

WORST = {"chamfer": FARTHEST, "f_score": 0.0, "volume_iou": 0.0, "normal_error": 90.0}


def compare(one: Triangles, other: Triangles, points: int = 10_000, reach: float = 0.05) -> dict[str, float]:
    """Compare two surfaces.

    Args:
        one: whichever; the figures are symmetric.
        other: likewise.
        points: drawn on each.
        reach: of the F-score, world units.

    Returns:
        By name: ``chamfer``, the mean distance to the nearest point of the other surface, both directions averaged,
        world units; ``f_score`` at ``reach``, 0 to 1; ``volume_iou``, the intersection over union of the cells that a
        surface marks or shuts in, 0 to 1 (real meshes are seldom closed: what is open counts with its surface alone);
        and ``normal_error``, the mean angle between the normals of nearest points, degrees, 0 to 90 (which side of a
        real mesh is outside is often unknown).
    """
    (here, normals), (there, others) = (sample_points(of, points, seed) for seed, of in enumerate((one, other)))
    angles = [
        np.degrees(np.arccos(np.abs((mine * theirs[nearest(a, b)[1]]).sum(-1)).clip(0, 1))).mean()
        for a, mine, b, theirs in ((here, normals, there, others), (there, others, here, normals))
    ]
    cells = [occupied(sample_points(each, PER_CELL)[0], CELLS) for each in (one, other)]
    return {
        "chamfer": min(chamfer(here, there), FARTHEST),
        "f_score": f_score(here, there, reach),
        "volume_iou": float((cells[0] & cells[1]).sum() / (cells[0] | cells[1]).sum()),
        "normal_error": float(np.mean(angles)),
    }


class GeometryOverT:
    """``compare`` of the real mesh with the field's surface of real views at several noise levels.

    Raises:
        ComponentError: scikit-image or trimesh is not installed.
        DatasetError: no folder of meshes is given, or it is not there or holds none.
    """

    needs = (Need.FIELD, Need.RECORD, Need.SURFACE)

    def __init__(self, spec: GeometryOverTSpec) -> None:
        require("skimage", "trimesh")
        self._spec = spec
        if not spec.meshes:
            own = '--metric \'{"type": "geometry-over-t", "meshes": "FOLDER"}\''
            raise DatasetError(f"geometry-over-t needs real meshes, named by object id: {own}")
        folder = Path(spec.meshes)
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES) if folder.is_dir() else []
        if not files:
            raise DatasetError(f"meshes {folder}: no folder with {', '.join(SUFFIXES)} files; name them by object id")
        self._files = {file.stem: file for file in files}
        self.figures: Mapping[str, Figure] = {
            named(name, t): figure for t in spec.timesteps for name, figure in _figures(t, spec.reach).items()
        }

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Mapping[str, float | None]:
        """Compare at every t; None of an object without a mesh, which a warning names."""
        assert sample.record is not None
        real = self._real(sample.record)
        if real is None:
            return dict.fromkeys(self.figures)
        text = model.backbone.encode_text([sample.prompt])
        found: dict[str, float] = {}
        for t in self._spec.timesteps:
            scene = fuse_clean(model, sample.latents[None], text, sample.cameras[None], float(t))
            assert isinstance(scene, HasSurface)
            surface = extract(scene, self._spec.resolution, sample.latents.device)
            given = WORST if surface is None else compare(surface, real, self._spec.points, self._spec.reach)
            found |= {named(name, t): value for name, value in given.items()}
        return found

    def _real(self, record: PosedImages) -> Triangles | None:
        """The object's mesh in the world of its pictures."""
        placed = record.extra.get("mesh_to_world")
        names = [record.id] if placed is None else [record.id, str(record.extra.get("base", record.id))]
        file = next((self._files[name] for name in names if name in self._files), None)
        if file is None:
            text = f"geometry-over-t: {self._spec.meshes} has no mesh of object '{record.id}', which is left out"
            warnings.warn(text, TuneMV3DWarning, stacklevel=2)
            return None
        return read_mesh(file, None if placed is None else np.array(placed, dtype=np.float64))


def read_mesh(file: Path, to_world: Floats | None = None) -> Triangles:
    """Read a mesh and place it.

    Args:
        file: of a format that trimesh reads.
        to_world: ``4 4``; None where it lies in the world already.

    Raises:
        DatasetError: it cannot be read, or does not lie in the unit sphere around the origin.
    """
    import trimesh

    try:
        mesh = trimesh.load(file, force="mesh", process=False)
        vertices, faces = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
    except Exception as error:  # loaders raise whatever their formats provoke
        raise DatasetError(f"{file}: cannot be read as a mesh: {error}") from error
    if to_world is not None:
        vertices = vertices @ to_world[:3, :3].T + to_world[:3, 3]
    surface = Triangles(vertices, faces)
    if not len(faces) or not 0.3 < (radius := float(np.linalg.norm(surface.corners, axis=-1).max())) < 1.0:
        size = f"a radius of {radius:.3g} around the origin" if len(faces) else "no triangles"
        lies = "by the dataset's 'mesh_to_world'" if to_world is not None else "as it is"
        raise DatasetError(f"{file}: has {size} {lies}; objects of datasets fill a sphere of 0.9, z up, front at -y")
    return surface


def named(name: str, t: int) -> str:
    """Return a figure's name at a noise level, such as "chamfer_t050"."""
    return f"{name}_t{t:03d}"


def _figures(t: int, reach: float) -> dict[str, Figure]:
    at = f"between the real surface and the field's of views with noise t = {t}"
    return {
        "chamfer": Figure(f"Chamfer distance {at} (world units)", higher_is_better=False, low=0, high=FARTHEST),
        "f_score": Figure(f"F-score at {reach:g} world units {at}", low=0, high=1),
        "volume_iou": Figure(f"overlap of volumes {at}", low=0, high=1),
        "normal_error": Figure(f"angle of normals {at} (degrees)", higher_is_better=False, low=0, high=90),
    }


def build_geometry_over_t(spec: GeometryOverTSpec) -> GeometryOverT:
    """Build the metric ``geometry-over-t``."""
    return GeometryOverT(spec)
