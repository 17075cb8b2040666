"""What a component of a model or a loss may ask of a run that trains it. All are optional, for modules inside too."""

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class FollowsSteps(Protocol):
    """A component, a module inside one, or a loss that is told of each step before it: for annealing, occupancy grids.

    What a checkpoint must have of it, for sampling and for a run that goes on, stands in parameters or in buffers
    (``register_buffer``); a loss, of which nothing is saved, derives all from ``step``.
    """

    def on_step(self, step: int, steps: int) -> None:
        """Prepare for the step that follows; called once for each, without gradients, in every process.

        A step's passes (``train.accumulate``) share one call. Steps come in order, but a resumed run begins at its
        checkpoint's, and one that rolls back or was stopped within a step comes by some again: change as a function of
        ``step``. Random numbers are seeded by the step. With ``train.cuda_graph`` this runs outside the captured step,
        which sees tensors that are changed in place and nothing else; where attributes change, the run says so and
        goes on without the graph.

        Args:
            step: number of the step, from 0 to ``steps - 1``.
            steps: of the whole run, ``train.steps``.
        """
        ...


@runtime_checkable
class Reports(Protocol):
    """A component, a module inside one, or a loss with figures and pictures of its own in log, TensorBoard and page."""

    def report(self) -> Mapping[str, Tensor]:
        """Return what the training pass that just ended has to show: the same names each time, at most 16.

        A tensor of shape () is a figure: the log has its mean over the passes since the last line as ``PLACE/NAME``,
        such as ``field/occupied``. One of shape ``3 h w`` in [0, 1], 1,024 pixels a side at most, is a picture: that of
        the last pass is kept with each preview. Nothing here may wait for the device; the tensors are read when the
        losses are.
        """
        ...


@runtime_checkable
class Compiles(Protocol):
    """A component, or a module inside one, that says what of it ``train.compile`` may compile.

    It is compiled in its place on a run's first batch: no name of a parameter changes. Samples, measurements and
    previews are computed plainly. A step's tensors should have the same shapes each time; what meets others is computed
    plainly too.
    """

    compiled_methods: tuple[str, ...]
    """Names of methods that ``max`` compiles, each in one piece; with none, it compiles the blocks."""

    def repeated_blocks(self) -> Iterable[nn.Module]:
        """Return the blocks that ``regions`` compiles, each by itself: those of one class and shape share the work."""
        ...
