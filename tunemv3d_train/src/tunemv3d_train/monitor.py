"""Figures and pictures that a run shows of itself, made with the weights that a checkpoint publishes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor

from tunemv3d_core.config.run_spec import RunSpec, spec_id
from tunemv3d_core.console import messages
from tunemv3d_core.io.generated import GeneratedBy
from tunemv3d_core.viz.pictures import to_pil
from tunemv3d_train.compilation import plainly
from tunemv3d_train.evaluation import Figures
from tunemv3d_train.page import write_page
from tunemv3d_train.preview import write_picture
from tunemv3d_train.progress import Progressed
from tunemv3d_train.runs import RunFolder
from tunemv3d_train.setup import Parts
from tunemv3d_train.sharding import whole


class Monitor:
    """Measures and draws in the main process, before training, when it is due, and at the end.

    What computes the model does so inside ``published``, which all processes enter.

    Args:
        spec: the resolved spec.
        accelerator: precision.
        folder: of the run.
        parts: the model, and what measures and draws it.

    Attributes:
        preview: the last picture, if any.
        pictures: what components and losses report of the last step, ``3 h w`` in [0, 1] by ``PLACE/NAME``; drawn with
            the preview.
    """

    def __init__(self, spec: RunSpec, accelerator: Accelerator, folder: RunFolder, parts: Parts) -> None:
        self._spec, self._accelerator, self._folder, self._parts = spec, accelerator, folder, parts
        self.preview: Path | None = None
        self.pictures: Mapping[str, Tensor] = {}

    def measure(self, announced: str = "") -> Figures:
        """Return the fixed sample's figures now."""
        if announced:
            messages.print(f"{announced}: {self._parts.measurement.sample.description}")
        with self._accelerator.autocast():
            return self._parts.measurement()

    def due(self, done: int) -> bool:
        """Tell whether to measure or to draw after a step."""
        options = self._spec.train
        return self._is_due(options.evaluate_every, done) or self._is_due(options.preview_every, done)

    def after_step(self, done: int, progress: Progressed) -> None:
        """Measure and draw if it is due."""
        if self._is_due(self._spec.train.evaluate_every, done):
            self._record(done, progress)
        if self._is_due(self._spec.train.preview_every, done):
            self._draw(done, progress)

    def make_up(self, done: int, progress: Progressed) -> None:
        """Do what was due at the step that the run goes on from, and was not done when it ended there."""
        if self._is_due(self._spec.train.evaluate_every, done) and not self.logged(done):
            self._record(done, progress)
        if self._is_due(self._spec.train.preview_every, done) and not self._folder.preview(done).exists():
            self._draw(done, progress)

    def finish(self, done: int, progress: Progressed) -> Figures:
        """Measure and draw the end of the run."""
        after = self.logged(done) or self._record(done, progress, "measuring after training")
        self._draw(done, progress)
        return after

    def is_finished(self, done: int) -> bool:
        """Tell whether nothing is left to do after ``done`` steps, not even to measure and to draw."""
        if self._parts.preview is not None and self._folder.preview(done).exists():
            self.preview = self._folder.preview(done)
        drawn = self._parts.preview is None or self.preview is not None
        return done == self._spec.train.steps and drawn and bool(self.logged(done))

    def logged(self, done: int) -> Figures:
        """Return the figures that the log has of a step; none where it was not measured."""
        return self._folder.figures(done, self._parts.measurement.sample.prefix)

    def _is_due(self, every: int, done: int) -> bool:
        return bool(every) and done % every == 0 and done < self._spec.train.steps

    def _record(self, done: int, progress: Progressed, announced: str = "") -> Figures:
        figures = self.measure(announced)
        progress.record(done, figures, self._parts.measurement.sample.prefix)
        progress.restart_clock(done)
        return figures

    def _draw(self, done: int, progress: Progressed) -> None:
        if self._parts.preview is not None:
            with self._accelerator.autocast():
                self.preview = self._parts.preview(self._folder.preview(done), done)
            progress.picture(done, self.preview)
            self._draw_reported(done, progress)
            progress.restart_clock(done)
            write_page(self._folder, done)

    def _draw_reported(self, done: int, progress: Progressed) -> None:
        by = GeneratedBy(f"{self._spec.name}/step-{done:06d}", spec_id(self._spec))
        for name, picture in self.pictures.items():
            path = self._folder.picture(done, name)
            write_picture(path, to_pil(picture), by)
            progress.picture(done, path, name)

    @contextmanager
    def published(self) -> Iterator[None]:
        """The model with the weights that a checkpoint publishes, as whoever loads it computes it."""
        average = self._parts.average
        with plainly(self._spec), nullcontext() if average is None else average.applied(), whole(self._parts.step):
            yield
