"""One object of a job: load it, render it, describe it, and put its folder in place when it is whole."""

import os
import shutil
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.atomic import put_in_place
from tunemv3d_core.io.posed_images import PosedImages, write_object
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.slots import MeshRenderer
from tunemv3d_data.captions.appearance import Appearance, measure
from tunemv3d_data.captions.rules import caption_rules
from tunemv3d_data.captions.vocabulary import load_vocabulary
from tunemv3d_data.meshes.mesh import Mesh, load_mesh
from tunemv3d_data.meshes.recolour import is_paintable, variant
from tunemv3d_data.notes import Note, collect, refusal, with_notes
from tunemv3d_data.objects import SourceObject, source_digest
from tunemv3d_data.rendering.pictures import file_names, save_view
from tunemv3d_data.rendering.settings import MIN_COVER, OutputError, RenderJob, Result, writing
from tunemv3d_data.rendering.viewpoints import viewpoints

_MEASURED_VIEWS, _MEASURED_PIXELS = 24, 128
"""Captions are measured on about this much of what was rendered: the memory of an object does not grow with it."""


@dataclass(frozen=True)
class Work:
    """Work of a worker on one object: ``Work(job, scratch)(source)``.

    Attributes:
        job: what to make.
        scratch: folder on the dataset's disk for what is not yet whole; it must exist.
    """

    job: RenderJob
    scratch: Path

    def __call__(self, source: SourceObject) -> tuple[list[Result], int]:
        """Render an object and its variants: their results, and this process's largest memory so far in bytes.

        Whatever is wrong with the mesh is a result, not an error.

        Raises:
            ComponentError: the renderer cannot be built here.
            OutputError: the folder cannot be written.
        """
        renderer = build_renderer(self.job.renderer)
        return render_object(self.job, self.scratch, renderer, source), peak_memory()


def peak_memory() -> int:
    """Return this process's largest memory so far, bytes; 0 where the system does not tell, as Windows."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage, whose figure a process that was started by a larger one inherits.
        return int(status.read_text(encoding="utf-8").split("VmHWM:")[1].split()[0]) * 1024
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@lru_cache(1)
def build_renderer(name: str) -> MeshRenderer:
    """Build a mesh renderer by name with its default options, once in a process."""
    component = registry().get("mesh_renderer", name)
    built: MeshRenderer = component.load_build()(component.plugin.spec(type=name))
    return built


def render_object(job: RenderJob, scratch: Path, renderer: MeshRenderer, source: SourceObject) -> list[Result]:
    """Render one object and those of its variants that are not finished."""
    names = job.names_of(source.id)
    waiting = [name for name in names if not job.is_finished(name)]
    results = {name: Result(name, "kept") for name in names}
    if waiting and source.problem:
        return [Result(source.id, "refused", "source", _without_folder(source.problem, source))]
    try:
        with collect() as heard:
            mesh = load_mesh(source) if waiting else None
            digest = source_digest(source) if waiting else ""
    except Exception as error:  # meshes of any kind provoke errors of any kind
        return [_failed(source.id, "unreadable", error, source)]
    for name in waiting:
        assert mesh is not None
        number = names[name]
        facts = {"base": source.id, "variant": number, "split": job.split_of(source.id), "source_sha256": digest}
        try:
            shape = mesh if number == 0 else variant(mesh, source.id, number, recolour=is_paintable(source))
            results[name] = _render_one(job, scratch, renderer, source, shape, name, facts, heard)
        except OutputError:
            raise
        except Exception as error:  # so do renderers
            results[name] = _failed(name, "cannot be rendered", error, source)
    return list(results.values())


def _failed(name: str, cause: str, error: Exception, source: SourceObject) -> Result:
    said = str(error) if isinstance(error, DatasetError) else f"{type(error).__name__}: {error}".removesuffix(": ")
    cause = "out of memory" if isinstance(error, MemoryError) else cause
    return Result(name, "failed", cause, _without_folder(said, source))


def _without_folder(said: str, source: SourceObject) -> str:
    """A reason that names the source's file, but not the folder where it lies on this machine."""
    return said.replace(str(source.path), source.path.name)


def _render_one(
    job: RenderJob,
    scratch: Path,
    renderer: MeshRenderer,
    source: SourceObject,
    mesh: Mesh,
    name: str,
    facts: dict[str, Any],
    loading: Sequence[Note],
) -> Result:
    """Render into a folder of the scratch space, and move it in place when it is whole.

    To ``loading``, the notes on the mesh, those on pictures and captions are added.
    """
    if job.strict and loading:
        return _refused(name, loading, source)
    cameras = viewpoints(name, job.views, job.rig, job.size[1] / job.size[0])
    part = scratch / uuid.uuid4().hex
    try:
        with writing(job.out):
            part.mkdir()
        with collect(
            only_ours=True
        ) as heard:  # a library may log a thing once in a process: at another object each run
            seen = _pictures(job, part, renderer, mesh, cameras, name, keep_names=facts["variant"] == 0)
            if seen.cover < MIN_COVER:
                reason = f"covers {seen.cover:.2%} of the picture; at least {MIN_COVER:.0%} is needed"
                return Result(name, "refused", "too little to see", reason)
            record = _record(job, source, mesh, name, cameras, seen, facts)
        notes = [replace(note, text=_without_folder(note.text, source)) for note in (*loading, *heard)]
        if job.strict and notes:
            return _refused(name, notes, source)
        with writing(job.out):
            write_object(part, with_notes(record, notes))
            size = sum(entry.stat().st_size for entry in os.scandir(part))
            _put_in_place(part, job.folder(name))
        return Result(name, "rendered", bytes=size)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _refused(name: str, notes: Sequence[Note], source: SourceObject) -> Result:
    return Result(name, "refused", notes[0].kind, _without_folder(refusal(notes), source))


def _pictures(
    job: RenderJob, folder: Path, renderer: MeshRenderer, mesh: Mesh, cameras: Cameras, name: str, keep_names: bool
) -> Appearance:
    """Write every view as it comes, and measure what captions tell."""
    every, stride = -(-job.views // _MEASURED_VIEWS), max(1, min(job.size) // _MEASURED_PIXELS)
    kept = []
    for index, view in enumerate(renderer(mesh, cameras, job.size, job.light_of(name))):
        with writing(job.out):
            save_view(folder, index, view, job.background_colour(), job.quality, job.geometry)
        if index % every == 0:
            keys = ("rgba", "albedo", "material", "depth")
            kept.append({key: view[key][::stride, ::stride].copy() for key in keys})  # type: ignore[index]
    return measure(kept, cameras[::every], mesh, keep_names, load_vocabulary(job.vocabulary))


def _record(
    job: RenderJob,
    source: SourceObject,
    mesh: Mesh,
    name: str,
    cameras: Cameras,
    seen: Appearance,
    facts: dict[str, Any],
) -> PosedImages:
    description = caption_rules(job.caption_rules, job.vocabulary)(source, mesh, seen)
    given = source.given if facts["variant"] == 0 else ()
    return PosedImages(
        id=name,
        files=file_names(job.views, "webp"),
        cameras=cameras,
        size=job.size,
        captions=tuple(dict.fromkeys((*given, *description.captions))),
        licence=source.licence,
        creator=source.creator,
        source=source.source,
        extra={
            **{"type": description.type, "colour": seen.main, **facts, "renderer": job.renderer},
            "mesh_to_world": [[float(f"{value:.9g}") for value in row] for row in mesh.from_file],
        },
        depth_files=file_names(job.views, "depth.png") if job.geometry else (),
        normal_files=file_names(job.views, "normal.png") if job.geometry else (),
    )


def _put_in_place(part: Path, folder: Path) -> None:
    """Move a whole object's folder to its place; a folder that was half made by other means goes.

    It waits for the disk: an object whose folder is there counts as finished, after a power cut too.
    """
    if not (folder / "transforms.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
    try:
        put_in_place(part, folder, durable=True)
    except OSError:
        if not (folder / "transforms.json").exists():  # where it exists, another process of this job was first
            raise
