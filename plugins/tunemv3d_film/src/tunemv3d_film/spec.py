"""Options of the injector ``film``. Light: imports no torch."""

from tunemv3d_core.config.component_spec import ComponentSpec


class FiLMSpec(ComponentSpec):
    """The injector ``film`` has no options."""
