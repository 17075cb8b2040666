"""Options of the field ``density``. Light: imports no torch."""

from collections.abc import Mapping
from typing import ClassVar

from tunemv3d_core.config.component_fields import AggregatorSpec
from tunemv3d_core.rendering.spec import Positive, PositiveInt, RayFieldSpec


class DensitySpec(RayFieldSpec):
    """Options of the field ``density`` (NeRF; pixelNeRF's network)."""

    old_tensors: ClassVar[Mapping[str, str]] = {
        **RayFieldSpec.old_tensors,
        r"^\.network\.enter\b": ".network.fc_in",
        r"^(\.network\.blocks\.\d+)\.seen\b": r"\1.agg",
    }

    aggregator: AggregatorSpec
    """How the features of all views that see a point become one vector: any installed aggregator."""

    hidden: PositiveInt = 128
    """Width of the network."""

    blocks: PositiveInt = 5
    """Residual blocks of the network; each is given the aggregated features anew."""

    frequencies: PositiveInt = 6
    """Frequencies of the point encoding (M of the paper's Eq. 1)."""

    omega: Positive = 1.5
    """Lowest frequency of the point encoding, radians per world unit (paper Eq. 1)."""

    samples: PositiveInt = 32
    """Intervals per ray; the network is evaluated once in each."""

    slope: Positive = 10.0
    """Density is slope softplus(slope (0.5 - |p| + change)), per world unit: 10 gives the first ball a rim about 0.2
    wide. The larger, the sharper the first ball and the faster density can grow."""
