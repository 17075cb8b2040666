"""Shape of a scene at the size of a picture, at little more than the cost of the pixels that show it."""

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras, pixel_centres
from tunemv3d_core.slots import Scene
from tunemv3d_core.types import Rendering
from tunemv3d_core.viz.pictures import near_bright, shaded

NEAR = 0.1
"""Opacity of a coarse cell from which the cell and its neighbours are rendered at full resolution."""


def render_shape(
    scene: Scene, cameras: Cameras, size: tuple[int, int], coarse: Tensor, normals: bool = True
) -> Rendering:
    """Render maps of ``size``, but only where a coarse rendering of the same cameras saw something nearby.

    Pixels there are those of ``scene.render``; all others are empty. Parts so thin that they pass between the rays of
    the coarse rendering, neighbouring ones included, are not seen.

    Args:
        scene: of b objects.
        cameras: ``b m``.
        size: (H, W) of the maps, at least that of ``coarse``.
        coarse: opacity ``b m h w`` of smaller maps of the same cameras by ``scene.render``.
        normals: whether to render normals as well.
    """
    grown = torch.nn.functional.max_pool2d((coarse > NEAR).float().flatten(0, 1)[:, None], 3, 1, padding=1)
    wanted = torch.nn.functional.interpolate(grown, size)[:, 0].flatten(1).reshape(*cameras.shape, -1)
    # As many pixels of every camera, so that they are one tensor: further ones fill up.
    most = max(1, int(wanted.sum(-1).amax()))
    kept = wanted.sort(dim=-1, descending=True, stable=True).indices[..., :most]
    pixels = pixel_centres(size, device=kept.device)[kept]
    seen = scene.render(cameras, size, pixels, normals=normals)

    def as_map(z: Tensor) -> Tensor:
        """``b m ... r`` of the kept pixels to ``b m ... H W``."""
        z, at = (z[:, :, None], kept[:, :, None]) if z.ndim == 3 else (z, kept[:, :, None].expand(z.shape))
        whole = z.new_zeros(*z.shape[:-1], size[0] * size[1]).scatter(-1, at, z)
        return torch.unflatten(whole, -1, size)

    return Rendering(
        as_map(seen.values),
        as_map(seen.opacity).squeeze(2),
        as_map(seen.depth).squeeze(2),
        None if seen.normals is None else as_map(seen.normals),
    )


def surface_pictures(scene: Scene, cameras: Cameras, size: tuple[int, int], coarse: Rendering) -> Tensor:
    """Render the bare surface for cameras ``b m`` on black: ``b m 3 H W`` in [0, 1].

    A field without normals is shown by its depth. Arguments as for ``render_shape``, but the whole coarse rendering.
    """
    seen = render_shape(scene, cameras, size, coarse.opacity)
    pictures = []
    for b in range(cameras.shape[0]):
        depth, opacity = seen.depth[b].float(), seen.opacity[b].float()
        if seen.normals is None:
            pictures.append(near_bright(depth, opacity)[:, None].expand(-1, 3, -1, -1))
        else:
            pictures.append(shaded(seen.normals[b].float(), opacity, cameras[b]))
    return torch.stack(pictures)
