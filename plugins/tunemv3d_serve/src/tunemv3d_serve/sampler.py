"""The work of a job: an order sampled with a loaded checkpoint, and its files."""

import io
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.additions import Additions
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import SampleSpec, spec_id
from tunemv3d_core.errors import ComponentError, SampleError
from tunemv3d_core.generation import (
    ELEVATION,
    LoadedCheckpoint,
    SceneShape,
    build_mesher,
    check_prompts,
    finish,
    manifest_model,
    manifest_options,
    measured,
)
from tunemv3d_core.io.generated import GeneratedBy, model_name, save_picture
from tunemv3d_core.io.glb import glb
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.provenance import versions
from tunemv3d_core.io.real_size import as_large_as, wanted_height
from tunemv3d_core.io.sample_files import FinishedObject, check_finite, write_sample
from tunemv3d_core.io.samples import MANIFEST, cut_prompts, note_files, read_pictures, write_file
from tunemv3d_core.latents import decode_pictures
from tunemv3d_core.sampling import SamplingStep, fuse_clean, prepared_scheduler, sample
from tunemv3d_core.slots import Mesher
from tunemv3d_core.viz.pictures import grid
from tunemv3d_serve.jobs import Job
from tunemv3d_serve.order import About, Order

MESH = "object.glb"

PREVIEW_SHARE = 5
"""Between two pictures of a sampling lies at least this many times what decoding one takes."""


@dataclass(frozen=True)
class ObjectSampler:
    """Samples orders with one checkpoint.

    Attributes:
        loaded: the checkpoint. Its name is told to clients, without this machine's folders.
        added: what lies on top of it, for manifests.
        mesher: makes meshes; None where none can be made.
        no_mesh: a sentence on why not.
    """

    loaded: LoadedCheckpoint
    added: Additions = field(default_factory=Additions)
    mesher: Mesher | None = None
    no_mesh: str = "this server makes no meshes"

    @classmethod
    def of(cls, loaded: LoadedCheckpoint, added: Additions) -> "ObjectSampler":
        """Find out whether the checkpoint's objects can be meshed with what is installed."""
        try:
            loaded.check_surface()
            return cls(loaded, added, build_mesher("marching-cubes"))
        except (SampleError, ComponentError) as error:
            return cls(loaded, added, None, str(error))

    def about(self) -> About:
        """Tell what is served, with the checkpoint's own options."""
        own = self.loaded.spec.sample
        return About(
            checkpoint=model_name(self.loaded.name),
            spec_id=spec_id(self.loaded.spec),
            versions=versions(),
            steps=own.steps,
            guidance=own.guidance,
            consistency=list(k) if isinstance(k := own.consistency, tuple) else k,
            views=self.loaded.spec.views.inputs,
            meshes=self.mesher is not None,
        )

    def options(self, order: Order) -> SampleSpec:
        """Return the options of an order's sampling: its own, and the checkpoint's for the rest.

        Raises:
            TuneMV3DError: it cannot be sampled; says why.
        """
        check_prompts([order.prompt], [order.negative])
        if order.mesh and self.mesher is None:
            raise SampleError(f"mesh: {self.no_mesh}")
        own = self.loaded.spec.sample
        options = own.merged(steps=order.steps, guidance=order.guidance, consistency=order.consistency)
        prepared_scheduler(self.loaded.model.backbone, options.scheduler, options.steps)
        return options

    def __call__(self, job: Job) -> None:
        """Sample a job's order and write its files into its folder.

        Raises:
            Cancelled: somebody cancelled it.
            TuneMV3DError: it cannot be sampled or meshed.
        """
        finished, about = self._sampled(job)
        job.notes, job.picture = about["notes"], self._png(finished.images)
        made = write_sample(finished, job.folder, about)
        files = {"manifest.json": made / MANIFEST}
        if job.order.mesh:
            job.go_on()
            self._add_mesh(job, made, finished)
            files[MESH] = made / MESH
        archive = shutil.make_archive(str(job.folder / "object"), "zip", job.folder, made.name)
        job.files = {**files, "object.zip": Path(archive)}

    @torch.no_grad()
    def _sampled(self, job: Job) -> tuple[FinishedObject, dict[str, Any]]:
        """Sample a job's order; return the object and its manifest."""
        order, options, model = job.order, self.options(job.order), self.loaded.model
        began, cameras = time.perf_counter(), self._cameras(order.views)
        encode = model.backbone.encode_text
        scheduler = prepared_scheduler(model.backbone, options.scheduler, options.steps)
        latents = sample(
            model,
            encode([order.prompt]),
            cameras[None].to(model.device),
            [order.seed],
            options,
            scheduler=scheduler,
            negative=encode([order.negative]) if options.guided else None,
            on_step=_Progress(self, job),
        )
        finished = finish(model, latents, order.prompt, cameras)
        about = manifest_model(model_name(self.loaded.name), self.loaded.spec, model, scheduler, self.loaded.data)
        about |= manifest_options(options, order.negative) | self._added()
        about |= {"views": cameras.shape[0], "elevation": ELEVATION, "prompt": order.prompt, "seed": order.seed}
        about |= measured(finished, cut_prompts(model.backbone, [order.prompt]))
        return finished, {**about, "seconds": round(time.perf_counter() - began, 2)}

    def pictures(self, latents: Tensor) -> bytes:
        """Draw views ``1 n c h w`` in a row, as PNG."""
        return self._png(decode_pictures(self.loaded.model.backbone, latents)[0])

    def _png(self, images: Tensor) -> bytes:
        """Draw ``n 3 H W`` in [0, 1] in a row."""
        about = {"checkpoint": self.loaded.name, "spec_id": spec_id(self.loaded.spec), "data": self.loaded.data}
        buffer = io.BytesIO()
        save_picture(grid(images, None, None, None), buffer, GeneratedBy.of(about).xmp)
        return buffer.getvalue()

    def _cameras(self, views: int | None) -> Cameras:
        """Place cameras evenly around the object, shape ``(n,)``."""
        h, w = self.loaded.latent_size
        return Cameras.orbit(views or self.loaded.spec.views.inputs, elevation=ELEVATION, aspect=w / h)

    def _added(self) -> dict[str, list[str]]:
        """Names of what lies on top of the checkpoint, without this machine's folders."""
        parts = {"loras": self.added.loras, "embeddings": self.added.embeddings}
        return {name: [Path(file).name for file in files] for name, files in parts.items() if files}

    def _add_mesh(self, job: Job, made: Path, finished: FinishedObject) -> None:
        """Add ``object.glb`` to a written object, as ``tunemv3d mesh`` makes it."""
        assert self.mesher is not None
        model, order = self.loaded.model, job.order
        text, placed = model.backbone.encode_text([order.prompt]), finished.cameras[None].to(model.device)
        with torch.no_grad():
            scene = fuse_clean(model, finished.latents[None], text, placed)
        # Meshers fit surfaces, so they need gradients.
        mesh = self.mesher(SceneShape(scene, model, self.loaded.latent_size), read_pictures(made), model.device)
        mesh = as_large_as(mesh, wanted_height(order.prompt))
        write_file(made / MESH, glb(mesh, GeneratedBy.of(read_json(made / MANIFEST))))
        note_files(made, {"mesh": MESH}, mesh.figures, mesh.notes)
        job.notes = [*job.notes, *mesh.notes]


class _Progress:
    """Tells a job of every step, shows some of them, and ends it when it was cancelled."""

    def __init__(self, sampler: ObjectSampler, job: Job) -> None:
        self._sampler, self._job = sampler, job
        self._next = 0.0

    def __call__(self, seen: SamplingStep) -> None:
        job = self._job
        check_finite(seen.latents[0], f"after step {seen.index + 1} of {seen.steps}")
        began = time.perf_counter()
        if began >= self._next:
            job.picture = self._sampler.pictures(seen.latents)
            done = time.perf_counter()
            self._next = done + PREVIEW_SHARE * (done - began)
        job.step = seen.index + 1
        job.go_on()
