"""Material files (MTL): what a surface's colour, texture and opacity are.

Read are Kd, Ke, d, Tr, map_Kd, map_Ke and map_d; the others say how a surface shines, which is not shown.
"""

from dataclasses import dataclass, replace

import numpy as np

from tunemv3d_data.meshes.materials import (
    UNPAINTED,
    Floats,
    Material,
    emitting,
    glassy,
    plain,
    tinted,
    to_bytes,
)
from tunemv3d_data.meshes.neighbours import Neighbours
from tunemv3d_data.meshes.textures import Bytes, opacity_of, resized
from tunemv3d_data.meshes.udim import is_tiled, tiles
from tunemv3d_data.notes import note

_OPTIONS = {
    **{"-o": 3, "-s": 3, "-t": 3, "-mm": 2, "-bm": 1, "-boost": 1, "-texres": 1, "-clamp": 1, "-blendu": 1},
    **{"-blendv": 1, "-cc": 1, "-imfchan": 1, "-type": 1, "-colorspace": 1},
}
"""Options of a map and how many values follow at most."""
_UNSHOWN = ("-t", "-mm", "-cc", "-imfchan", "-type")


@dataclass(frozen=True)
class Map:
    """A texture of a material.

    Attributes:
        file: its name.
        scale, offset: along u and v; texture coordinates are multiplied by scale, then offset is added.
        clamp: the texture does not repeat.
    """

    file: str
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    clamp: bool = False


@dataclass(frozen=True)
class Look:
    """A material of a material file; colours are sRGB, 0 to 1."""

    name: str
    diffuse: tuple[float, float, float] | None = None
    emission: tuple[float, float, float] = (0.0, 0.0, 0.0)
    opacity: float = 1.0
    colour_map: Map | None = None
    emission_map: Map | None = None
    opacity_map: Map | None = None

    @property
    def is_textured(self) -> bool:
        """Whether any picture lies on the surface."""
        return any((self.colour_map, self.emission_map, self.opacity_map))


def read_materials(text: str, file: str) -> dict[str, Look]:
    """Read the materials of a file, by name; what makes no sense in it is noted with its line."""
    looks: dict[str, Look] = {}
    values: dict[str, str] = {}
    name = None
    for number, line in enumerate([*text.split("\n"), "newmtl"], start=1):
        key, _, rest = line.strip().replace("\t", " ").partition(" ")
        if key.lower() != "newmtl":
            values[key.lower()] = rest.strip()
            continue
        if name is not None:
            looks.setdefault(name, _look(name, values, f"{file}, before line {number}"))
        name, values = rest.strip(), {}
    return looks


def _look(name: str, values: dict[str, str], where: str) -> Look:
    return Look(
        name,
        diffuse=_colour(values, "kd", where),
        emission=_colour(values, "ke", where) or (0.0, 0.0, 0.0),
        opacity=_opacity(values, where),
        colour_map=_map(values, "map_kd"),
        emission_map=_map(values, "map_ke"),
        opacity_map=_map(values, "map_d"),
    )


def _colour(values: dict[str, str], key: str, where: str) -> tuple[float, float, float] | None:
    if key not in values:
        return None
    words = values[key].partition("#")[0].split()
    try:
        found = [min(max(float(word), 0.0), 1.0) for word in words[:3]]
    except ValueError:
        found = []
    if len(found) not in (1, 3) or not np.isfinite(found).all():
        note("changed colours", f"{where}: {key.capitalize()} {values[key][:40]!r} is no colour of three numbers")
        return None
    return (found[0], found[-1] if len(found) == 1 else found[1], found[-1])


def _opacity(values: dict[str, str], where: str) -> float:
    """``d``, or 1 - ``Tr``; whole transparency by ``Tr`` is an exporter that meant the opposite."""
    for key in ("d", "tr"):
        words = values.get(key, "").partition("#")[0].split()
        if not words:
            continue
        try:
            found = float(words[-1])  # after "-halo"
        except ValueError:
            found = np.nan
        if np.isfinite(found):
            return float(np.clip(found, 0, 1)) if key == "d" else 1.0 - float(np.clip(found, 0, 1)) % 1.0
        note("changed colours", f"{where}: {key} {values[key][:40]!r} is no opacity")
    return 1.0


def _map(values: dict[str, str], key: str) -> Map | None:
    """A texture's file, and what the options before it say."""
    found, rest = Map(""), values.get(key, "")
    while (option := rest.partition(" ")[0].lower()) in _OPTIONS:
        given: list[str] = []
        rest = rest[len(option) :].strip()
        while rest and len(given) < _OPTIONS[option]:
            word, _, after = rest.partition(" ")
            if given and not _is_number(word):
                break
            given, rest = [*given, word], after.strip()
        found = _with_option(found, option, given)
    return replace(found, file=rest.strip('"')) if rest else None


def _with_option(known: Map, option: str, given: list[str]) -> Map:
    if option == "-clamp":
        return replace(known, clamp=given[:1] == ["on"])
    if option in ("-s", "-o") and all(map(_is_number, given)) and given:
        default = 1.0 if option == "-s" else 0.0
        pair = (float(given[0]), float(given[1]) if len(given) > 1 else default)
        return replace(known, scale=pair) if option == "-s" else replace(known, offset=pair)
    if option in _UNSHOWN:
        note("changed colours", f"the texture option {' '.join([option, *given])} is not understood")
    return known


def _is_number(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False


def painted(look: Look, uv: Floats | None, neighbours: Neighbours) -> tuple[Material, Floats | None]:
    """Make a material of a look.

    Args:
        look: of the material file.
        uv: ``f 3 2`` texture coordinates of the faces that have it; None for none.
        neighbours: finds the textures.

    Returns:
        the material, and the texture coordinates in its texture.
    """
    name = " ".join(filter(None, (look.name, look.colour_map.file if look.colour_map else "")))
    if look.diffuse is None and not (look.colour_map or look.emission_map):
        note("untextured", f"the material {look.name} has no colour (Kd); it is shown grey")
    texture, placed = None, _moved(look.emission_map, uv)
    if look.colour_map is not None:
        texture, placed = _placed(look.colour_map, uv, neighbours)
    # Where a texture is given, many exporters leave a diffuse colour that was never meant to be multiplied.
    base = UNPAINTED[:3] if look.diffuse is None else np.asarray(look.diffuse)
    colour = np.append(base if texture is None else np.ones(3), look.opacity)
    mask = None if uv is None else _mask(look, texture, neighbours)
    if mask is not None and texture is None:
        texture = np.dstack([np.broadcast_to(to_bytes(colour[:3]), (*mask.shape, 3)), mask])
        colour[:3] = 1
    elif mask is not None and texture is not None:
        texture = np.dstack([texture[..., :3], resized(mask, texture.shape[:2])])
    whole = emitting(plain(glassy(colour)) if texture is None else tinted(texture, colour), _glow(look, neighbours))
    material = Material(name, whole)
    if texture is None and whole.shape[:2] == (1, 1):
        return material, None
    if placed is None:
        return replace(material, texture=plain(np.append(material.colour, 1.0))), None
    shown = look.colour_map or look.emission_map
    return (replace(material, wrap=("clamp", "clamp")) if shown and shown.clamp else material), placed


def _placed(shown: Map, uv: Floats | None, neighbours: Neighbours) -> tuple[Bytes | None, Floats | None]:
    """A map's texture, and the texture coordinates in it."""
    uv = _moved(shown, uv)
    if is_tiled(shown.file, uv, neighbours):
        return tiles(shown.file, uv, neighbours)
    return neighbours.texture(shown.file), uv


def _moved(shown: Map | None, uv: Floats | None) -> Floats | None:
    if uv is None or shown is None or (shown.scale, shown.offset) == ((1, 1), (0, 0)):
        return uv
    return np.asarray(uv * shown.scale + shown.offset, dtype=np.float32)


def _glow(look: Look, neighbours: Neighbours) -> Bytes:
    """What a surface emits, ``h w 3``, which lies as its texture does."""
    if look.emission_map is not None:
        if look.colour_map and replace(look.emission_map, file="") != replace(look.colour_map, file=""):
            note("changed colours", f"{look.emission_map.file}: lies as the texture does, whatever its own options say")
        found = neighbours.texture(look.emission_map.file)
        if found is not None:
            return found[..., :3]
    return to_bytes(np.reshape(look.emission, (1, 1, 3)))


def _mask(look: Look, texture: Bytes | None, neighbours: Neighbours) -> Bytes | None:
    """The opacity map ``h w``; None for none, and where it is the alpha that the texture has anyway."""
    given = look.opacity_map
    if given is None:
        return None
    if look.colour_map and given.file == look.colour_map.file and texture is not None and (texture[..., 3] < 255).any():
        return None
    if given.scale != (1, 1) or given.offset != (0, 0):
        note("changed colours", f"{given.file}: the opacity map lies as the texture does, whatever its own options say")
    found = neighbours.texture(given.file)
    return None if found is None else opacity_of(found)
