"""Typed handshake between neighbouring components: what each takes and gives, compared before anything runs."""

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
    """Properties of a backbone that its neighbours depend on.

    Attributes:
        latent_channels: c of a latent.
        latent_size: h and w that the model was trained with; others work too.
        image_stride: image pixels per latent cell, per axis.
        text_channels: d of the text tokens.
        residuals: the L maps that ``decode`` takes, in order.
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
    """Output of a view encoder, and what it asks for.

    Attributes:
        features: f, the channels that it gives.
        stride: latent cells per feature cell, per axis.
        foreground_x0: whether it is also given the frozen model's x0 of each view minus the white background.
    """

    features: int
    stride: int = 1
    foreground_x0: bool = False


@dataclass(frozen=True)
class FieldPorts:
    """Input and output of a field.

    Attributes:
        features: f, the channels that it takes.
        gives: whether it renders latents or features.
        values: v, the channels that it renders.
        novel_views: whether it can render cameras that it did not see.
    """

    features: int
    gives: Gives
    values: int
    novel_views: bool = True


@dataclass(frozen=True)
class LifterPorts:
    """Input and output of a lifter.

    Attributes:
        takes: whether it takes latents or features.
        values: v, their channels.
        maps: the L maps that it gives.
    """

    takes: Gives
    values: int
    maps: tuple[MapPort, ...]


@dataclass(frozen=True)
class InjectorPorts:
    """Input and output of an injector.

    Attributes:
        maps: the L maps that it takes.
        residuals: the L residuals that it gives.
    """

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
    """Place, type and neighbour with which a component is built.

    Attributes:
        device: device of its parameters.
        dtype: dtype of its parameters.
        backbone: the built backbone (None while it is being built itself), for lifters that copy its encoder.
        weights: whether weights are read. Where not, parameters that would be read may lie on torch's meta device,
            which has shapes alone: a plan of a run needs no more.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    backbone: Any = None
    weights: bool = True
