"""A glTF file's JSON: its entries, each checked when it is first used, so that a file costs what is shown of it."""

from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.files import gltf_parts
from tunemv3d_data.meshes.gltf.extensions import check_required, is_quiet, loss
from tunemv3d_data.meshes.neighbours import Neighbours
from tunemv3d_data.notes import note

MAX_ENTRIES = 100_000
"""Nodes, or uses of meshes by nodes, of one file: larger scenes are no objects, and take minutes."""

Index = Annotated[int, Field(ge=0)]
Floats3 = Annotated[list[float], Field(min_length=3, max_length=3)]
Floats4 = Annotated[list[float], Field(min_length=4, max_length=4)]


class Entry(BaseModel):
    """An entry of the file's JSON; what is not read of it is passed over."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, allow_inf_nan=False)
    table: ClassVar[str] = ""
    name: str = ""
    extensions: dict[str, dict[str, Any]] = {}


class Buffer(Entry):  # noqa: D101
    table = "buffers"
    uri: str | None = None
    byte_length: Index = 0


class BufferView(Entry):  # noqa: D101
    table = "bufferViews"
    buffer: Index
    byte_offset: Index = 0
    byte_length: Index
    byte_stride: Annotated[int, Field(ge=1, le=252)] | None = None


class SparseIndices(Entry):  # noqa: D101
    buffer_view: Index
    byte_offset: Index = 0
    component_type: Literal[5121, 5123, 5125]


class SparseValues(Entry):  # noqa: D101
    buffer_view: Index
    byte_offset: Index = 0


class Sparse(Entry):  # noqa: D101
    count: Annotated[int, Field(ge=1)]
    indices: SparseIndices
    values: SparseValues


class Accessor(Entry):  # noqa: D101
    table = "accessors"
    buffer_view: Index | None = None
    byte_offset: Index = 0
    component_type: Literal[5120, 5121, 5122, 5123, 5125, 5126]
    normalized: bool = False
    count: Annotated[int, Field(ge=1)]
    type: Literal["SCALAR", "VEC2", "VEC3", "VEC4", "MAT2", "MAT3", "MAT4"]
    sparse: Sparse | None = None


class Image(Entry):  # noqa: D101
    table = "images"
    uri: str | None = None
    mime_type: str = ""
    buffer_view: Index | None = None


class Sampler(Entry):  # noqa: D101
    table = "samplers"
    mag_filter: int | None = None
    wrap_s: Literal[33071, 33648, 10497] = 10497
    wrap_t: Literal[33071, 33648, 10497] = 10497


class Texture(Entry):  # noqa: D101
    table = "textures"
    sampler: Index | None = None
    source: Index | None = None


class TextureInfo(Entry):  # noqa: D101
    index: Index
    tex_coord: Index = 0


class TextureTransform(Entry):  # noqa: D101
    offset: Annotated[list[float], Field(min_length=2, max_length=2)] = [0.0, 0.0]
    rotation: float = 0.0
    scale: Annotated[list[float], Field(min_length=2, max_length=2)] = [1.0, 1.0]
    tex_coord: Index | None = None


class MetallicRoughness(Entry):  # noqa: D101
    base_color_factor: Floats4 | None = None
    base_color_texture: TextureInfo | None = None


class SpecularGlossiness(Entry):  # noqa: D101
    diffuse_factor: Floats4 | None = None
    diffuse_texture: TextureInfo | None = None


class EmissiveStrength(Entry):  # noqa: D101
    emissive_strength: Annotated[float, Field(ge=0)] = 1.0


class Material(Entry):  # noqa: D101
    table = "materials"
    pbr_metallic_roughness: MetallicRoughness = MetallicRoughness()
    emissive_texture: TextureInfo | None = None
    emissive_factor: Floats3 = [0.0, 0.0, 0.0]
    alpha_mode: Literal["OPAQUE", "MASK", "BLEND"] = "OPAQUE"
    alpha_cutoff: Annotated[float, Field(ge=0)] = 0.5
    double_sided: bool = False


class Draco(Entry):  # noqa: D101
    buffer_view: Index
    attributes: dict[str, Index]


class Primitive(Entry):  # noqa: D101
    attributes: dict[str, Index]
    indices: Index | None = None
    material: Index | None = None
    mode: Literal[0, 1, 2, 3, 4, 5, 6] = 4
    targets: list[dict[str, Index]] = []


class Mesh(Entry):  # noqa: D101
    table = "meshes"
    primitives: Annotated[list[Primitive], Field(min_length=1)]
    weights: list[float] = []


class Instancing(Entry):  # noqa: D101
    attributes: dict[str, Index]


class Skin(Entry):  # noqa: D101
    table = "skins"
    joints: Annotated[list[Index], Field(min_length=1)]
    inverse_bind_matrices: Index | None = None


class Node(Entry):  # noqa: D101
    table = "nodes"
    children: list[Index] = []
    matrix: Annotated[list[float], Field(min_length=16, max_length=16)] | None = None
    translation: Floats3 = [0.0, 0.0, 0.0]
    rotation: Floats4 = [0.0, 0.0, 0.0, 1.0]
    scale: Floats3 = [1.0, 1.0, 1.0]
    mesh: Index | None = None
    skin: Index | None = None
    weights: list[float] | None = None


class Scene(Entry):  # noqa: D101
    table = "scenes"
    nodes: list[Index] = []


E = TypeVar("E", bound=Entry)


class Document:
    """A file's entries and what belongs to it.

    Args:
        data: a .gltf or .glb file.
        neighbours: the files beside it.
        max_faces: that it may show.

    Raises:
        DatasetError: no glTF 2.0, or it needs an extension that is not read; says which.
    """

    def __init__(self, data: bytes, neighbours: Neighbours, max_faces: int) -> None:
        header, self.binary = gltf_parts(data)
        self.header: dict[str, Any] = header
        self.neighbours, self.max_faces = neighbours, max_faces
        self._read: dict[tuple[str, int], Entry] = {}
        self._left_out: set[str] = set()
        self._check_version()
        check_required(self._names("extensionsRequired"))

    def count(self, kind: type[Entry]) -> int:
        """Return how many entries of a kind the file has."""
        return len(self._table(kind.table))

    def get(self, kind: type[E], index: int) -> E:
        """Return an entry by its number.

        Raises:
            DatasetError: there is none, or it is not what the standard says.
        """
        known = self._read.get((kind.table, index))
        if known is None:
            entries = self._table(kind.table)
            if index >= len(entries):
                raise DatasetError(f"is not valid glTF: {kind.table}[{index}] is used, of {len(entries)}")
            known = self._read[kind.table, index] = checked(kind, entries[index], f"{kind.table}[{index}]")
        assert isinstance(known, kind)
        return known

    def scene(self) -> int | None:
        """Return the number of the scene to show; None in a file without scenes.

        Raises:
            DatasetError: it names one that it lacks.
        """
        count, named = self.count(Scene), self.header.get("scene")
        if named is None:
            return 0 if count else None
        if type(named) is not int or not 0 <= named < count:
            raise DatasetError(f"is not valid glTF: scene is {named!r}, of {count} scenes")
        return named

    def leave_out(self, entry: Entry, *read: str) -> None:
        """Note, once for each, the extensions of an entry that are not read and may change what one sees."""
        for name in entry.extensions:
            if name not in read and not is_quiet(name) and name not in self._left_out:
                self._left_out.add(name)
                note("unsupported extension", f"{name[:80]} is left out: {loss(name)}")

    def _table(self, table: str) -> list[Any]:
        entries = self.header.get(table, [])
        if not isinstance(entries, list):
            raise DatasetError(f"is not valid glTF: {table} is no list")
        return entries

    def _names(self, key: str) -> list[str]:
        names = self.header.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DatasetError(f"is not valid glTF: {key} is no list of names")
        return names

    def _check_version(self) -> None:
        if isinstance(self.header.get("meshes"), dict):
            raise DatasetError("is glTF 1.0, which is not read; convert it to glTF 2.0")
        asset = self.header.get("asset", {})
        version = asset.get("minVersion", asset.get("version", "2.0")) if isinstance(asset, dict) else None
        if not isinstance(version, str) or not version.startswith("2."):
            raise DatasetError(f"is not valid glTF 2.0: asset.version is {str(version)[:20]!r}")


def checked(kind: type[E], value: Any, where: str) -> E:
    """Read an entry.

    Raises:
        DatasetError: it is not what the standard says; names the place.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        said = first["msg"][:1].lower() + first["msg"][1:]
        raise DatasetError(f"is not valid glTF: {where}{place[:80]}: {said}") from None
