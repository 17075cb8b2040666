"""What is on the disk after a power cut: a log of operations, played back with what was not synced lost.

A file's bytes are safe once the file was synced after they were written. A name is safe once its folder was synced
after it was given. Of the rest a policy says what has reached the disk.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

from file_operations import Event


@dataclass
class Node:
    """A file or a folder. ``safe`` is what the disk holds for certain: None where it does not have the file yet."""

    names: "dict[str, Node] | None" = None
    content: bytearray = field(default_factory=bytearray)
    safe: bytes | None = None
    safe_names: "dict[str, Node]" = field(default_factory=dict)


class Disk:
    """A folder as a process sees it, and as the disk holds it for certain.

    Args:
        root: path of the folder in the log; its parent is there for certain.
        before: contents of the files that were in it, by their path in the folder; they are safe.
    """

    def __init__(self, root: Path, before: dict[str, bytes]) -> None:
        self.above = root.parent
        self.top = Node(names={})
        self._open: dict[int, Node] = {}
        for name, content in before.items():
            folder = self.top
            for part in (root.name, *Path(name).parts[:-1]):
                folder = _both(folder, part, Node(names={}))
            _both(folder, Path(name).name, Node(content=bytearray(content), safe=content))

    def play(self, event: Event) -> None:
        """Do one operation."""
        kind, *what = event
        if kind == "open":
            self._opened(*what)
        elif kind == "write":
            node, at, data = self._open[what[0]], what[1], what[2]
            node.content.extend(bytes(max(0, at - len(node.content))))
            node.content[at : at + len(data)] = data
        elif kind == "truncate":
            del self._open[what[0]].content[what[1] :]
        elif kind == "sync":
            self._sync(self._node(what[0]))
        elif kind == "rename":
            folder, name = self._place(what[0])
            target, new = self._place(what[1])
            target[new] = folder.pop(name)
        elif kind in ("unlink", "rmdir"):
            folder, name = self._place(what[0])
            del folder[name]
        elif kind == "mkdir":
            folder, name = self._place(what[0])
            folder[name] = Node(names={})

    def write_out(self, folder: Path, policy: str, seed: int = 0) -> None:
        """Make the folder as it is found afterwards.

        Args:
            folder: takes the place of the log's folder; its parent exists.
            policy: "kept": everything reached the disk, as after a kill. "lost": nothing that was not synced.
                "hollow": all names, but of what was not synced only zeros. "mixed": by chance, file by file and folder
                by folder.
            seed: of the chance.
        """
        draw = random.Random(seed)
        for node in _names(self.top, policy, draw).values():
            _write(node, folder, policy, draw)

    def _opened(self, handle: int, path: str, truncated: bool) -> None:
        folder, name = self._place(path)
        node = folder.setdefault(name, Node())
        if truncated:
            node.content.clear()
        self._open[handle] = node

    def _sync(self, node: Node) -> None:
        if node.names is None:
            node.safe = bytes(node.content)
        else:
            node.safe_names = dict(node.names)

    def _place(self, path: str) -> tuple[dict[str, Node], str]:
        names = self._node(str(Path(path).parent)).names
        assert names is not None
        return names, Path(path).name

    def _node(self, path: str) -> Node:
        node = self.top
        for part in Path(path).relative_to(self.above).parts:
            assert node.names is not None
            node = node.names[part]
        return node


def _both(folder: Node, name: str, new: Node) -> Node:
    """Put a node where it is both seen and safe, unless one is there."""
    assert folder.names is not None
    folder.safe_names[name] = folder.names.setdefault(name, new)
    return folder.names[name]


def _names(node: Node, policy: str, draw: random.Random) -> dict[str, Node]:
    assert node.names is not None
    if policy in ("kept", "hollow"):
        return node.names
    return node.safe_names if policy == "lost" or draw.random() < 0.5 else node.names


def _write(node: Node, path: Path, policy: str, draw: random.Random) -> None:
    if node.names is not None:
        path.mkdir()
        for name, below in _names(node, policy, draw).items():
            _write(below, path / name, policy, draw)
        return
    whole, safe = bytes(node.content), node.safe or b""
    if policy == "kept" or node.safe == whole:
        path.write_bytes(whole)
        return
    # Lengths reach the disk with the names; contents of other places in the file may come first, or never.
    hollow = safe[: len(whole)] + bytes(max(0, len(whole) - len(safe)))
    half = len(whole) // 2
    choices = {"lost": [safe], "hollow": [hollow], "mixed": [safe, hollow, whole[:half] + hollow[half:], whole]}
    path.write_bytes(draw.choice(choices[policy]))


def replay(events: list[Event], root: Path, before: dict[str, bytes], until: int) -> Disk:
    """Play the first ``until`` operations of a log of what happened below ``root``."""
    disk = Disk(root, before)
    for event in operations(events)[:until]:
        disk.play(event)
    return disk


def operations(events: list[Event]) -> list[Event]:
    """The events that change or sync something."""
    return [event for event in events if event[0] != "told"]


def told_before(events: list[Event], operation: int) -> list[str]:
    """What a person had been told before an operation, by its number."""
    told, number = [], 0
    for event in events:
        if event[0] == "told":
            told.append(event[1])
        elif (number := number + 1) > operation:
            break
    return told
