"""Checks of mesh renderers: pictures of a painted ellipsoid, compared with its formula ray by ray."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.plugins.registry import load_value
from tunemv3d_core.slots import TexturedMesh
from tunemv3d_core.testing.check import Check, ConformanceError, NotApplicableError
from tunemv3d_core.testing.component import ComponentUnderTest
from tunemv3d_core.testing.painted import EGG, SPHERE, Ellipsoid
from tunemv3d_core.testing.posed import ABOUT_Z, turn

SIZE = (24, 32)
"""(h, w) of the pictures."""

LENS = (1.425, 1.9, 0.46, 0.53)
"""fx, fy, cx, cy: pixels are square, the picture is not, and the axis does not meet its middle."""

DEPTH, COLOUR = 0.015, 0.08
"""Errors that facets and lifted blacks may make: of depths, world units, and the mean one of colours in 0 to 1."""

AREA = 0.07
"""Error of the area that is covered, as a share of it."""

Pictures = list[dict[str, Any]]


def check_renders(subject: ComponentUnderTest) -> None:
    """It gives a view per camera: rgba and albedo (uint8), depth and normals (float32) of the size that is asked."""
    pictures = _pictures(subject, EGG)
    cameras, (h, w) = _cameras(), SIZE
    if len(pictures) != len(cameras.origins):
        raise ConformanceError(f"gives {len(pictures)} views for {len(cameras.origins)} cameras")
    wanted = {
        "rgba": ((h, w, 4), np.uint8),
        "albedo": ((h, w, 3), np.uint8),
        "depth": ((h, w), np.float32),
        "normals": ((h, w, 3), np.float32),
    }
    for name, (shape, dtype) in wanted.items():
        array = pictures[0].get(name)
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
            got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise ConformanceError(f"{name} is {got}; an array of {np.dtype(dtype)} {shape} is asked")


def check_shows_it_there(subject: ComponentUnderTest) -> None:
    """Alpha is 255 where a pixel's rays meet the mesh, and 0, as depth and normals are, where none does."""
    for k, (picture, true) in enumerate(zip(_pictures(subject, EGG), _truth(), strict=True)):
        alpha = picture["rgba"][..., 3]
        wrong = int((alpha[true.inside] != 255).sum() + (alpha[true.outside] != 0).sum())
        if wrong:
            raise ConformanceError(
                f"in view {k}, {wrong} pixels off the outline show the object where it is not, or not where it is: is "
                "the picture mirrored, the lens that of other axes, the background opaque?"
            )
        for name in ("depth", "normals"):
            if bool(picture[name][true.outside].any()):
                raise ConformanceError(f"{name} are not 0 where nothing was hit")


def check_centres_of_pixels(subject: ComponentUnderTest) -> None:
    """The middle and the area of what it shows are those that rays through pixels centred at (i + 0.5) / size have."""
    for picture, camera in zip(_pictures(subject, EGG), _cameras().camera_to_world, strict=True):
        covered = picture["rgba"][..., 3].astype(np.float64) / 255
        fine = _rays_hit(Cameras(camera[None], torch.tensor([LENS])), (8 * SIZE[0], 8 * SIZE[1]))
        area = covered.mean() / fine.mean()
        if abs(area - 1) > AREA:
            raise ConformanceError(
                f"the object covers {area:.0%} of its area: alpha is the share of a pixel that it fills"
            )
        for axis, lines in enumerate(SIZE):
            middle = _middle(covered, axis)
            off = middle - _middle(fine, axis)
            if abs(off) * lines > 0.15:
                raise ConformanceError(
                    f"the object lies {off * lines:+.2f} {('rows', 'columns')[axis]} off: the centres of "
                    "pixels lie at (i + 0.5) / size"
                )


def check_depth_is_z(subject: ComponentUnderTest) -> None:
    """Depth is z in the camera, world units: not the length of the ray, nor scaled."""
    for picture, true in zip(_pictures(subject, EGG), _truth(), strict=True):
        error = float(np.abs(picture["depth"] - true.depth)[true.inside].max())
        if not error <= DEPTH:
            raise ConformanceError(f"depth is off by {error:.3f} world units; at most {DEPTH} is asked")


def check_normals_in_world(subject: ComponentUnderTest) -> None:
    """Normals are unit, in world space, on the side that one looks at."""
    for picture, true in zip(_pictures(subject, EGG), _truth(), strict=True):
        normals = picture["normals"][true.inside]
        length = np.linalg.norm(normals, axis=-1)
        cosine = float((normals * true.normals[true.inside]).sum(-1).mean())
        if not (np.abs(length - 1) < 1e-2).all() or not cosine > 0.97:
            raise ConformanceError(
                f"normals have lengths of {length.min():.2f} to {length.max():.2f} and a mean cosine of {cosine:.2f} "
                "with the surface's, in world space"
            )


def check_albedo_of_the_texture(subject: ComponentUnderTest) -> None:
    """Albedo is the texture's colour at the place, sRGB, without light."""
    for picture, true in zip(_pictures(subject, EGG), _truth(), strict=True):
        error = float(np.abs(picture["albedo"] / 255 - true.colours)[true.inside].mean())
        if not error <= COLOUR:
            raise ConformanceError(
                f"albedo is off by {error:.2f}; at most {COLOUR} is asked: is the texture upside down, lit, linear, or "
                "blue first?"
            )


def check_light_keeps_colours(subject: ComponentUnderTest) -> None:
    """Lit, the picture has the colours of its albedo: a light has no colour of its own, and red stays first."""
    for picture in _pictures(subject, EGG):
        seen = picture["rgba"][..., 3] == 255
        lit, plain = (picture[name][..., :3][seen].astype(np.float64) for name in ("rgba", "albedo"))
        lit, plain = (colours - colours.mean(-1, keepdims=True) for colours in (lit, plain))
        alike = (lit * plain).sum() / max(1e-9, np.linalg.norm(lit) * np.linalg.norm(plain))
        if not alike > 0.8:
            raise ConformanceError(f"rgba has other colours than albedo: they correlate by {alike:.2f}; 0.8 is asked")


def check_straight_alpha(subject: ComponentUnderTest) -> None:
    """At the outline, where alpha is between 0 and 255, colours are as bright as beside it: not multiplied by alpha."""
    edge, beside = [], []
    for picture, true in zip(_pictures(subject, EGG), _truth(), strict=True):
        rgba = picture["rgba"].astype(np.float64)
        partly = (rgba[..., 3] > 0) & (rgba[..., 3] < 200)
        edge += list(rgba[partly][:, :3].mean(-1))
        beside += list(rgba[true.inside][:, :3].mean(-1))
    if edge and np.mean(edge) < 0.75 * np.mean(beside):
        share = np.mean(edge) / np.mean(beside)
        raise ConformanceError(f"colours at the outline are {share:.0%} as bright as inside it: give straight alpha")


def check_same_again(subject: ComponentUnderTest) -> None:
    """It gives the same pictures again after others, and leaves the mesh as it is."""
    first = _pictures(subject, EGG)
    mesh, again = EGG.mesh(), EGG.mesh()
    _render(subject, SPHERE.mesh())
    second = _render(subject, mesh)
    for one, other in zip(first, second, strict=True):
        if any(not np.array_equal(one[name], other[name]) for name in ("rgba", "depth")):
            raise ConformanceError(
                "it renders the same mesh differently after another one: it draws at random, or keeps one"
            )
    for field in fields(TexturedMesh):
        if isinstance(given := getattr(mesh, field.name), np.ndarray):
            if not np.array_equal(given, getattr(again, field.name)):
                raise ConformanceError(f"the mesh's {field.name} are modified in place; modify a copy")


@dataclass(frozen=True)
class Truth:
    """What a view shows by the formula, at the centres of its pixels.

    Attributes:
        inside: ``h w``, pixels that the object fills with all around them.
        outside: ``h w``, pixels that show nothing, with all around them.
        depth: ``h w``.
        normals: ``h w 3``.
        colours: ``h w 3``.
    """

    inside: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    colours: NDArray[np.float32]


def _truth() -> list[Truth]:
    cameras, found = _cameras(), []
    for k in range(len(cameras.origins)):
        rays = cameras[k].rays(SIZE)
        depth, hit = EGG.hits(rays)
        points = rays.origins + depth[..., None] * rays.directions
        covered = torch.nn.functional.avg_pool2d(hit.reshape(1, 1, *SIZE).float(), 3, 1, 1, count_include_pad=False)[
            0, 0
        ]
        found.append(
            Truth(
                (covered == 1).numpy(),
                (covered == 0).numpy(),
                depth.reshape(SIZE).numpy(),
                EGG.normals(points).reshape(*SIZE, 3).numpy(),
                EGG.colours(points).reshape(*SIZE, 3).numpy(),
            )
        )
    return found


def _cameras() -> Cameras:
    around = Cameras.orbit(3, elevation=[20.0, -35.0, 55.0], azimuth=25.0)
    posed = [turn(around[k], ABOUT_Z, 0.25 * k).camera_to_world for k in range(3)]
    return Cameras(torch.stack(posed), torch.tensor(LENS).expand(3, 4))


def _rays_hit(camera: Cameras, size: tuple[int, int]) -> NDArray[np.float64]:
    hit: NDArray[np.float64] = EGG.hits(camera.rays(size))[1].reshape(size).numpy().astype(np.float64)
    return hit


def _middle(covered: NDArray[np.float64], axis: int) -> float:
    along = covered.sum(1 - axis)
    return float((along * (np.arange(len(along)) + 0.5)).sum() / along.sum() / len(along))


def _pictures(subject: ComponentUnderTest, shape: Ellipsoid) -> Pictures:
    """Render it, once."""
    name = f"pictures of {shape}"
    if name not in subject.kept:
        subject.kept[name] = _render(subject, shape.mesh())
    pictures: Pictures = subject.kept[name]
    return pictures


def _render(subject: ComponentUnderTest, mesh: TexturedMesh) -> Pictures:
    try:
        if "renderer" not in subject.kept:
            subject.kept["renderer"] = load_value(subject.plugin.build)(subject.spec)
        return list(subject.kept["renderer"](mesh, _cameras(), SIZE))
    except TuneMV3DError as error:
        raise NotApplicableError(f"it cannot render here: {error}") from error


CHECKS = (
    Check(check_renders, ("discoverable",)),
    *(
        Check(ask, ("renders",))
        for ask in (
            check_shows_it_there,
            check_centres_of_pixels,
            check_depth_is_z,
            check_normals_in_world,
            check_albedo_of_the_texture,
            check_light_keeps_colours,
            check_straight_alpha,
            check_same_again,
        )
    ),
)
