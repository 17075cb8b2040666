"""Identity, consistency strength, background and boundary checks of the assembled model."""

import pytest
import torch
from stand_ins import MAPS, TinyEncoder, TinyField, TinyLifter, tiny_inputs, tiny_model

from tunemv3d_core.assemble import check_ports
from tunemv3d_core.cameras import Cameras, pixel_centres
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import PortsError, ShapeError
from tunemv3d_core.ports import FieldPorts, InjectorPorts, LifterPorts, MapPort, Neighbours, ViewEncoderPorts


def disturb(model: MultiviewDiffusion) -> MultiviewDiffusion:
    """As after training: the injector no longer gives zero."""
    torch.nn.init.normal_(model.injector.layers[0].weight)
    return model


def test_at_the_start_the_model_is_the_frozen_one_bit_for_bit() -> None:
    model, inputs = tiny_model(), tiny_inputs()
    frozen = model.frozen(inputs["x_t"], inputs["t"], inputs["text"])
    assert torch.equal(model(**inputs).modulated, frozen)


def test_no_consistency_is_the_frozen_model_bit_for_bit_and_runs_no_field() -> None:
    model, inputs = disturb(tiny_model()), tiny_inputs()
    frozen = model.frozen(inputs["x_t"], inputs["t"], inputs["text"])
    prediction = model.predict(**inputs, consistency=0.0)
    assert torch.equal(prediction.modulated, frozen)
    assert prediction.scene is None
    assert not torch.equal(model.predict(**inputs).modulated, frozen)


def test_consistency_extrapolates_linearly_and_encodes_once() -> None:
    model, inputs = disturb(tiny_model()), tiny_inputs()
    frozen = model.frozen(inputs["x_t"], inputs["t"], inputs["text"])
    full = model.predict(**inputs).modulated
    model.backbone.encoded = 0
    stronger = model.predict(**inputs, consistency=1.5).modulated
    assert model.backbone.encoded == 1
    assert torch.allclose(stronger, frozen + 1.5 * (full - frozen))
    assert torch.equal(full, model(**inputs).modulated), "K = 1 is the modulated prediction itself"
    with pytest.raises(ValueError, match="at least 0"):
        model.predict(**inputs, consistency=-1.0)


class GuessReader(TinyEncoder):
    """A view encoder that asks for the frozen model's x0 and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.ports = ViewEncoderPorts(3, foreground_x0=True)

    def forward(self, x_t, t, text, cameras, foreground_x0=None):
        self.given = foreground_x0
        return super().forward(foreground_x0, t, text, cameras)


@pytest.mark.parametrize("consistency", [1.0, 1.5])
def test_a_view_encoder_that_asks_gets_the_frozen_models_guess(consistency: float) -> None:
    reader = GuessReader()
    model, inputs = disturb(tiny_model(view_encoder=reader)), tiny_inputs()
    # The stand-in's "clean" is x_t less the prediction, and its white ground 0.25.
    expected = inputs["x_t"] - model.frozen(inputs["x_t"], inputs["t"], inputs["text"]) - 0.25
    model(**inputs).modulated.sum().backward()
    assert torch.equal(reader.given, expected) and not reader.given.requires_grad
    model.fuse(**inputs)
    assert torch.equal(reader.given, expected)
    model.backbone.encoded = model.backbone.decoded = 0
    model.predict(**inputs, consistency=consistency)
    assert torch.equal(reader.given, expected)
    assert (model.backbone.encoded, model.backbone.decoded) == (1, 2), "the frozen model runs once"


def test_background_is_the_latent_of_white_behind_what_is_not_opaque() -> None:
    model, inputs = tiny_model(), tiny_inputs()
    prediction = model(**inputs)
    assert torch.allclose(prediction.x0, prediction.rendering.values + 0.5 * 0.25)
    pixels = pixel_centres((8, 8))[[0, 9, 63]].expand(2, 2, 3, 2)
    novel = Cameras.orbit(2)
    novel = Cameras(novel.camera_to_world.expand(2, 2, 4, 4), novel.intrinsics.expand(2, 2, 4))
    partial = model(**inputs, novel_cameras=novel, novel_pixels=pixels)
    assert partial.novel_x0.shape == (2, 2, 4, 3)
    assert torch.allclose(partial.novel_x0, partial.novel.values + 0.5 * 0.25)


def test_clean_views_leave_the_field_the_noise_level_of_the_noisy_ones() -> None:
    model, inputs = tiny_model(), tiny_inputs()
    mixed = inputs["t"].clone()
    mixed[:, 0] = 0
    same_features = torch.equal(model(**inputs).x0, model(**{**inputs, "t": mixed}).x0)
    assert same_features, "the field gets the noisy views' t, not a clean view's 0"


def test_without_a_field_it_is_the_plain_model() -> None:
    inputs = tiny_inputs()
    model = MultiviewDiffusion(tiny_model().backbone)
    assert torch.equal(model(**inputs).modulated, model.frozen(inputs["x_t"], inputs["t"], inputs["text"]))
    assert list(model.slots()) == ["backbone"]


def test_a_component_that_returns_another_shape_is_named() -> None:
    wrong = TinyEncoder(3)
    wrong.layer = torch.nn.Conv2d(4, 5, 1)
    with pytest.raises(ShapeError, match=r"features of view_encoder 'tiny-view_encoder'.*f = 3 \(got 5\)"):
        tiny_model(view_encoder=wrong)(**tiny_inputs())
    inputs = tiny_inputs()
    with pytest.raises(ShapeError, match="x_t"):
        tiny_model()(**{**inputs, "x_t": inputs["x_t"][:, :, :3]})


@pytest.mark.parametrize(
    ("slot", "ports", "message"),
    [
        ("field", FieldPorts(5, "latents", 4), r"field 'a' takes feature channels 5, but view_encoder 'e' gives 3"),
        ("field", FieldPorts(3, "latents", 6), r"latent channels 6, but backbone 'b' gives 4"),
        ("lifter", LifterPorts("features", 4, MAPS), r"values of kind 'features', but field 'f' gives 'latents'"),
        ("lifter", LifterPorts("latents", 9, MAPS), r"value channels 9, but field 'f' gives 4"),
        ("injector", InjectorPorts(MAPS[:1], MAPS), r"takes maps 1 maps: 6/1, but lifter 'l' gives 2 maps: 6/1 8/2"),
        ("injector", InjectorPorts(MAPS, (MapPort(6, 1), MapPort(9, 2))), r"6/1 9/2, but backbone 'b' gives"),
    ],
)
def test_neighbours_that_do_not_fit_are_refused_by_name(slot: str, ports: object, message: str) -> None:
    neighbours = Neighbours(tiny_model().backbone.ports, ViewEncoderPorts(3), TinyField().ports, TinyLifter().ports)
    names = {"backbone": "b", "view_encoder": "e", "field": "f", "lifter": "l", slot: "a"}
    with pytest.raises(PortsError, match=message):
        check_ports(slot, ports, neighbours, names)
