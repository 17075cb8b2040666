import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.types import Rendering
from tunemv3d_modulation.shape_pictures import surface_picture


class NoNormals:
    """Seen on the left half, nearer at the top."""

    def render(self, cameras, size, pixels=None, normals=False):
        opacity = torch.zeros(1, 1, *size)
        opacity[..., : size[1] // 2] = 1
        depth = torch.linspace(2, 3, size[0])[:, None].expand(1, 1, *size) * opacity
        return Rendering(torch.zeros(1, 1, 4, *size), opacity, depth)


def test_a_field_without_normals_is_shown_by_its_depth():
    picture = surface_picture(NoNormals(), Cameras.orbit(1)[None], (5, 6))
    assert picture.shape == (1, 3, 5, 6)
    torch.testing.assert_close(picture[0, :, :, 0], torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2]).expand(3, 5))
    assert not picture[..., 3:].any()
