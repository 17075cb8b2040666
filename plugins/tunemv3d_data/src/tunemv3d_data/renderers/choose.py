"""Which mesh renderer a job takes."""

from tunemv3d_core.registry import registry


def choose(name: str) -> str:
    """The renderer's name; "auto" is the fastest that works here.

    Raises:
        ComponentError: there is no such renderer.
    """
    if name == "auto":
        return "embree"
    registry().get("mesh_renderer", name)
    return name
