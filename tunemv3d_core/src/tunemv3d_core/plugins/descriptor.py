"""The descriptor that an entry point names. Light: importing a module of descriptors must import no torch.

A distribution publishes a component by an entry point in the group ``tunemv3d.<slot>`` whose name is the component's
name and whose value points at a ``ComponentPlugin``::

    [project.entry-points."tunemv3d.field"]
    neus = "tunemv3d_neus.plugin:NEUS"
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunemv3d_core.foreign_text import shown

if TYPE_CHECKING:
    from tunemv3d_core.config.component_spec import ComponentSpec

MODEL_SLOTS = ("backbone", "view_encoder", "field", "lifter", "injector")
"""The slots of a model in the order in which they are built."""

TRAINING_SLOTS = ("dataset", "loss", "optimizer", "schedule")
"""Slots that training alone needs: whoever samples a checkpoint may lack their components."""

COMPONENT_SLOTS = (*MODEL_SLOTS, "aggregator", *TRAINING_SLOTS, "mesher", "mesh_renderer", "metric")
"""Slots whose entry points name a ``ComponentPlugin``."""

FILE_SLOTS = ("spec", "asset")
"""Slots whose entry points name a ``pathlib.Path``: a packaged spec, or a packaged folder."""

SLOTS = (*COMPONENT_SLOTS, *FILE_SLOTS, "command")

API = {slot: "1.0" for slot in (*COMPONENT_SLOTS, "command")} | {"metric": "1.1"}
"""The interface version of each slot that this core offers, ``major.minor``. A plugin that was written for the same
major version and for this or an earlier minor one works; any other is refused.
"""

FIRST_PARTY = (
    "tunemv3d-core",
    "tunemv3d-neus",
    "tunemv3d-modulation",
    "tunemv3d-train",
    "tunemv3d-data",
    "tunemv3d-eval",
    "tunemv3d-mini",
    "tunemv3d-shape",
    "tunemv3d-show",
    "tunemv3d-release",
)
"""The project's own distributions. Nobody can take one of their names: "neus" stays theirs whatever else is installed,
and another distribution's "neus" is reached as "distribution:neus".
"""


OURS = (
    *FIRST_PARTY,
    "tunemv3d",
    "tunemv3d-attention",
    "tunemv3d-comfyui",
    "tunemv3d-cross-attention",
    "tunemv3d-density",
    "tunemv3d-epipolar",
    "tunemv3d-film",
    "tunemv3d-gaussians",
    "tunemv3d-hash",
    "tunemv3d-lrm",
    "tunemv3d-serve",
    "tunemv3d-triplane",
    "tunemv3d-volume",
)
"""All of this project's distributions: messages tell people to install these and no others, because a checkpoint or a
plugin may name any package of an index.
"""


def how_to_install(distribution: str, version: str = "", options: str = "") -> str:
    """Say how a distribution is had: by pip where it is ours; a stranger's is called a stranger's.

    Args:
        distribution: its normalised name.
        version: that is needed; "" for any.
        options: of ``pip install``.
    """
    wanted = f"{distribution}=={version}" if version else distribution
    if distribution in OURS:
        return f"pip install {options + ' ' if options else ''}{wanted}"
    return f"'{shown(wanted)}' is not of this project; get it from its authors, if you trust them"


@dataclass(frozen=True)
class ComponentPlugin:
    """One component.

    Attributes:
        slot: one of ``COMPONENT_SLOTS``.
        name: its name in specs, the same as the entry point's.
        api: the slot's interface version that it was written for.
        spec: its options, a frozen pydantic model.
        build: "module:function"; imported only when a system is assembled. For model slots the function is
            ``build(spec, neighbours, context)``; for the others the slot says.
        summary: one line.
        reference: the work it comes from.
        renamed_to: its new name, where ``name`` is an old one that old specs and checkpoints still use. The old name
            stays an entry point of its own: ``OLD = replace(NEW, name="old", renamed_to="new")``.
    """

    slot: str
    name: str
    api: str
    spec: "type[ComponentSpec]"
    build: str
    summary: str
    reference: str = ""
    renamed_to: str = ""


@dataclass(frozen=True)
class CommandPlugin:
    """A command of ``tunemv3d``.

    Attributes:
        name: what a person types after ``tunemv3d``, the same as the entry point's; a dot stands between a group and
            its command, as in ``plugins.release``.
        app: "module:attribute" of a function or a ``typer.Typer``; imported only when the command runs.
        summary: one line for ``tunemv3d --help``.
        api: the interface version that it was written for.
    """

    name: str
    app: str
    summary: str
    api: str = "1.0"
