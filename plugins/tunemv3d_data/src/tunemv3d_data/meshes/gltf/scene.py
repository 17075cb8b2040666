"""A glTF scene's nodes: what is shown where, each use of a mesh once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.gltf.accessors import Accessors
from tunemv3d_data.meshes.gltf.document import MAX_ENTRIES, Document, Instancing, Node, Scene, Skin, checked
from tunemv3d_data.notes import note

Matrices = NDArray[np.float64]

_INSTANCING, _VISIBILITY = "EXT_mesh_gpu_instancing", "KHR_node_visibility"


@dataclass(frozen=True)
class Placed:
    """A use of a mesh.

    Attributes:
        mesh: its number.
        node: the node that shows it.
        matrices: ``i 4 4``, to the world, one for each instance. Of a skinned mesh: ``j 4 4``, one for each joint.
        is_skinned: which of both.
    """

    mesh: int
    node: Node
    matrices: Matrices
    is_skinned: bool


def placed(document: Document, accessors: Accessors) -> Iterator[Placed]:
    """Yield every use of a mesh in the scene that a viewer opens first.

    Raises:
        DatasetError: too many nodes, nodes in a circle or of two parents, skins without their joints.
    """
    if document.count(Node) > MAX_ENTRIES:
        raise DatasetError(f"has {document.count(Node):,} nodes, over the limit of {MAX_ENTRIES:,}; join its parts")
    if document.count(Scene) > 1:
        note("other", f"holds {document.count(Scene)} scenes; scene {document.scene()} is shown")
    world = _Worlds(document)
    waiting = _roots(document)[::-1]
    seen = set(waiting)
    if len(seen) < len(waiting):
        raise DatasetError("is not valid glTF: a scene lists a node twice")
    while waiting:
        index = waiting.pop()
        node = document.get(Node, index)
        document.leave_out(node, _INSTANCING, _VISIBILITY)
        if node.extensions.get(_VISIBILITY, {}).get("visible", True) is False:
            continue
        if node.mesh is not None:
            yield _use(document, accessors, world, index, node, node.mesh)
        for child in reversed(node.children):
            if child in seen:
                raise DatasetError(f"is not valid glTF: nodes[{child}] has two parents, or is inside itself")
            seen.add(child)
            waiting.append(child)


def _roots(document: Document) -> list[int]:
    """The first nodes of the scene; in a file without scenes, all that are no node's children."""
    scene = document.scene()
    if scene is not None:
        entry = document.get(Scene, scene)
        document.leave_out(entry)
        return list(entry.nodes)
    every = range(document.count(Node))
    children = {child for index in every for child in document.get(Node, index).children}
    roots = [index for index in every if index not in children]
    if every and not roots:
        raise DatasetError("is not valid glTF: every node has a parent, so that nodes are inside themselves")
    return roots


def _use(document: Document, accessors: Accessors, world: "_Worlds", index: int, node: Node, mesh: int) -> Placed:
    if node.skin is not None:  # its joints alone say where it is (3.7.3.3)
        return Placed(mesh, node, _joints(document, accessors, world, node.skin), True)
    if _INSTANCING not in node.extensions:
        return Placed(mesh, node, world.matrix(index)[None], False)
    instancing = checked(Instancing, node.extensions[_INSTANCING], f"nodes[{index}].{_INSTANCING}")
    return Placed(mesh, node, world.matrix(index) @ _instances(accessors, instancing), False)


def _joints(document: Document, accessors: Accessors, world: "_Worlds", index: int) -> Matrices:
    skin = document.get(Skin, index)
    matrices = np.stack([world.matrix(joint) for joint in skin.joints])
    if skin.inverse_bind_matrices is None:
        return matrices
    inverse = accessors.numbers(skin.inverse_bind_matrices, ("MAT4",)).reshape(-1, 4, 4).swapaxes(1, 2)
    if len(inverse) < len(matrices):
        raise DatasetError(f"is not valid glTF: skins[{index}] has {len(inverse)} matrices for {len(matrices)} joints")
    return np.asarray(matrices @ inverse[: len(matrices)])


def _instances(accessors: Accessors, instancing: Instancing) -> Matrices:
    kinds = {"TRANSLATION": "VEC3", "ROTATION": "VEC4", "SCALE": "VEC3"}
    given = {name: index for name, index in instancing.attributes.items() if name in kinds}
    if not given:
        raise DatasetError("is not valid glTF: instances without translation, rotation or scale")
    counts = {accessors.count(index) for index in given.values()}
    if len(counts) > 1:
        raise DatasetError(f"is not valid glTF: instances with {' and '.join(map(str, sorted(counts)))} values")
    if max(counts) > MAX_ENTRIES:
        raise DatasetError(f"has {max(counts):,} instances of a mesh, over the limit of {MAX_ENTRIES:,}")
    values = {name: accessors.numbers(index, (kinds[name],)) for name, index in given.items()}
    count = max(counts)
    return transforms(
        values.get("TRANSLATION", np.zeros((count, 3))),
        values.get("ROTATION", np.tile([0.0, 0.0, 0.0, 1.0], (count, 1))),
        values.get("SCALE", np.ones((count, 3))),
    )


class _Worlds:
    """Matrices of nodes to the world, also of those outside the scene, which may be joints."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._known: dict[int, Matrices] = {}
        self._parents: dict[int, int] | None = None

    def matrix(self, index: int) -> Matrices:
        """Return a node's matrix ``4 4`` to the world."""
        path, seen = [index], {index}
        while path[-1] not in self._known and (parent := self._parent(path[-1])) is not None:
            if parent in seen:
                raise DatasetError(f"is not valid glTF: nodes[{index}] is inside itself")
            path.append(parent)
            seen.add(parent)
        for node in reversed(path):
            if node not in self._known:
                parent = self._parent(node)
                local = _local(self.document.get(Node, node))
                self._known[node] = local if parent is None else self._known[parent] @ local
        return self._known[index]

    def _parent(self, index: int) -> int | None:
        if self._parents is None:
            every = range(self.document.count(Node))
            self._parents = {child: node for node in every for child in self.document.get(Node, node).children}
        return self._parents.get(index)


def _local(node: Node) -> Matrices:
    if node.matrix is not None:
        return np.array(node.matrix, dtype=np.float64).reshape(4, 4).T
    parts: Any = (node.translation, node.rotation, node.scale)
    return np.asarray(transforms(*(np.array([part]) for part in parts))[0])


def transforms(translations: Matrices, rotations: Matrices, scales: Matrices) -> Matrices:
    """Compose matrices ``n 4 4`` that scale ``n 3``, turn by quaternions ``n 4`` (x, y, z, w), then move ``n 3``."""
    length = np.linalg.norm(rotations, axis=-1, keepdims=True)
    x, y, z, w = np.where(length > 0, rotations / np.where(length > 0, length, 1), [0.0, 0.0, 0.0, 1.0]).T
    turns = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    ).transpose(2, 0, 1)
    matrices = np.tile(np.eye(4), (len(turns), 1, 1))
    matrices[:, :3, :3] = turns * scales[:, None, :]
    matrices[:, :3, 3] = translations
    return matrices
