"""Options that fields share, for their specs to inherit. Light: imports no torch."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tunemv3d_core.config.component_spec import ComponentSpec

PositiveInt = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]

OLD_HEADS = {r"^\.network\.(density|distance|value)_seen\b": r".network.\1_agg"}
"""Layers that take aggregated features were called ``*_seen``."""


class RayFieldSpec(ComponentSpec):
    """Options of a field that is evaluated at points along rays."""

    old_options: ClassVar[Mapping[str, str]] = {"chunk": "chunk_size", "difference": "fd_eps"}
    old_tensors: ClassVar[Mapping[str, str]] = OLD_HEADS

    radius: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Radius of the sphere around the origin that is rendered, world units; objects lie within 0.9."""

    gives: Literal["latents", "features"] = "latents"
    """What is rendered: clean latents (the paper's choice) or features."""

    values: PositiveInt | None = None
    """Channels of the rendered features, for ``gives = "features"``; latents have the backbone's channels."""

    chunk_size: PositiveInt = 262144
    """Most points evaluated at once where no gradient is kept: bounds the memory of sampling and of meshes."""

    fd_eps: Positive = 0.005
    """Step of the finite differences for normals and the eikonal term, world units."""

    @model_validator(mode="after")
    def _values_for_features(self) -> Self:
        if (self.gives == "features") != (self.values is not None):
            raise ValueError("'values' is given exactly when gives = 'features'")
        return self


class SDFFieldSpec(RayFieldSpec):
    """Options of a field that is a signed distance, rendered as NeuS renders (``SDFScene``)."""

    old_options: ClassVar[Mapping[str, str]] = {
        **RayFieldSpec.old_options,
        "sharpness": "variance",
        "recompute": "gradient_checkpointing",
    }
    old_tensors: ClassVar[Mapping[str, str]] = {**RayFieldSpec.old_tensors, r"^\.sharpness$": ".variance"}

    samples: int = Field(default=32, ge=2)
    """Points per ray at which the field is evaluated; they bound ``samples - 1`` intervals."""

    fine_samples: int = Field(default=0, ge=0)
    """Further points per ray, placed where the first ``samples`` leave room for a surface. 8 + 16 points show thin
    parts that 24 even ones miss; the paper does not say how rays are sampled."""

    variance: float = 0.3
    """Start of v in s = exp(10 v), the inverse width of the surface, per world unit: 0.3 (s = 20) in NeuS. A softer
    start lets gradients reach parts that lie outside the first sphere."""

    gradient_checkpointing: bool = False
    """Evaluate ``chunk_size`` points at once in training too and keep none: the backward pass evaluates again. Takes
    more time and little memory; otherwise the field's memory grows with the latents' area. Not in a CUDA graph."""

    eikonal_points: PositiveInt = 1024
    """Points near the surface of each object at which the eikonal term is taken; four times as many are drawn."""

    sparsity_scale: Positive = 100.0
    """Tau of SparseNeuS's sparsity term ``exp(-tau |f|)``, per world unit."""
