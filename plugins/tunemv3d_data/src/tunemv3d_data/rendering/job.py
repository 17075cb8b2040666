"""The render job: meshes in, a multi-view dataset out. Finished objects are never redone."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.posed_images import PosedImages, read_json, read_object, write_json, write_manifest, write_object
from tunemv3d_core.registry import registry
from tunemv3d_core.slots import MeshRenderer
from tunemv3d_data.captions.measured import captions, measure, type_of
from tunemv3d_data.licences import attribution
from tunemv3d_data.meshes.mesh import Mesh, load_mesh
from tunemv3d_data.meshes.recolour import is_paintable, variant
from tunemv3d_data.renderers.light import STUDIO
from tunemv3d_data.rendering.viewpoints import viewpoints
from tunemv3d_data.sources.objects import SourceObject

MIN_COVER = 0.02
"""Objects that cover less of the picture on average (rods, cables) are refused."""


@dataclass(frozen=True)
class RenderJob:
    """What to make of every object.

    Attributes:
        out: the dataset's folder.
        renderer: name in the slot ``mesh_renderer``.
        views: cameras an object.
        resolution: pixels, square.
        variants: recoloured and stretched copies of every object that is not held out.
        quality: 1 to 100 for lossy WebP, None for lossless.
        held_out: ids that training never sees.
    """

    out: Path
    renderer: str = "embree"
    views: int = 24
    resolution: int = 128
    variants: int = 0
    quality: int | None = None
    held_out: frozenset[str] = frozenset()

    def settings(self) -> dict[str, Any]:
        """What all objects of one dataset must share, for ``dataset.json``."""
        kept = asdict(self)
        del kept["out"], kept["held_out"]
        return kept


@dataclass(frozen=True)
class Result:
    """What became of one object or variant; ``note`` says why where it was refused or failed."""

    id: str
    status: Literal["rendered", "kept", "refused", "failed"]
    note: str = ""


@dataclass
class Report:
    """The job's results in the order of the source."""

    results: list[Result] = field(default_factory=list)

    def of(self, *status: str) -> list[Result]:
        """The results with one of the given status."""
        return [result for result in self.results if result.status in status]


def run_job(
    job: RenderJob, sources: Sequence[SourceObject], workers: int = 1, done: Callable[[], object] = lambda: None
) -> Report:
    """Render all objects, then write ``dataset.json`` and ``ATTRIBUTION.md`` for those that are finished.

    Args:
        job: what to make.
        sources: the objects.
        workers: processes.
        done: called after every object.

    Raises:
        ComponentError: there is no such renderer.
        DatasetError: the folder holds a dataset made with other settings, or cannot be written.
    """
    registry().get("mesh_renderer", job.renderer)
    _claim(job)
    order = {source.id: place for place, source in enumerate(sources)}
    found: dict[str, list[Result]] = {}
    try:
        for source, results in _all_results(job, sources, workers):
            found[source.id] = results
            done()
    finally:
        report = Report([result for id_ in sorted(found, key=order.__getitem__) for result in found[id_]])
        _finish(job, report)
    return report


def render_object(job: RenderJob, renderer: MeshRenderer, source: SourceObject) -> list[Result]:
    """Render one object and its variants; whatever is wrong with its mesh is a result, not an error."""
    numbers = range(1 if source.id in job.held_out else job.variants + 1)
    names = [source.id if number == 0 else f"{source.id}-v{number}" for number in numbers]
    waiting = [number for number in numbers if not (_folder(job, names[number]) / "transforms.json").exists()]
    results = {name: Result(name, "kept") for name in names}
    try:
        mesh = load_mesh(source) if waiting else None
    except DatasetError as error:
        return [Result(source.id, "failed", str(error))]
    for number in waiting:
        assert mesh is not None
        shape = mesh if number == 0 else variant(mesh, source.id, number, recolour=is_paintable(source))
        results[names[number]] = _render_one(job, renderer, source, shape, names[number], number)
    return list(results.values())


def _render_one(
    job: RenderJob, renderer: MeshRenderer, source: SourceObject, mesh: Mesh, name: str, number: int
) -> Result:
    cameras = viewpoints(name, job.views)
    try:
        views = list(renderer(mesh, cameras, job.resolution, STUDIO))
        look = measure(views, cameras, mesh, keep_names=number == 0)
    except (ArithmeticError, LookupError, ValueError) as error:
        return Result(name, "failed", f"{source.id}: cannot be rendered: {type(error).__name__}: {error}")
    if look.cover < MIN_COVER:
        return Result(name, "refused", f"covers {look.cover:.1%} of the picture; at least {MIN_COVER:.0%} is needed")
    files = tuple(f"{index:03d}.webp" for index in range(job.views))
    record = PosedImages(
        id=name,
        files=files,
        cameras=cameras,
        size=(job.resolution, job.resolution),
        captions=tuple(captions(source, mesh, look)),
        licence=source.licence,
        creator=source.creator,
        source=f"{source.origin}: {source.name}",
        extra={
            "type": type_of(source),
            "colour": look.main,
            "base": source.id,
            "variant": number,
            "split": "held_out" if source.id in job.held_out else "train",
        },
    )
    _write(_folder(job, name), record, [view["rgba"] for view in views], job.quality)
    return Result(name, "rendered")


def _write(folder: Path, record: PosedImages, images: Sequence[Any], quality: int | None) -> None:
    """Write the pictures, and last ``transforms.json``, which marks the object as finished."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, image in zip(record.files, images, strict=True):
            save_image(folder / file, image, quality)
        write_object(folder, record)
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be written: {error}; finished objects are kept, run it again") from None


def save_image(path: Path, rgba: Any, quality: int | None) -> None:
    """Write RGBA as WebP: byte for byte where ``quality`` is None, else lossy, with any colour under alpha 0.

    Effort 99 of 100: the last one costs 20 times the time for 2 % of the size.
    """
    image = Image.fromarray(np.asarray(rgba))
    if quality is None:
        image.save(path, "WEBP", lossless=True, exact=True, quality=99, method=6)
    else:
        image.save(path, "WEBP", quality=quality, method=4)


def _all_results(
    job: RenderJob, sources: Sequence[SourceObject], workers: int
) -> Iterator[tuple[SourceObject, list[Result]]]:
    """Results as they come, from this process or from ``workers`` others."""
    if workers <= 1:
        renderer = build_renderer(job.renderer)
        for source in sources:
            yield source, render_object(job, renderer, source)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(job,)) as pool:
        running = {pool.submit(_work, source): source for source in sources}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except BrokenProcessPool:
            raise DatasetError("a worker died, perhaps for want of memory; run it again with fewer --workers") from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def build_renderer(name: str) -> MeshRenderer:
    """Build a mesh renderer by name with its default options."""
    component = registry().get("mesh_renderer", name)
    built: MeshRenderer = component.load_build()(component.plugin.spec(type=name))
    return built


_worker: tuple[RenderJob, MeshRenderer] | None = None


def _start_worker(job: RenderJob) -> None:
    """Set up a worker. Ctrl-C is the parent's: workers finish the object that they are at."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _worker = (job, build_renderer(job.renderer))


def _work(source: SourceObject) -> list[Result]:
    assert _worker is not None
    return render_object(*_worker, source)


def _folder(job: RenderJob, name: str) -> Path:
    return job.out / "objects" / name


def _claim(job: RenderJob) -> None:
    """Take the folder for this job, or refuse where it holds another one's pictures."""
    path = job.out / "dataset.json"
    if path.exists():
        before = read_json(path).get("settings")
        if before is not None and before != job.settings():
            raise DatasetError(
                f"{path}: this folder was rendered with {before}, now asked: {job.settings()}; use another --out"
            )
        return
    if job.out.exists() and any(job.out.iterdir()):
        raise DatasetError(f"{job.out}: not empty and not a dataset; use another --out")
    write_json(path, {"settings": job.settings()})


def _finish(job: RenderJob, report: Report) -> None:
    """Write the manifest and the attribution of all finished objects, earlier runs' included."""
    finished = sorted(path.parent for path in (job.out / "objects").glob("*/transforms.json"))
    if not finished:
        return
    records = [read_object(folder) for folder in finished]
    splits = {record.id: str(record.extra.get("split", "train")) for record in records}
    about = {record.id: {"licence": record.licence, "source": record.source} for record in records}
    write_manifest(job.out, job.out.name, splits, about, settings=job.settings())
    (job.out / "ATTRIBUTION.md").write_text("".join(attribution(records)), encoding="utf-8")
