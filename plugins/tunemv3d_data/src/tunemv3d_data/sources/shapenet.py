"""ShapeNetCore v2: ``<synset>/<id>/models/model_normalized.obj`` in folders, or in one zip per synset as published.

``taxonomy.json`` names the synsets; without it (its published address is gone) the names below are used. The meshes
are y up with their front at -z ("The OBJ files are now pre-aligned so that the up direction is the +Y axis, and the
front is the -Z axis", README of ShapeNetCore v2).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import parse, read_plain
from tunemv3d_data.files import open_archive
from tunemv3d_data.licences import SHAPENET
from tunemv3d_data.objects import SourceObject, slug

_UP, _FRONT = (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)
MODEL = "models/model_normalized.obj"
_SYNSET = re.compile(r"\d{8}")
_MEMBER = re.compile(r"(?:.*/)?(\d{8})/([^/]+)/models/model_normalized\.obj")
_NAMES = """
02691156 airplane, 02747177 trash bin, 02773838 bag, 02801938 basket, 02808440 bathtub, 02818832 bed, 02828884 bench,
02843684 birdhouse, 02871439 bookshelf, 02876657 bottle, 02880940 bowl, 02924116 bus, 02933112 cabinet, 02942699 camera,
02946921 can, 02954340 cap, 02958343 car, 02992529 cellphone, 03001627 chair, 03046257 clock, 03085013 keyboard,
03207941 dishwasher, 03211117 display, 03261776 earphone, 03325088 faucet, 03337140 file cabinet, 03467517 guitar,
03513137 helmet, 03593526 jar, 03624134 knife, 03636649 lamp, 03642806 laptop, 03691459 loudspeaker, 03710193 mailbox,
03759954 microphone, 03761084 microwave, 03790512 motorbike, 03797390 mug, 03928116 piano, 03938244 pillow,
03948459 pistol, 03991062 flowerpot, 04004475 printer, 04074963 remote control, 04090263 rifle, 04099429 rocket,
04225987 skateboard, 04256520 sofa, 04330267 stove, 04379243 table, 04401088 telephone, 04460130 tower, 04468005 train,
04530566 watercraft, 04554684 washer
"""


def fits(path: Path) -> bool:
    """Return whether it is a folder of synsets, or one synset."""
    return any(True for place in _synsets(path) if place.suffix == ".zip" or any(place.glob("*/models")))


def read(path: Path) -> list[SourceObject]:
    """List all models; one whose mesh is missing is listed with that problem.

    Raises:
        DatasetError: ``taxonomy.json`` is damaged.
    """
    root = path.parent if _SYNSET.fullmatch(path.stem) else path
    lemmas = _lemmas(root / "taxonomy.json")
    objects: list[SourceObject] = []
    for place in _synsets(path):
        objects += _zipped(place, lemmas) if place.suffix == ".zip" else _unpacked(place, lemmas)
    return objects


def _synsets(path: Path) -> Iterator[Path]:
    places = [path] if _SYNSET.fullmatch(path.stem) else sorted(path.iterdir()) if path.is_dir() else []
    for place in places:
        if _SYNSET.fullmatch(place.stem) and (place.suffix == ".zip" or place.is_dir()):
            yield place


def _unpacked(synset: Path, lemmas: dict[str, list[str]]) -> Iterator[SourceObject]:
    for model in sorted(model for model in synset.iterdir() if model.is_dir()):
        mesh = model / MODEL
        about = _about(mesh.with_suffix(".json").read_bytes()) if mesh.with_suffix(".json").is_file() else {}
        problem = "" if mesh.is_file() else f"{model}: no {MODEL} inside"
        yield _object(synset.name, model.name, lemmas, about, path=mesh, root=model, problem=problem)


def _zipped(archive: Path, lemmas: dict[str, list[str]]) -> list[SourceObject]:
    try:
        files = open_archive(archive)
    except DatasetError as error:
        return [SourceObject(id=slug(archive.stem), path=archive, origin=archive.name, problem=str(error))]
    names = set(files.names)
    objects = []
    for match in filter(None, map(_MEMBER.fullmatch, sorted(names))):
        beside = match[0].removesuffix(".obj") + ".json"
        about = _about(files.read(beside)) if beside in names else {}
        objects.append(_object(match[1], match[2], lemmas, about, path=archive, member=match[0]))
    return objects


def _object(synset: str, model: str, lemmas: dict[str, list[str]], about: dict[str, Any], **where: Any) -> SourceObject:
    words = lemmas.get(synset, [synset])
    return SourceObject(
        id=slug(f"{synset}-{model}"),
        name=words[0],
        kind=words[0],
        tags=tuple(words[1:]),
        licence=SHAPENET,
        creator="ShapeNet",
        origin=f"ShapeNetCore v2 {synset}/{model}",
        rotation=_upright(about.get("up", _UP), about.get("front", _FRONT)),
        **where,
    )


def _upright(up: Any, front: Any) -> tuple[float, ...]:
    """Turn ``up`` to +y and ``front`` to +z: the rotation row by row; the usual one where they make no sense."""
    try:
        y, z = (np.asarray(axis, dtype=np.float64).reshape(3) for axis in (up, front))
    except (TypeError, ValueError):
        return _upright(_UP, _FRONT)
    rows = np.stack([np.cross(y, z), y, z])
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (lengths > 1e-6).all() or abs(y @ z) > 1e-3 * lengths[1] * lengths[2]:
        return _upright(_UP, _FRONT)
    return tuple((rows / lengths).reshape(-1).tolist())


def _about(text: bytes) -> dict[str, Any]:
    """``model_normalized.json``: its size in the original's units and, in some releases, up and front."""
    try:
        content = parse(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _lemmas(taxonomy: Path) -> dict[str, list[str]]:
    """Each synset's words, the commonest first."""
    found = {line.split(" ", 1)[0]: [line.split(" ", 1)[1]] for line in " ".join(_NAMES.split()).split(", ")}
    if not taxonomy.is_file():
        return found
    try:
        entries = parse(read_plain(taxonomy))
        given = {str(e["synsetId"]): [w.strip() for w in str(e["name"]).split(",")] for e in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{taxonomy}: not a ShapeNet taxonomy: {type(error).__name__} {error}") from None
    return {**found, **given}
