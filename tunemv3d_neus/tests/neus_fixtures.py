"""Small fields for tests."""

from tunemv3d_core.testing import fields
from tunemv3d_neus.field import NeuSField

TINY = {"aggregator": {"type": "mean-variance"}, "hidden": 16, "samples": 24, "eikonal_points": 32}


def small_field(**options: object) -> NeuSField:
    field: NeuSField = fields.small_field("neus", **(TINY | options))
    return field
