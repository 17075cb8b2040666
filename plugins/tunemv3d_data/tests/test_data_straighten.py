"""Distortion as COLMAP computes it, and pictures of a pattern that is known everywhere, bent and straightened."""

import json
from pathlib import Path

import numpy as np
import pytest
from other_layouts import Chair, blender_matrices, save
from PIL import Image
from scipy.optimize import root

from tunemv3d_core.io.lenses import Lens, read_lens
from tunemv3d_data.conversion.convert import Conversion, convert
from tunemv3d_data.layouts import open_dataset
from tunemv3d_data.layouts.colmap_files import read_model
from tunemv3d_data.layouts.straighten import distorted, straightened

POINTS = np.array([[0.3, -0.2], [-0.45, 0.35], [0.05, 0.6]])

COLMAP_PIXELS = {
    "SIMPLE_RADIAL 80 60 90 40.5 29 0.12": [[67.9212, 10.7192], [-1.5795, 61.7285], [45.19575, 85.349]],
    "RADIAL 80 60 90 40.5 29 0.12 -0.05": [[67.898385, 10.73441], [-1.365609, 61.562141], [45.166184, 84.994203]],
    "OPENCV 80 60 90 95 40.5 29 0.12 -0.05 0.01 -0.02": [
        [67.232385, 10.147155], [-2.963109, 64.511148], [44.558684, 89.019367]],
    "FULL_OPENCV 80 60 90 95 40.5 29 0.12 -0.05 0.01 -0.02 0.03 0.04 -0.01 0.02": [
        [67.095813, 10.243262], [-2.482117, 64.11626], [44.499971, 88.275674]],
    "OPENCV_FISHEYE 80 60 90 95 40.5 29 0.12 -0.05 0.03 -0.01": [
        [66.768636, 10.514664], [2.61819, 60.100498], [44.678633, 81.929347]],
    "SIMPLE_RADIAL_FISHEYE 80 60 90 40.5 29 0.12": [
        [66.785934, 11.476044], [2.504998, 58.551669], [44.693326, 79.319914]],
    "RADIAL_FISHEYE 80 60 90 40.5 29 0.12 -0.05": [
        [66.767354, 11.488431], [2.637644, 58.448499], [44.675855, 79.110264]],
    "SIMPLE_FISHEYE 80 60 90 40.5 29": [[66.413561, 11.724293], [3.690828, 57.629356], [44.550565, 77.606776]],
    "FISHEYE 80 60 90 95 40.5 29": [[66.413561, 10.764531], [3.690828, 59.219876], [44.550565, 80.307153]],
}  # fmt: skip
"""Where pycolmap 4.2.1 (``Camera.img_from_cam``) sees POINTS at depth 1, by a line of cameras.txt."""


@pytest.mark.parametrize("camera", COLMAP_PIXELS)
def test_every_model_distorts_as_colmap_says(camera: str, tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text(f"1 {camera}\n")
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 3 1 a.png\n\n")
    lens = read_model(tmp_path)[0][1]
    fx, fy, cx, cy = lens.intrinsics
    pixels = (distorted(POINTS, lens) * [fx, fy] + [cx, cy]) * [80, 60]
    assert np.abs(pixels - COLMAP_PIXELS[camera]).max() < 1e-5


BARREL = read_lens({"w": 120, "h": 80, "fl_x": 60, "cx": 63, "cy": 37, "k1": -0.3, "k2": 0.05}, "")
TANGENTIAL = read_lens({"w": 120, "h": 80, "fl_x": 60, "k1": 0.3, "p1": 0.03, "p2": -0.02}, "")
FISHEYE = read_lens({"w": 120, "h": 80, "fl_x": 60, "is_fisheye": True, "k1": 0.03, "k2": -0.01}, "")


def pattern(plane: np.ndarray) -> np.ndarray:
    """Smooth colours ``... 3`` of a point of the plane at depth 1, known everywhere."""
    x, y = plane[..., 0], plane[..., 1]
    return 127.5 + 100 * np.stack([np.sin(9 * x), np.cos(11 * y), np.sin(7 * (x + y))], axis=-1)


def is_object(plane: np.ndarray) -> np.ndarray:
    """A disc off the middle."""
    return np.hypot(plane[..., 0] - 0.1, plane[..., 1] + 0.05) < 0.5


def plane_of(lens: Lens) -> np.ndarray:
    """Every pixel's centre on the plane of a pinhole, ``h w 2``."""
    (h, w), (fx, fy, cx, cy) = lens.size, lens.intrinsics
    x, y = np.meshgrid((np.arange(w) + 0.5) / w, (np.arange(h) + 0.5) / h)
    return np.stack([(x - cx) / fx, (y - cy) / fy], axis=-1)


def opencv_by_hand(point: np.ndarray, lens: Lens) -> np.ndarray:
    """One point, written after OpenCV's documentation."""
    c = {"k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0, **dict(lens.distortion)}
    x, y = point
    r = np.hypot(x, y)
    if lens.is_fisheye:
        theta = np.arctan(r)
        scale = theta * (1 + c["k1"] * theta**2 + c["k2"] * theta**4) / r if r else 1.0
        return np.array([x * scale, y * scale])
    radial = 1 + c["k1"] * r**2 + c["k2"] * r**4
    return np.array([
        x * radial + 2 * c["p1"] * x * y + c["p2"] * (r**2 + 2 * x**2),
        y * radial + c["p1"] * (r**2 + 2 * y**2) + 2 * c["p2"] * x * y,
    ])  # fmt: skip


def bent_picture(lens: Lens, opaque: bool) -> np.ndarray:
    """The pattern as the lens shows it: each pixel's ray is found by a solver that inverts the lens."""
    bent = plane_of(lens)
    rays = np.array([root(lambda p, q=q: opencv_by_hand(p, lens) - q, q).x for q in bent.reshape(-1, 2)])
    rays = rays.reshape(bent.shape)
    alpha = np.full(lens.size, 255.0) if opaque else 255.0 * is_object(rays)
    return np.concatenate([pattern(rays), alpha[..., None]], axis=-1).round().astype(np.uint8)


@pytest.mark.parametrize("lens", [BARREL, TANGENTIAL, FISHEYE], ids=["barrel", "tangential", "fisheye"])
@pytest.mark.slow
def test_a_bent_pattern_is_straight_again(lens: Lens) -> None:
    """Within what linear interpolation leaves, 0.7 of 255 in the mean; the disc's area to 1 %."""
    straight = straightened(bent_picture(lens, opaque=False), lens).astype(float)
    plane = plane_of(lens)
    inner = is_object(plane) & (np.hypot(plane[..., 0] - 0.1, plane[..., 1] + 0.05) < 0.47)
    missed = np.abs(straight[inner][:, :3] - pattern(plane)[inner])
    assert missed.max() < 4 and missed.mean() < 0.7 and straight[inner][:, 3].min() == 255
    assert straight[..., 3].sum() / 255 == pytest.approx(is_object(plane).sum(), rel=0.01)
    bent = bent_picture(lens, opaque=False).astype(float)
    assert np.abs(bent[inner][:, :3] - pattern(plane)[inner]).mean() > 5 * missed.mean()


def test_a_photograph_stays_opaque_and_a_cut_out_one_ends_where_the_lens_did() -> None:
    pincushion = read_lens({"w": 120, "h": 80, "fl_x": 100, "k1": 0.3}, "")
    whole = np.full((80, 120, 4), 255, np.uint8)
    assert (straightened(whole, pincushion)[..., 3] == 255).all()
    whole[40, 60, 3] = 0  # somewhere, something was cut out
    straight = straightened(whole, pincushion)
    assert straight[0, 0, 3] == 0 and straight[40, 20, 3] == 255


def test_a_model_that_folds_over_shows_nothing_twice() -> None:
    """r (1 - r^2) comes back to the middle beyond r = 1 / sqrt 3, where it is largest."""
    lens = Lens((8, 8), (1.0, 1.0, 0.5, 0.5), (("k1", -1.0),))
    radii = np.array([[0.5, 0], [0.57, 0], [0.6, 0], [1.2, 0]])
    seen = np.isfinite(distorted(radii, lens)[:, 0])
    assert seen.tolist() == [True, True, False, False]


def test_a_distorted_capture_converts_with_undistort(tmp_path: Path) -> None:
    """A chair whose pictures were bent fits its cameras only when it is straightened; sizes and focal length stay."""
    chair = Chair(8)
    side = chair.pictures[0].shape[0]
    bend = read_lens({"w": side, "h": side, "fl_x": chair.focal * side, "k1": 0.5}, "")
    inverse = Lens(bend.size, bend.intrinsics, (("k1", -0.5), ("k2", 0.75), ("k3", -1.5)))  # its series, to r^7
    frames = []
    for index, matrix in enumerate(blender_matrices(chair, 1.0)):
        save(tmp_path / "chair" / f"{index}.png", straightened(chair.pictures[index], inverse))
        frames.append({"file_path": f"{index}.png", "transform_matrix": matrix.tolist()})
    keys = {"w": side, "h": side, "fl_x": chair.focal * side, "k1": 0.5}
    (tmp_path / "chair" / "transforms.json").write_text(json.dumps({**keys, "frames": frames}))
    (refused,) = convert(open_dataset(tmp_path), Conversion(tmp_path / "no"))
    assert "chair: the lens of 0.png is distorted (k1 = 0.5); --undistort" in refused.note
    source = open_dataset(tmp_path, undistort=True)
    (done,) = convert(source, Conversion(tmp_path / "out"))
    assert done.status == "converted", done.note
    shown = np.array([source.picture("chair", view)[..., 3] > 127 for view in range(8)])
    wanted = np.array([picture[..., 3] > 127 for picture in chair.pictures])
    bent = np.array([np.asarray(Image.open(tmp_path / "chair" / f"{view}.png"))[..., 3] > 127 for view in range(8)])
    missed, bent_by = (shown != wanted).sum() / wanted.sum(), (bent != wanted).sum() / wanted.sum()
    assert missed < 0.05 and bent_by > 2.5 * missed  # thin parts, twice interpolated
