"""What a client asks for, and what it is told: the bodies of requests and answers."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_LETTERS = 500
"""Longest prompt, letters."""

State = Literal["waiting", "running", "done", "failed", "cancelled"]

Prompt = Annotated[str, StringConstraints(max_length=MAX_LETTERS)]


class Order(BaseModel):
    """One object to sample. What is left out is as the checkpoint says."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    prompt: Prompt
    """What to make."""
    negative: Prompt = ""
    """What to move away from; it counts with guidance above 1."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the noise."""
    steps: Annotated[int, Field(ge=1, le=200)] | None = None
    """Denoising steps."""
    guidance: Annotated[float, Field(ge=0, le=50)] | None = None
    """Scale of classifier-free guidance; at most 1 is none."""
    consistency: Annotated[float, Field(ge=0, le=10)] | None = None
    """K: 0 is the 2D model alone, 1 the tuned one."""
    views: Annotated[int, Field(ge=1, le=32)] | None = None
    """Cameras, evenly around the object."""
    mesh: bool = False
    """Also a textured mesh."""


class JobReport(BaseModel):
    """A job as it is now."""

    id: str
    state: State
    step: int
    """Steps done."""
    steps: int
    """Steps of the whole sampling."""
    before: int
    """Jobs that are done before this one begins."""
    error: str
    """A sentence on why it failed, else empty."""
    notes: list[str]
    """Sentences on what is not as it was asked for."""
    files: list[str]
    """Addresses of what can be fetched now."""
    order: Order


class About(BaseModel):
    """What is served."""

    checkpoint: str
    spec_id: str
    versions: dict[str, str]
    steps: int
    guidance: float
    consistency: float | list[float]
    views: int
    meshes: bool
    """Whether its objects can be meshed."""
