"""Options of the metrics that judge by CLIP. Light: imports no torch."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tunemv3d_core.config.component_spec import ComponentSpec

Clips = Annotated[tuple[str, ...], Field(min_length=1)]
Block = dict[str, Any]
Count = Annotated[int, Field(ge=1)]


class RPrecisionSpec(ComponentSpec):
    """Options of the metric ``r-precision``."""

    type: Literal["r-precision"] = "r-precision"
    """CLIP R-precision: is the prompt found again among other texts?"""
    clips: Clips = ("clip-mini",)
    """Assets, folders or hub ids of CLIP or SigLIP models; figures bear their names where there are several."""
    pool: str = "chairs-100"
    """The candidates: a packaged pool or list of prompts, or a file with one a line."""
    by: Literal["vote", "park", "dream-fields", "mesh"] = "vote"
    """vote: TuneMV3D's supplement; park: Park et al. 2021; dream-fields: a new camera; mesh: the mesh's renders."""
    textured: bool = True
    """False judges the bare shape in grey: the field's surface, or the mesh's."""
    elevation: float = 45.0
    """Of the held-out camera (dream-fields) or of the mesh's cameras, degrees."""
    renders: Count = 24
    """Renders of the mesh, evenly around it."""
    size: Annotated[int, Field(ge=16)] = 224
    """Pixels a side of the mesh's renders."""
    mesher: Block = Field(default={"type": "marching-cubes"})
    """What makes the mesh, with its options."""
    mesh_renderer: Block = Field(default={"type": "embree"})
    """What renders the mesh, with its options."""


class NamedTypeSpec(ComponentSpec):
    """Options of the metric ``named-type``."""

    type: Literal["named-type"] = "named-type"
    """Is the type that the prompt names retrieved among all types?"""
    clip: str = "clip-mini"
    """An asset, folder or hub id of a CLIP or SigLIP."""


class RealViewsSpec(ComponentSpec):
    """Options of the metrics that compare with real objects by CLIP."""

    clip: str = "clip-mini"
    """An asset, folder or hub id of a CLIP or SigLIP."""
    views: Annotated[int, Field(ge=2)] = 8
    """Pictures of every real object, evenly around it."""
    most: Annotated[int, Field(ge=2)] = 1000
    """Real objects at most, evenly from the dataset."""


class DiversitySpec(ComponentSpec):
    """Options of the metric ``diversity``."""

    type: Literal["diversity"] = "diversity"
    """How different are the samples of one prompt?"""
    clip: str = "clip-mini"
    """An asset, folder or hub id of a CLIP or SigLIP."""
