"""The conformance kit: the same checks for every component of a slot, ours and third parties'.

In a test file (``pip install 'tunemv3d-core[testing]'``)::

    from tunemv3d_core.testing import parametrize_with_checks

    @parametrize_with_checks("field", "my-field", spec={"hidden": 16})
    def test_conformance(check):
        check()

and in a shell: ``tunemv3d plugins check my-field --spec '{"hidden": 16}'``. Nothing but tunemv3d-core and the
component's own package needs to be installed: the neighbours of the component are stand-ins (``stand_ins``).
"""

from tunemv3d_core.testing.check import Check, ConformanceError, NotApplicableError, Outcome, Result
from tunemv3d_core.testing.suite import checks_of, parametrize_with_checks, run_checks

__all__ = [
    "Check",
    "ConformanceError",
    "NotApplicableError",
    "Outcome",
    "Result",
    "checks_of",
    "parametrize_with_checks",
    "run_checks",
]
