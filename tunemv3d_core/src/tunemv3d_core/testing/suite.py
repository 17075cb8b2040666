"""Checks of each slot, and their runs: from Python, by pytest, by ``tunemv3d plugins check``."""

import os
from collections.abc import Callable, Collection, Mapping
from contextlib import redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from tunemv3d_core.errors import ComponentError, suggestion
from tunemv3d_core.plugins.descriptor import COMPONENT_SLOTS, MODEL_SLOTS
from tunemv3d_core.testing import (
    checks_backbone,
    checks_conduct,
    checks_dataset,
    checks_descriptor,
    checks_distributed,
    checks_losses,
    checks_mesh_renderer,
    checks_mesher,
    checks_metrics,
    checks_numerics,
    checks_optimisation,
    checks_place,
    checks_rendering,
    checks_shapes,
    checks_spec,
    checks_surface,
    checks_training,
    checks_views,
)
from tunemv3d_core.testing.blame import author_line
from tunemv3d_core.testing.check import Check, NotApplicableError, Outcome, Result
from tunemv3d_core.testing.component import ComponentUnderTest
from tunemv3d_core.testing.seeding import seed_all
from tunemv3d_core.testing.watching import Heard, within

if TYPE_CHECKING:
    import pytest

_LISTED = [Check(ask) for ask in checks_descriptor.CHECKS]
_SPECIFIED = [Check(ask, ("discoverable",)) for ask in checks_spec.CHECKS]
_METRICS = [
    Check(ask, (gate,))
    for ask, gate in zip(
        checks_metrics.CHECKS,
        ("discoverable", "declares_figures", *["gives_figures"] * (len(checks_metrics.CHECKS) - 2)),
        strict=True,
    )
]
_LOSSES = [
    Check(ask, (gate,))
    for ask, gate in zip(
        checks_losses.CHECKS,
        ("discoverable", "can_be_called", *["per_view"] * (len(checks_losses.CHECKS) - 2)),
        strict=True,
    )
]
_GEOMETRY = (checks_views, checks_rendering, checks_surface)
_PARTS = (
    checks_shapes,
    checks_backbone,
    checks_numerics,
    checks_place,
    *_GEOMETRY,
    checks_conduct,
    checks_training,
    checks_distributed,
)
_BUILT_SLOTS = (*MODEL_SLOTS, "aggregator")
_CALLED = dict.fromkeys(_BUILT_SLOTS, "shapes") | {
    "loss": "per_view",
    "metric": "gives_figures",
    "mesher": "meshes_a_sphere",
    "mesh_renderer": "renders",
    "dataset": "pictures",
    "optimizer": "obeys_groups",
    "schedule": "gives_factors",
}
"""By slot, a check that calls the component."""

PATIENCE = 300.0
"""Seconds after which a check counts as one that does not end; a whole component takes less than 60 CPU seconds."""


def checks_of(slot: str) -> list[Check]:
    """Return the checks of a slot's components, in order.

    Raises:
        ComponentError: there is no such slot of components.
    """
    if slot not in COMPONENT_SLOTS:
        known = ", ".join(COMPONENT_SLOTS)
        raise ComponentError(f"no slot '{slot}' of components.{suggestion(slot, COMPONENT_SLOTS)} Slots: {known}")
    checks = [*_LISTED, *_SPECIFIED, *_of_slot(slot)]
    return [*checks, Check(checks_conduct.check_process_left_alone, (_CALLED[slot],))]


def _of_slot(slot: str) -> list[Check]:
    """Return the checks that are asked of one slot's components."""
    if slot == "loss":
        return _LOSSES
    if slot == "metric":
        return _METRICS
    if slot == "mesh_renderer":
        return list(checks_mesh_renderer.CHECKS)
    if slot == "mesher":
        return list(checks_mesher.CHECKS)
    if slot == "dataset":
        return list(checks_dataset.CHECKS)
    if slot in checks_optimisation.OF_SLOT:
        return list(checks_optimisation.OF_SLOT[slot])
    return _of_built(slot)


def _of_built(slot: str) -> list[Check]:
    """Return the checks of a component that is built: a field's need a scene, and those of geometry one in range."""
    asked = [ask for part in _PARTS for ask in (*part.CHECKS, *part.OF_SLOT.get(slot, ()))]
    first: tuple[Callable[..., None], ...] = (checks_shapes.check_builds,)
    gates: dict[Callable[..., None], tuple[str, ...]] = {checks_shapes.check_builds: ("discoverable",)}
    needed: tuple[str, ...] = ("builds",)
    if slot == "field":
        first = (checks_shapes.check_builds, checks_shapes.check_makes_scene)
        gates[checks_shapes.check_makes_scene] = needed
        needed = ("builds", "makes_scene")
        geometry = (ask for part in _GEOMETRY for ask in part.OF_SLOT[slot])
        gates |= dict.fromkeys(geometry, (*needed, "scene"))
    others = (ask for ask in asked if ask not in first)
    return [Check(ask, gates.get(ask, needed)) for ask in (*first, *others)]


class Suite:
    """The checks of one component; each runs once.

    Args:
        slot: the component's slot.
        name: its name, as ``tunemv3d plugins list`` shows it.
        spec: options that make it tiny, over its defaults.
        expected_failures: why a check is known to fail, by the check's name.
        device: device on which it is built and called; data-parallel training is checked on the CPU everywhere.
        only: names of checks to run, with those that they need; all if empty.

    Raises:
        ComponentError: no such slot, or an expected failure or a wish for a check that the slot does not have.
    """

    def __init__(
        self,
        slot: str,
        name: str,
        spec: Mapping[str, Any] | None = None,
        expected_failures: Mapping[str, str] | None = None,
        device: str = "cpu",
        only: Collection[str] = (),
    ) -> None:
        known = checks_of(slot)
        self.expected = dict(expected_failures or {})
        self._by_name = {check.name: check for check in known}
        for option, asked in (("expected_failures", self.expected), ("only", only)):
            for unknown in asked:
                if unknown not in self._by_name:
                    raise ComponentError(
                        f"{option}: the slot '{slot}' has no check '{unknown}'."
                        f"{suggestion(unknown, list(self._by_name))} Checks: {', '.join(self._by_name)}"
                    )
        needed = set(only) or set(self._by_name)
        for check in reversed(known):  # what a check needs stands before it
            needed |= set(check.gates) if check.name in needed else set()
        self.checks = [check for check in known if check.name in needed]
        self._component = ComponentUnderTest(slot, name, dict(spec or {}), device)
        self._results: dict[str, Result] = {}

    def check_options(self) -> None:
        """Refuse invalid options before anything runs. A broken component passes, for the checks to report.

        Raises:
            SpecError: an option is missing or invalid.
        """
        try:
            _ = self._component.plugin.spec
        except (Exception, SystemExit):
            return
        _ = self._component.spec

    def result(self, check: Check) -> Result:
        """Run a check once and return its result."""
        if check.name not in self._results:
            self._results[check.name] = self._run(check)
        return self._results[check.name]

    def _gpus(self) -> list[torch.device]:
        """Return the devices whose random numbers checks may draw, besides the CPU."""
        device = self._component.device
        return [device] if device.type == "cuda" else []

    def _run(self, check: Check) -> Result:
        for gate in check.gates:
            if self.result(self._by_name[gate]).outcome not in (Outcome.PASSED, Outcome.UNEXPECTED):
                return Result(check.name, Outcome.NOT_RUN, f"needs '{gate}'")
        start, expected = _cpu_seconds(), self.expected.get(check.name)
        outcome, note = Outcome.PASSED, ""
        error: BaseException | None = None
        try:
            # Checks draw the same numbers whichever ran before them, and convolutions on a GPU round as on a CPU.
            with (
                torch.random.fork_rng(self._gpus()),
                torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
                checks_conduct.settings_kept(self._component.changed),
                within(PATIENCE),
                redirect_stdout(Heard(self._component.printed)),
            ):
                seed_all(0)
                check.ask(self._component)
        except NotApplicableError as reason:
            outcome, note = Outcome.NOT_APPLICABLE, str(reason)
        except KeyboardInterrupt:
            raise
        except BaseException as caught:  # a component may fail in any way
            outcome, note, error = Outcome.FAILED, _message(caught), caught
        if expected is not None:
            failed = outcome is Outcome.FAILED
            outcome = Outcome.EXPECTED if failed else Outcome.UNEXPECTED
            note = expected if failed else f"it passed; remove it from expected_failures: {expected}"
        where = "" if error is None else self._author_line(error)
        return Result(check.name, outcome, note, _cpu_seconds() - start, error, where)

    def _author_line(self, error: BaseException) -> str:
        try:
            modules = [self._component.record.value, self._component.plugin.build]
        except BaseException:  # the descriptor itself may be what is broken
            return ""
        return author_line(error, [module.partition(":")[0] for module in modules], self._component.kind)


def run_checks(
    slot: str,
    name: str,
    spec: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    device: str = "cpu",
) -> list[Result]:
    """Run all checks of its slot on a component; arguments as for ``Suite``."""
    suite = Suite(slot, name, spec, expected_failures, device)
    return [suite.result(check) for check in suite.checks]


def parametrize_with_checks(
    slot: str,
    name: str,
    spec: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> "pytest.MarkDecorator":
    """Make one pytest test of every check: the decorated function is given ``check`` and calls it.

    An expected failure is reported as such (xfail); one that does not fail is an error. Arguments as for ``Suite``;
    the device is that of the environment variable ``TUNEMV3D_TEST_DEVICE``, the CPU where it is not set.
    """
    import pytest

    suite = Suite(slot, name, spec, expected_failures, os.environ.get("TUNEMV3D_TEST_DEVICE", "cpu"))
    calls: list[Callable[[], None]] = [partial(_judge, suite, check) for check in suite.checks]
    return pytest.mark.parametrize("check", calls, ids=[check.name for check in suite.checks])


def _judge(suite: Suite, check: Check) -> None:
    import pytest

    result = suite.result(check)
    if result.outcome is Outcome.EXPECTED:
        pytest.xfail(result.note)
    if result.outcome in (Outcome.NOT_APPLICABLE, Outcome.NOT_RUN):
        pytest.skip(result.note)
    if result.outcome is Outcome.UNEXPECTED:
        pytest.fail(result.note)
    if result.error is not None:
        raise result.error


def _cpu_seconds() -> float:
    """Return CPU time of this process and of children that it has waited for."""
    return sum(os.times()[:4])


def _message(error: BaseException) -> str:
    kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    return f"{kind}{error}"
