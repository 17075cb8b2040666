"""The commands that are disturbed: what each writes, how it goes on, and what must be there in the end."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import train_stand_ins as tiny
from file_operations import Event
from harness import Zygote, files_of, fresh, learned, recorded

from tunemv3d_core.errors import CheckpointError
from tunemv3d_core.io.checkpoint import check_checkpoint, run_checkpoints


@dataclass
class Disturbed:
    """A command and its undisturbed end.

    Attributes:
        name: of the kind.
        root: folder whose operations are disturbed.
        argv: the command line.
        events: of the run that nothing disturbed.
        end: what its folder held then.
        look: reads ``end`` off the folder.
        prepare: makes the world as it was before the command.
        clear: removes what is not looked at before the command goes on.
        before: what the folder held when the command began.
    """

    name: str
    root: Path
    argv: list[str]
    look: Callable[[], dict[str, Any]]
    prepare: Callable[[], object]
    clear: Callable[[], object]
    before: dict[str, bytes]
    events: list[Event]
    end: dict[str, Any]

    @classmethod
    def of(
        cls,
        zygote: Zygote,
        name: str,
        root: Path,
        argv: list[object],
        look: Callable[[], dict[str, Any]],
        prepare: Callable[[], object] | None = None,
        clear: Callable[[], object] = lambda: None,
    ) -> "Disturbed":
        """Run the command once in peace."""
        prepared = prepare or (lambda: fresh(root))
        prepared()
        before = files_of(root)
        events = recorded(zygote, argv, root)
        return cls(name, root, list(map(str, argv)), look, prepared, clear, before, events, look())

    def again(self) -> list[str]:
        """Return the command that goes on: a run that has a checkpoint is asked to resume."""
        resumes = self.name == "run" and run_checkpoints(self.root)
        return [*self.argv, "--resume"] if resumes else self.argv

    def is_finished(self) -> bool:
        """Tell whether the command has nothing left to do, and would say so: a packing that has its index."""
        return self.name == "packing" and (self.root / "shards.json").is_file()

    def goes_on(self, zygote: Zygote, promised: list[str]) -> None:
        """Assert that nothing that was told saved is lost, and that the same command makes the undisturbed end."""
        if promised and self.name == "run":
            newest = max((f.name for f in run_checkpoints(self.root) if is_good(f)), default="none")
            assert newest >= promised[-1], f"{promised[-1]} was told saved, {newest} is the newest good one"
        self.clear()
        if not self.is_finished():
            zygote.run(*self.again()).went_well()
        found = self.look()
        assert found.keys() == self.end.keys(), sorted(found.keys() ^ self.end.keys())
        differing = [name for name in found if found[name] != self.end[name]]
        assert not differing, f"not as in the undisturbed run: {differing}"


def is_good(checkpoint: Path) -> bool:
    """Tell whether a run can go on from a checkpoint."""
    try:
        check_checkpoint(checkpoint, state=True)
    except CheckpointError:
        return False
    return True


def training(zygote: Zygote, folder: Path) -> Disturbed:
    """A run that keeps one checkpoint, measures and draws."""
    data = tiny.write_dataset(folder / "discs")
    spec = tiny.write_spec(folder / "tiny.json", data, keep=1, preview_every=2, evaluate_every=2)
    run = folder / "run"
    return Disturbed.of(zygote, "run", run, ["tunemv3d-train", spec, "--out", run], lambda: learned(run))


def latents(zygote: Zygote, folder: Path) -> Disturbed:
    """A run that keeps its pictures' latents beside the dataset."""
    data = tiny.write_dataset(folder / "discs")
    spec = tiny.write_spec(folder / "tiny.json", data, steps=1, preview_every=0)
    run, cached = folder / "run", ["--set", "data.cache_latents=true"]

    def prepare() -> None:
        for path in (run, data):
            shutil.rmtree(path, ignore_errors=True)
        tiny.write_dataset(data)

    argv = ["tunemv3d-train", spec, "--out", run, *cached]

    def look() -> dict[str, Any]:
        # A process that writes now has such files too: they are swept after an hour.
        return {name: content for name, content in files_of(data).items() if not name.endswith(".part")}

    return Disturbed.of(zygote, "latents", data, argv, look, prepare, lambda: fresh(run))


def rendering(zygote: Zygote, folder: Path) -> Disturbed:
    """Three meshes made a dataset."""
    import trimesh

    meshes = folder / "meshes"
    meshes.mkdir()
    for number in range(2):
        trimesh.creation.box((1, 1 + number / 10, 1)).export(meshes / f"box-{number}.stl")
    (meshes / "broken.glb").write_bytes(b"not a mesh")
    out = folder / "rendered"
    return Disturbed.of(zygote, "rendering", out, ["render", meshes, out], lambda: files_of(out))


def packing(zygote: Zygote, folder: Path) -> Disturbed:
    """A dataset packed into three shards."""
    data, out = tiny.write_dataset(folder / "discs"), folder / "packed"
    (data / "ATTRIBUTION.md").write_text("nobody\n")

    def look() -> dict[str, Any]:
        # Notes that a kill left beside a finished index say nothing that it does not.
        return {name: content for name, content in files_of(out).items() if name.endswith((".tar", "s.json", ".md"))}

    argv = ["tunemv3d", "data", "pack", data, "--out", out, "--objects", "2"]
    return Disturbed.of(zygote, "packing", out, argv, look)


def evaluation(zygote: Zygote, folder: Path) -> Disturbed:
    """Two prompts sampled and measured."""
    data = tiny.write_dataset(folder / "discs")
    spec = tiny.write_spec(folder / "tiny.json", data, steps=2)
    run, out = folder / "run", folder / "evaluation"
    zygote.run("tunemv3d-train", spec, "--out", run).went_well()
    (folder / "prompts.txt").write_text("a disc\nanother disc\n")
    argv = ["tunemv3d", "evaluate", run, "--prompts", folder / "prompts.txt", "--consistency", "1", "--views", "4"]
    argv += ["--steps", "2", "--metric", "opacity-iou", "--no-controls", "--out", out, "--device", "cpu"]

    def look() -> dict[str, Any]:
        found: dict[str, Any] = dict(files_of(out))
        report = json.loads(found["evaluate.json"])
        found["evaluate.json"] = {name: report[name] for name in ("rows", "means", "paired") if name in report}
        for name in ("samples.jsonl", "scores.jsonl"):
            found[name] = sorted(found[name].splitlines())
        return found | {"table.md": True}  # it has the time

    return Disturbed.of(zygote, "evaluation", out, argv, look)


KINDS = {"run": training, "latents": latents, "rendering": rendering, "packing": packing, "evaluation": evaluation}
