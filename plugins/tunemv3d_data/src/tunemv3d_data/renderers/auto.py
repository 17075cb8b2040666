"""``--renderer auto``."""


def choose(name: str) -> str:
    """The renderer that a name stands for."""
    return "embree" if name == "auto" else name
