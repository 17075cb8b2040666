"""``train.compile``: what components offer is compiled on a run's first batch, and held against the plain pass."""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from fnmatch import fnmatch
from pathlib import Path
from tempfile import gettempdir
from types import MethodType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.console import messages
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.slots import Compiles
from tunemv3d_train.non_finite import gradient_norm
from tunemv3d_train.setup import HALF, Parts

CACHE = Path("~/.cache/tunemv3d/compiled")
"""What was compiled is kept here, unless ``TORCHINDUCTOR_CACHE_DIR`` names another folder."""

TOLERANCE, TOLERANCE_IN_HALF = 0.01, 0.05
"""Shares by which the compiled pass's loss, and each slot's gradient of the whole, may be off. Rounding gives 1e-6 in
float32 and some 1e-3 in half precision."""

LIMITS = {"recompile_limit": 512, "accumulated_recompile_limit": 8192}
"""A block's code is compiled for each of its shapes; the compiler's own limit, 8, is for shapes that change."""


class Compilation:
    """Compiles parts of a run's model and keeps watch that its numbers stay right.

    All is compiled in one pass on a batch, of which nothing stays: no weight, no gradient, no buffer. After it nothing
    is compiled any more; what meets other shapes than then is computed plainly. Parts are compiled in their place, so
    that no name of a parameter changes.

    Args:
        spec: of the run.
        accelerator: device, precision, processes.
        parts: the model, its optimizers.

    Attributes:
        seconds: that compiling took.
    """

    def __init__(self, spec: RunSpec, accelerator: Accelerator, parts: Parts) -> None:
        self._mode, self._half = spec.train.compile, spec.train.precision in HALF
        self._accelerator, self._parts = accelerator, parts
        self._stance, self._attached = "default", False
        self.seconds = 0.0

    def used(self) -> AbstractContextManager[Any]:
        """Return a context in which passes use what was compiled, and compile nothing."""
        stance: AbstractContextManager[Any] = torch.compiler.set_stance(self._stance)
        return stance

    def prepare(self, batch: dict[str, Tensor], seed: int) -> None:
        """Compile at the first call; where that fails or gives other numbers, say so, and all stays plain.

        Args:
            batch: tensors of a step's pass.
            seed: of what the pass draws.

        Raises:
            ComponentError: a component names methods that it has not.
            torch.OutOfMemoryError: memory is too small.
        """
        if self._stance != "default":
            return
        with _unchanged(self._parts):
            reason = self._tried(batch, seed)
        self._stance = "force_eager" if reason else "eager_on_recompile"
        if reason:
            messages.print(f"train.compile: off, because {reason}", style="yellow", soft_wrap=True)

    def _tried(self, batch: dict[str, Tensor], seed: int) -> str:
        """Compile and compare; return why what was compiled cannot be used, "" where it can."""
        self._attached = self._attached or attach(self._parts.model, whole=self._mode == "max")
        if not self._attached:
            return "no component of this model offers anything to compile"
        with torch.compiler.set_stance("force_eager"):
            plain = self._figures(batch, seed)
        cache = _cache()
        self._tell(f"compiling (train.compile={self._mode}); for the first time this takes minutes")
        started = time.perf_counter()
        try:
            with _compiling():
                compiled = self._figures(batch, seed)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a compiler has a hundred ways to fail, and none is worth a run
            return f"the compiler failed: {' '.join(str(error).split())[:300]}"
        self.seconds = time.perf_counter() - started
        self._tell(f"compiled in {self.seconds:.0f} s; {cache} has it for the next time")
        return "" if (difference := self._differs(plain, compiled)) is None else difference

    def _figures(self, batch: dict[str, Tensor], seed: int) -> dict[str, float]:
        """Return a pass's loss and the norm of each slot's gradient. Waits for the device."""
        torch.manual_seed(seed)
        step: Callable[..., tuple[Tensor, dict[str, Tensor]]] = self._accelerator.unwrap_model(self._parts.step)
        with self._accelerator.autocast():
            loss, _ = step(**batch)
        loss.backward()  # type: ignore[no-untyped-call]
        slots: dict[str, list[nn.Parameter]] = {}
        for name, parameter in self._parts.parameters.items():
            slots.setdefault(name.partition(".")[0], []).append(parameter)
        norms = {slot: gradient_norm(parameters) for slot, parameters in slots.items()}
        figures = torch.stack([loss.detach().float(), *(norm.float().reshape(()) for norm in norms.values())])
        self._parts.optimisation.zero_grad()
        return dict(zip(("loss", *norms), figures.tolist(), strict=True))

    def _differs(self, plain: dict[str, float], compiled: dict[str, float]) -> str | None:
        """Say by what a compiled pass differs from the plain one beyond rounding; None where it does not."""
        tolerance = TOLERANCE_IN_HALF if self._half else TOLERANCE
        largest = max((norm for name, norm in plain.items() if name != "loss"), default=0.0)
        for name, value in plain.items():
            scale = abs(value) if name == "loss" else largest
            if not abs(compiled[name] - value) <= tolerance * scale:
                what = "loss" if name == "loss" else f"gradient of the {name.replace('_', ' ')}"
                return f"it gives another {what}: {compiled[name]:.6g}, not {value:.6g}"
        return None

    def _tell(self, sentence: str) -> None:
        if self._accelerator.is_main_process:
            messages.print(sentence, soft_wrap=True)


def plainly(spec: RunSpec) -> AbstractContextManager[Any]:
    """Return a context in which a run's model is computed as it is without ``train.compile``, bit for bit."""
    return nullcontext() if spec.train.compile == "off" else torch.compiler.set_stance("force_eager")


def attach(model: nn.Module, whole: bool) -> bool:
    """Let the next calls compile what components offer, in its place; return whether anything was offered.

    Args:
        model: whose modules may be ``Compiles``.
        whole: compile methods in one piece, and blocks only of what has none; else blocks alone.

    Raises:
        ComponentError: a component names methods that it has not.
    """
    offered = False
    for place, module in [(place, each) for place, each in model.named_modules() if isinstance(each, Compiles)]:
        methods = module.compiled_methods if whole else ()
        blocks = () if methods else tuple(module.repeated_blocks())
        for block in blocks:
            block.compile(dynamic=False)  # each shape has its own code
        for name in methods:
            if not callable(getattr(module, name, None)):
                raise ComponentError(f"compiled_methods of '{place}': it has no method '{name}'")
            _attach_method(module, name)
        offered = offered or bool(blocks or methods)
    return offered


def _attach_method(module: Any, name: str) -> None:
    if name == "forward":
        module.compile()
    else:  # bound anew, so that a deep copy of the module is not bound to this one
        setattr(module, name, MethodType(torch.compile(getattr(type(module), name)), module))


@contextmanager
def _compiling() -> Iterator[None]:
    """Let the compiler take what it needs, and draw random numbers as the plain pass does."""
    import torch._dynamo.config
    import torch._inductor.config

    with (
        torch._dynamo.config.patch(LIMITS),
        torch._inductor.config.patch(fallback_random=True),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", module=r"torch\.")  # what might be faster still
        yield


@contextmanager
def _unchanged(parts: Parts) -> Iterator[None]:
    """Leave no trace of the passes inside: buffers are as before, and gradients are gone."""
    before = {name: buffer.clone() for name, buffer in parts.model.named_buffers()}
    try:
        yield
    finally:
        for name, buffer in parts.model.named_buffers():
            if name in before:
                buffer.copy_(before[name])
        parts.optimisation.zero_grad()


def _cache() -> Path:
    """Return the compiler's folder: the user's cache, where nobody names another and it can be written."""
    given = os.environ.get("TORCHINDUCTOR_CACHE_DIR", "")
    # Its own folder, among temporary files, stands there as soon as some library has imported the compiler.
    if given and not fnmatch(given, f"{gettempdir()}/torchinductor_*"):
        return Path(given)
    folder = CACHE.expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(gettempdir())
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    return folder
