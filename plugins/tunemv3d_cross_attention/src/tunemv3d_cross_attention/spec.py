"""Options of the injector ``cross-attention``. Light: imports no torch."""

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.rendering.spec import PositiveInt


class CrossAttentionSpec(ComponentSpec):
    """Options of the injector ``cross-attention``."""

    heads: PositiveInt = 4
    """Attention heads. The first looks at the nearest cells, each further one twice as far around."""

    head_channels: PositiveInt = 32
    """Channels of one head."""

    cells: PositiveInt = 16
    """Largest side of the lifted map that is attended to; larger maps are averaged down, which bounds the cost."""
