"""This package's datasets: what can be asked of their descriptors and options."""

from collections.abc import Callable

from tunemv3d_core.testing import parametrize_with_checks


@parametrize_with_checks("dataset", "multiview", {"path": "chairs"})
def test_multiview(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks("dataset", "shards", {"path": "s3://bucket/shards"})
def test_shards(check: Callable[[], None]) -> None:
    check()
