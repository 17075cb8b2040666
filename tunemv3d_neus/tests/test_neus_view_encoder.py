import pytest
import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BackbonePorts, BuildContext, Neighbours
from tunemv3d_core.types import Text
from tunemv3d_neus.spec import ResAttnSpec
from tunemv3d_neus.view_encoder import ResAttnEncoder, build


def small(foreground_x0: bool = False) -> tuple[ResAttnEncoder, torch.Tensor, torch.Tensor, Text, Cameras]:
    torch.manual_seed(0)
    spec = ResAttnSpec(
        type="resattn", features=7, channels=(8, 16), head_channels=8, groups=4, foreground_x0=foreground_x0
    )
    encoder = ResAttnEncoder(spec, latent_channels=4, text_channels=12).eval()
    text = Text(torch.randn(2, 7, 12), mask=torch.tensor([[1] * 7, [1] * 3 + [0] * 4]))
    return encoder, torch.randn(2, 3, 4, 9, 6), torch.full((2, 3), 500.0), text, Cameras.orbit(3)[None].expand(2, 3)


def test_encodes_each_view_by_itself() -> None:
    encoder, x, t, text, cameras = small()
    features = encoder(x, t, text, cameras)
    assert features.shape == (2, 3, encoder.ports.features, 9, 6)
    alone = encoder(x[:, 1:2], t[:, 1:2], text, cameras[:, 1:2])
    torch.testing.assert_close(features[:, 1:2], alone, rtol=1e-4, atol=1e-5)


def test_knows_t_of_each_view_and_the_text() -> None:
    encoder, x, t, text, cameras = small()
    features = encoder(x, t, text, cameras)
    clean = t.clone()
    clean[0, 2] = 0
    changed = (encoder(x, clean, text, cameras) - features).abs().amax((2, 3, 4))
    assert changed[0, 2] > 1e-3 and changed[0, :2].max() < 1e-5 and changed[1].max() < 1e-5
    other = Text(text.tokens.flip(0), mask=text.mask)
    assert (encoder(x, t, other, cameras) - features).abs().max() > 1e-4


def test_the_guess_is_seen_and_handed_on() -> None:
    encoder, x, t, text, cameras = small(foreground_x0=True)
    foreground_x0 = torch.randn_like(x)
    foreground_x0[:, :, :, :4] = 0  # white ground
    features = encoder(x, t, text, cameras, foreground_x0)
    assert encoder.ports.foreground_x0 and features.shape == (2, 3, 7, 9, 6)
    assert not features[:, :, :2].any(), "its own channels start at zero"
    assert torch.equal(features[:, :, 2:6], foreground_x0)
    assert not features[:, :, 6, :4].any() and features[:, :, 6, 4:].min() > 0 and features[:, :, 6].max() <= 1
    torch.nn.init.normal_(encoder.conv_out[-1].weight)
    own, other = (encoder(x, t, text, cameras, g)[:, :, :2] for g in (foreground_x0, foreground_x0 + 1))
    assert (own - other).abs().max() > 1e-3


def test_a_guess_needs_room_beside_itself() -> None:
    ports = BackbonePorts(4, 8, 4, 12, (), "epsilon", 1000)
    spec = ResAttnSpec(type="resattn", features=5, foreground_x0=True)
    with pytest.raises(PortsError, match="features = 5 leaves no room"):
        build(spec, Neighbours(ports), BuildContext(torch.device("cpu")))


def test_masked_tokens_do_not_count() -> None:
    encoder, x, t, text, cameras = small()
    tokens = text.tokens.clone()
    tokens[1, 3:] = 99.0
    torch.testing.assert_close(
        encoder(x, t, Text(tokens, mask=text.mask), cameras), encoder(x, t, text, cameras), rtol=1e-5, atol=1e-6
    )


def test_every_parameter_learns() -> None:
    encoder, x, t, text, cameras = small()
    encoder(x, t, text, cameras).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
