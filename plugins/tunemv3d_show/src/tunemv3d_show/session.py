"""The viewer's state, without any browser: one object, its steps, its cameras and branches."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import RunSpec, SampleSpec
from tunemv3d_core.consistency import check_consistency
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.sample_files import check_finite
from tunemv3d_core.io.samples import cut_prompts
from tunemv3d_core.latents import decode_pictures
from tunemv3d_core.sampling import Course, KnownViews, SamplingStep, fuse_clean, latent_size, sample
from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_core.types import Text
from tunemv3d_show.surface import PreviewMesh, extract


class Stopped(Exception):
    """Raised inside a step when a person asked to stop."""


@dataclass(frozen=True)
class ViewerSettings:
    """Settings of a sampling in the viewer.

    Attributes:
        prompt: what to make.
        seed: of the noise.
        steps: denoising steps.
        consistency: K.
        guidance: scale; at most 1 is none.
    """

    prompt: str = "a red office chair"
    seed: int = 0
    steps: int = 25
    consistency: float = 1.0
    guidance: float = 5.0

    def options(self, own: SampleSpec) -> SampleSpec:
        """Return the options of a sampling: these settings, and the checkpoint's own for the rest.

        Raises:
            TuneMV3DError: a setting that cannot be sampled; says which, and its range.
        """
        if not self.prompt.strip():
            raise TuneMV3DError("the prompt is empty: say what object to make, such as 'a red office chair'")
        if not 0 <= self.seed < 2**32:
            raise TuneMV3DError(f"a seed should be from 0 to {2**32 - 1}, not {self.seed}")
        return own.merged(steps=self.steps, guidance=self.guidance, consistency=self.consistency)


@dataclass(frozen=True, eq=False)
class Step:
    """One denoising step of the object.

    Attributes:
        index: from 0.
        t: its timestep.
        before: ``1 n c h w``, latents that it began with, where a branch sets out; None for noise.
        latents: ``1 n c h w`` after it.
        x_t: ``1 n c h w``, what the model saw.
        x0: ``1 n v h w``, the field's prediction of the clean views; None where no field ran.
        seconds: that it took.
    """

    index: int
    t: float
    before: Tensor | None
    latents: Tensor
    x_t: Tensor
    x0: Tensor | None
    seconds: float


@dataclass
class Session:
    """One object in the making.

    Attributes:
        model: whose checkpoint is viewed.
        spec: of the checkpoint.
        checkpoint: its name, for the exported manifest.
        settings: of the next sampling.
        cameras: ``n``, of the next sampling.
        history: steps of the object that is shown, oldest first.
        shown: cameras that the history was sampled with.
        made: settings that the history was sampled with.
        known: views of ``shown`` that were given.
        branched: whether its later steps have other settings than its first.
        data: what the checkpoint says of its training data.
    """

    model: MultiviewDiffusion
    spec: RunSpec
    checkpoint: str = ""
    settings: ViewerSettings = field(default_factory=ViewerSettings)
    cameras: Cameras = field(default_factory=lambda: Cameras.orbit(8))
    history: list[Step] = field(default_factory=list)
    shown: Cameras | None = None
    made: ViewerSettings | None = None
    known: KnownViews | None = None
    branched: bool = False
    data: dict[str, Any] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, model: MultiviewDiffusion, spec: RunSpec, checkpoint: str) -> "Session":
        """Start a session with the checkpoint's own options and cameras."""
        own = spec.sample
        # A slider has one number: of a schedule, its first.
        first = check_consistency(own.consistency)[0]
        settings = ViewerSettings(steps=own.steps, consistency=first, guidance=own.guidance)
        session = cls(model, spec, checkpoint, settings)
        session.cameras = Cameras.orbit(spec.views.inputs, aspect=session.aspect)
        return session

    @property
    def aspect(self) -> float:
        """Width over height of the views."""
        h, w = latent_size(self.model.backbone.ports, self.spec.sample.size)
        return w / h

    @property
    def finished(self) -> bool:
        """Tell whether the object's last step was done."""
        return self.made is not None and len(self.history) == self.made.steps

    @property
    def notes(self) -> list[str]:
        """Sentences on what of the prompt the text encoder did not see, if anything."""
        return [] if self.made is None else cut_prompts(self.model.backbone, [self.made.prompt])

    def stop(self) -> None:
        """Make a sampling in another thread end after the step at work; its steps are kept."""
        self._stop.set()

    def start(self, on_step: Callable[[Step], None] = lambda step: None) -> None:
        """Sample from noise, with the settings and cameras as they are now.

        Raises:
            TuneMV3DError: a setting or a camera is out of its range.
        """
        self.settings.options(self.spec.sample)
        cameras = self.cameras.check()
        self.history, self.shown, self.known, self.branched = [], cameras, None, False
        self._sample(on_step)

    def branch(self, index: int, on_step: Callable[[Step], None] = lambda step: None) -> None:
        """Go on from before a step of the history with the settings as they are now; later steps are forgotten.

        Raises:
            TuneMV3DError: there is no such step, or the number of steps or cameras is another now.
        """
        self.settings.options(self.spec.sample)
        if self.made is None or not 0 <= index < len(self.history):
            raise TuneMV3DError(f"there is no step {index} to branch from: {len(self.history)} steps are there")
        if self.settings.steps != self.made.steps:
            raise TuneMV3DError(
                f"a branch has the steps of what it leaves: set steps to {self.made.steps}, or sample anew"
            )
        assert self.shown is not None
        before, self.branched, self.cameras = self.history[index].before, True, self.shown
        self.history = self.history[:index]
        self._sample(on_step, None if before is None else (index, before))

    def add_views(self, cameras: Cameras, on_step: Callable[[Step], None] = lambda step: None) -> None:
        """Sample the views of further cameras ``m`` to fit the finished ones, which stay as they are.

        Raises:
            TuneMV3DError: no object is finished, or a camera is out of its range.
        """
        self.settings.options(self.spec.sample)
        if not self.finished or self.shown is None:
            raise TuneMV3DError("new views are made to fit finished ones: let the sampling end first")
        done = self.history[-1].latents
        blank = done.new_zeros(1, cameras.shape[0], *done.shape[2:])
        given = torch.arange(done.shape[1] + cameras.shape[0]) < done.shape[1]
        self.known = KnownViews(torch.cat([done, blank], dim=1), given[None].to(done.device))
        self.shown = Cameras.cat([self.shown, cameras.check()])
        self.cameras, self.history, self.branched = self.shown, [], False
        self._sample(on_step)

    @torch.no_grad()
    def surface(self, step: Step, resolution: int) -> PreviewMesh | None:
        """Extract the field's surface of the object in a step; None where there is none.

        Args:
            step: of the history.
            resolution: points along a side of the cube around the unit sphere.
        """
        if self.model.field is None or self.shown is None or self.made is None:
            return None
        level = torch.full(step.x_t.shape[:2], step.t, device=step.x_t.device)
        if self.known is not None:
            level = level.masked_fill(self.known.views, 0.0)
        text = self._text(self.made.prompt)
        scene = self.model.fuse(step.x_t, level, text, self._placed())
        return extract(scene, resolution, self.model.device) if isinstance(scene, HasSurface) else None

    @torch.no_grad()
    def scene(self) -> Scene:
        """Fuse the object's views as they are now, finished or not, into the field's scene.

        Raises:
            TuneMV3DError: there is no field or no object.
        """
        if self.model.field is None:
            raise TuneMV3DError("this checkpoint has no field: there is no shape")
        if not self.history or self.made is None:
            raise TuneMV3DError("there is no object yet: sample one first")
        latents = self.history[-1].latents
        return fuse_clean(self.model, latents, self._text(self.made.prompt), self._placed())

    @torch.no_grad()
    def render(self, camera: Cameras) -> Tensor:
        """The field's own view of the object from a camera (shape ``(1,)``): ``3 H W`` in [0, 1].

        Raises:
            TuneMV3DError: as ``scene``, or the field gives no pictures, or the camera is inside the object.
        """
        scene, ports = self.scene(), self.model.field.ports if self.model.field is not None else None
        if ports is None or ports.gives != "latents":
            raise TuneMV3DError("this field gives features: its views cannot be decoded")
        h, w = self.history[-1].latents.shape[-2:]
        placed = camera.check()[None].to(self.model.device)
        return self.pictures(self.model.blend(scene.render(placed, (h, w)), (h, w)))[0]

    @torch.no_grad()
    def pictures(self, latents: Tensor) -> Tensor:
        """``1 n c h w`` decoded: ``n 3 H W`` in [0, 1]."""
        return decode_pictures(self.model.backbone, latents)[0].cpu()

    def _text(self, prompt: str) -> Text:
        return self.model.backbone.encode_text([prompt])

    def _placed(self) -> Cameras:
        assert self.shown is not None
        return self.shown[None].to(self.model.device)

    def _sample(self, on_step: Callable[[Step], None], begin: tuple[int, Tensor] | None = None) -> None:
        self.made = replace(self.settings)
        options = self.made.options(self.spec.sample)
        self._stop.clear()
        recorder = _Recorder(self, on_step, None if begin is None else begin[1])
        with suppress(Stopped):
            sample(
                self.model,
                self._text(self.made.prompt),
                self._placed(),
                [self.made.seed],
                options,
                negative=self._text("") if options.guided else None,
                known=self.known,
                on_step=recorder,
                course=Course(begin=begin),
            )


class _Recorder:
    """Keeps every step in the session's history."""

    def __init__(self, session: Session, on_step: Callable[[Step], None], before: Tensor | None) -> None:
        self._session, self._on_step, self._before = session, on_step, before
        self._clock = time.perf_counter()

    def __call__(self, seen: SamplingStep) -> None:
        seconds = time.perf_counter() - self._clock
        check_finite(seen.latents[0], f"after step {seen.index + 1}")
        step = Step(seen.index, seen.t, self._before, seen.latents, seen.x_t, seen.prediction.x0, seconds)
        self._session.history.append(step)
        self._on_step(step)
        self._before, self._clock = seen.latents, time.perf_counter()
        if self._session._stop.is_set():
            raise Stopped
