import torch

from tunemv3d_core.cameras import Cameras, pixel_centres
from tunemv3d_core.types import Rendering
from tunemv3d_modulation.shape_pictures import surface_picture


class NoNormals:
    """Seen on the left half, nearer at the top."""

    def render(self, cameras, size, pixels=None, normals=False):
        at = pixel_centres(size)[None, None] if pixels is None else pixels
        opacity = (at[..., 0] < 0.5).float()
        depth = (2 + (at[..., 1] * size[0]).floor() / (size[0] - 1)) * opacity
        if pixels is None:
            opacity, depth = (torch.unflatten(z, -1, size) for z in (opacity, depth))
        return Rendering(torch.zeros(1, 1, 4, *opacity.shape[2:]), opacity, depth)


def test_a_field_without_normals_is_shown_by_its_depth():
    scene, camera = NoNormals(), Cameras.orbit(1)[None]
    picture = surface_picture(scene, camera, (5, 6), scene.render(camera, (5, 6)))
    assert picture.shape == (1, 3, 5, 6)
    torch.testing.assert_close(picture[0, :, :, 0], torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2]).expand(3, 5))
    assert not picture[..., 3:].any()
