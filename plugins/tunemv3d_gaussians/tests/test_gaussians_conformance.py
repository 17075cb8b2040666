from collections.abc import Callable

from tunemv3d_core.testing import parametrize_with_checks

TINY = {"hidden": 8, "depths": 6}

KNOWN = {
    "rolled_views": "its head convolves the views' maps, and convolutions tell up from right",
    "turned_camera": "a Gaussian is splatted as the affine projection of the image plane, which turns with the camera",
    "empty_outside_sphere": "the means lie in the sphere, the Gaussians' tails reach out of it",
}


@parametrize_with_checks("field", "gaussians", spec=TINY, expected_failures=KNOWN)
def test_conformance(check: Callable[[], None]) -> None:
    check()
