"""The typed handshake between neighbouring components: what each offers and needs, compared before anything runs."""

from dataclasses import dataclass
from typing import Any, Literal

import torch

Gives = Literal["latents", "features"]


@dataclass(frozen=True)
class MapPort:
    """One feature map of a hierarchy: its channels, and how many latent cells one of its cells spans per axis."""

    channels: int
    stride: int


@dataclass(frozen=True)
class BackbonePorts:
    """What a backbone tells its neighbours.

    Attributes:
        latent_channels: c of a latent.
        latent_size: the size (of h and w) that the model was made for; others work too.
        image_stride: image pixels per latent cell, per axis.
        text_channels: d of the text tokens.
        residuals: the L maps that ``decode`` accepts, in order.
        prediction: "epsilon", "v_prediction", "sample" or "flow".
        train_timesteps: number of timesteps of the schedule; t lies in [0, train_timesteps).
        pooled_channels: d' of the pooled text, or None.
    """

    latent_channels: int
    latent_size: int
    image_stride: int
    text_channels: int
    residuals: tuple[MapPort, ...]
    prediction: str
    train_timesteps: int
    pooled_channels: int | None = None


@dataclass(frozen=True)
class ViewEncoderPorts:
    """A view encoder gives ``features`` channels, one cell per ``stride`` latent cells.

    ``foreground_x0`` says whether it is also given the frozen model's x0 of each view minus the white background.
    """

    features: int
    stride: int = 1
    foreground_x0: bool = False


@dataclass(frozen=True)
class FieldPorts:
    """A field takes ``features`` channels and gives ``values`` channels of latents or features.

    ``novel_views`` says whether it can render cameras that it did not see.
    """

    features: int
    gives: Gives
    values: int
    novel_views: bool = True


@dataclass(frozen=True)
class LifterPorts:
    """A lifter takes ``values`` channels of latents or features and gives L maps."""

    takes: Gives
    values: int
    maps: tuple[MapPort, ...]


@dataclass(frozen=True)
class InjectorPorts:
    """An injector takes L maps and gives L residuals."""

    maps: tuple[MapPort, ...]
    residuals: tuple[MapPort, ...]


@dataclass(frozen=True)
class Neighbours:
    """Ports of the components built before this one: backbone, view encoder, field, lifter, in this order."""

    backbone: BackbonePorts
    view_encoder: ViewEncoderPorts | None = None
    field: FieldPorts | None = None
    lifter: LifterPorts | None = None


@dataclass(frozen=True)
class BuildContext:
    """Where and with what a component is built.

    Attributes:
        device: where its parameters go.
        dtype: of its parameters.
        backbone: the built backbone (None while it is being built itself), for lifters that copy its encoder.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    backbone: Any = None
