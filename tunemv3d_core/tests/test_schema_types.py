"""Options of a component in words, blocks inside lists too."""

from pydantic import BaseModel

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.schema import describe_type, options_of


class Patch(BaseModel):
    path: str
    """Where it lies."""
    scale: float = 1.0
    """How much of it."""


class Patched(ComponentSpec):
    patches: tuple[Patch, ...] = ()
    """What is added."""
    first: Patch = Patch(path="a")
    """What comes first."""
    names: tuple[str, ...] = ()
    """Plain ones."""


def test_a_block_in_a_list_is_told_by_its_keys() -> None:
    options = options_of(Patched)
    assert [describe_type(options[name]) for name in options] == [
        "[{path, scale}, ...]",
        "{path, scale}",
        "[string, ...]",
    ]


def test_no_option_refers_to_what_is_not_there() -> None:
    assert "$ref" not in str(options_of(Patched))
