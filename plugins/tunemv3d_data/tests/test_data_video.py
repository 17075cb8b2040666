"""From a video around an object to a dataset: sharp frames from all around, with the cameras that are theirs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.posed_images import read_object
from tunemv3d_data.commands import app
from tunemv3d_data.conversion.video import capture_of
from tunemv3d_data.layouts import open_dataset
from tunemv3d_data.layouts.pick import sharpness, spread_sharp

SIDE, FOCAL, FRAMES = 96, 120.0, 96
BALLS = ((np.array([0.3, -0.1, 0.2]), 0.35), (np.array([-0.25, 0.2, -0.2]), 0.25))


def orbit(count: int) -> np.ndarray:
    """Poses ``n 4 4`` around the balls, the world's z upwards, the height swinging."""
    angles = 2 * np.pi * np.arange(count) / count
    eyes = np.stack([3 * np.sin(angles), -3 * np.cos(angles), 0.9 + 0.4 * np.sin(3 * angles)], axis=1)
    return Cameras.look_at(torch.from_numpy(eyes)).camera_to_world.numpy()


def picture(pose: np.ndarray) -> np.ndarray:
    """Two chequered balls, analytically: ``h w 4``."""
    x, y = np.meshgrid(np.arange(SIDE) + 0.5 - SIDE / 2, np.arange(SIDE) + 0.5 - SIDE / 2)
    rays = np.stack([x / FOCAL, y / FOCAL, np.ones_like(x)], axis=-1) @ pose[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    rgba, depth = np.zeros((SIDE, SIDE, 4), np.uint8), np.full((SIDE, SIDE), np.inf)
    for middle, radius in BALLS:
        along = rays @ (middle - pose[:3, 3])
        inner = radius**2 - ((middle - pose[:3, 3]) ** 2).sum() + along**2
        near = np.where(inner > 0, along - np.sqrt(np.abs(inner)), np.inf)
        point = (pose[:3, 3] + rays * np.where(np.isfinite(near), near, 0)[..., None] - middle) / radius
        is_light = (np.floor(point * 4).sum(-1) % 2)[..., None] > 0
        shown = near < depth
        rgba[shown] = np.where(is_light, [230, 200, 60, 255], [120, 30, 40, 255])[shown]
        depth = np.minimum(depth, near)
    return rgba


def is_sharp(index: int) -> bool:
    return index % 4 == 1


def frame(rgba: np.ndarray, index: int) -> np.ndarray:
    ground = np.where(rgba[..., 3:] > 0, rgba[..., :3], 245).astype(np.uint8)
    image = Image.fromarray(ground)
    return np.asarray(image if is_sharp(index) else image.filter(ImageFilter.GaussianBlur(2)))


def write_video(path: Path, pictures: list[np.ndarray]) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width = stream.height = SIDE
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for index, rgba in enumerate(pictures):
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame(rgba, index), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def write_poses(folder: Path, poses: np.ndarray, pictures: list[np.ndarray], step: int = 1, masks: bool = True) -> Path:
    """A COLMAP text model of every ``step``-th frame, numbered as ffmpeg does, whose pictures were deleted."""
    folder.mkdir()
    (folder / "cameras.txt").write_text(f"1 SIMPLE_PINHOLE {SIDE} {SIDE} {FOCAL} {SIDE / 2} {SIDE / 2}\n")
    lines = []
    for number, index in enumerate(range(0, len(poses), step), start=1):
        rows, eye = poses[index, :3, :3].T, poses[index, :3, 3]
        x, y, z, w = Rotation.from_matrix(rows).as_quat()
        pose = " ".join(str(value) for value in (w, x, y, z, *(-rows @ eye)))
        lines.append(f"{number} {pose} 1 {number:05d}.png\n\n")
        if masks:
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(pictures[index][..., 3]).save(folder / "masks" / f"{number:05d}.png")
    (folder / "images.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, list[np.ndarray]]:
    poses = orbit(FRAMES)
    pictures = [picture(pose) for pose in poses]
    path = tmp_path_factory.mktemp("video") / "orbit.mp4"
    write_video(path, pictures)
    return path, poses, pictures


def chosen_frames(folder: Path) -> list[int]:
    content = json.loads((folder / "transforms.json").read_text())
    return [int(Path(entry["file_path"]).stem) for entry in content["frames"]]


def test_a_video_and_its_poses_become_a_dataset(filmed: tuple, tmp_path: Path) -> None:
    """Twelve sharp frames, none of 60 degrees apart, and each written camera is the one that took its frame."""
    video, poses, pictures = filmed
    write_poses(tmp_path / "poses", poses, pictures)
    out = tmp_path / "out"
    arguments = ["convert", str(video), "--poses", str(tmp_path / "poses"), "--views", "12", "--out", str(out)]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0 and "1 converted" in outcome.stdout, outcome.output
    frames = chosen_frames(tmp_path / "out-frames" / "orbit")
    assert len(frames) == 12 and all(is_sharp(index) for index in frames)
    gaps = np.diff([*frames, frames[0] + FRAMES])
    assert gaps.max() * 360 / FRAMES <= 60
    record = read_object(out / "objects" / "orbit")
    eyes = record.cameras.origins.double().numpy()
    scale = np.linalg.norm(eyes[4] - eyes[0]) / np.linalg.norm(poses[frames[4], :3, 3] - poses[frames[0], :3, 3])
    shift = (eyes - scale * poses[frames, :3, 3]).mean(0)
    assert np.abs(eyes - scale * poses[frames, :3, 3] - shift).max() < 1e-3  # z is up already
    for view, index in enumerate(frames):
        with Image.open(out / "objects" / "orbit" / record.files[view]) as image:
            rgba = np.asarray(image.convert("RGBA")).astype(int)
        wanted = pictures[index].astype(int)
        inner = wanted[..., 3] > 0
        assert np.array_equal(rgba[..., 3] > 0, inner)
        assert np.abs(rgba[inner][:, :3] - wanted[inner][:, :3]).mean() < 25  # chroma at half the resolution


def test_every_second_frame_by_step_and_a_wrong_step_is_said(filmed: tuple, tmp_path: Path) -> None:
    video, poses, pictures = filmed
    given = write_poses(tmp_path / "poses", poses, pictures, step=3)
    folder = capture_of(video, given, 3, 8, tmp_path / "capture")
    frames = chosen_frames(folder)
    assert len(frames) == 8 and all(index % 3 == 0 for index in frames)
    found = open_dataset(folder).views("capture").poses
    assert np.abs(found - poses[frames]).max() < 1e-9
    with pytest.raises(DatasetError, match=r"00021\.png would be its frame 100, .*--step"):
        capture_of(video, given, 5, 8, tmp_path / "other")


def test_the_lens_comes_along_to_be_straightened(filmed: tuple, tmp_path: Path) -> None:
    """COLMAP's usual model, and its fisheye; frames are twice as large as the pictures that it saw."""
    video, poses, pictures = filmed
    given = write_poses(tmp_path / "poses", poses, pictures)
    half = f"{SIDE // 2} {SIDE // 2} {FOCAL / 2} {SIDE / 4} {SIDE / 4}"
    for model, is_fisheye in ((f"SIMPLE_RADIAL {half} 0.1", False), (f"SIMPLE_RADIAL_FISHEYE {half} 0.1", True)):
        (given / "cameras.txt").write_text(f"1 {model}\n")
        folder = capture_of(video, given, 1, 4, tmp_path / model.split()[0])
        lens = open_dataset(folder, undistort=True).views(folder.name).lenses[0]
        assert lens.distortion == (("k1", 0.1),) and lens.is_fisheye == is_fisheye and lens.size == (SIDE, SIDE)
        assert lens.intrinsics == pytest.approx((FOCAL / SIDE, FOCAL / SIDE, 0.5, 0.5))
        with pytest.raises(DatasetError, match="--undistort"):
            open_dataset(folder).record(folder.name)
    (given / "cameras.txt").write_text(f"1 PINHOLE {SIDE} {SIDE // 2} {FOCAL} {FOCAL} {SIDE / 2} {SIDE / 4}\n")
    with pytest.raises(DatasetError, match=r"the video's frames have 96 x 96 pixels, but the camera of .* 96 x 48"):
        capture_of(video, given, 1, 4, tmp_path / "other")


def test_without_masks_the_frames_stay_to_be_cut_out(filmed: tuple, tmp_path: Path) -> None:
    video, poses, pictures = filmed
    write_poses(tmp_path / "poses", poses, pictures, masks=False)
    out = tmp_path / "out"
    arguments = ["convert", str(video), "--poses", str(tmp_path / "poses"), "--views", "8", "--out", str(out)]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 1 and "rembg p -om images masks" in outcome.stdout
    capture = tmp_path / "out-frames" / "orbit"
    (capture / "masks").mkdir()
    for index in chosen_frames(capture):
        Image.fromarray(pictures[index][..., 3]).save(capture / "masks" / f"{index:06d}.png")
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0 and "1 converted" in outcome.stdout, outcome.output


def test_what_to_run_is_said_where_cameras_or_the_decoder_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = tmp_path / "orbit.mp4"
    video.write_bytes(b"no video")
    arguments = ["convert", str(video), "--out", str(tmp_path / "out")]
    said = str(CliRunner().invoke(app, arguments).exception)
    assert all(word in said for word in ("--poses", "ffmpeg -i", "colmap automatic_reconstructor", "ns-process-data"))
    poses = orbit(4)
    given = write_poses(tmp_path / "poses", poses, [picture(pose) for pose in poses])
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(DatasetError, match=r"pip install 'tunemv3d-data\[video\]'"):
        capture_of(video, given, 1, 4, tmp_path / "capture")
    with pytest.raises(DatasetError, match=r"neither a .* nor a COLMAP reconstruction"):
        capture_of(video, tmp_path / "out", 1, 4, tmp_path / "capture")


def test_a_file_that_is_no_video_is_said(tmp_path: Path) -> None:
    pytest.importorskip("av")
    video = tmp_path / "orbit.mp4"
    video.write_bytes(b"no video")
    poses = orbit(4)
    given = write_poses(tmp_path / "poses", poses, [picture(pose) for pose in poses])
    with pytest.raises(DatasetError, match=r"orbit\.mp4: cannot be decoded"):
        capture_of(video, given, 1, 4, tmp_path / "capture")


@pytest.mark.parametrize("count", [4, 8, 12])
def test_places_are_spread_and_the_sharpest_is_taken(count: int) -> None:
    """Of 100 cameras in a ring: no gap over twice the even one, and sharper than chance."""
    sharp = np.random.default_rng(0).uniform(size=100)
    chosen = spread_sharp(orbit(100), sharp.tolist(), count)
    assert len(set(chosen)) == count
    assert np.diff([*chosen, chosen[0] + 100]).max() <= 2 * 100 / count
    assert sharp[chosen].mean() > 0.6


def test_blur_lowers_sharpness_at_any_size() -> None:
    whole = Image.fromarray(picture(orbit(8)[0])[..., :3])
    for size in (96, 500, 2000):
        image = whole.resize((size, size), Image.Resampling.BICUBIC)
        blurred = image.filter(ImageFilter.GaussianBlur(size / 60))
        assert sharpness(np.asarray(blurred)) < 0.6 * sharpness(np.asarray(image))


def test_a_capture_of_many_pictures_is_thinned_too(tmp_path: Path) -> None:
    """``--views`` without a video: the same choice among pictures on disk."""
    poses = orbit(24)
    frames = []
    for index, pose in enumerate(poses):
        rgba = picture(pose)
        rgba[..., :3] = frame(rgba, index)
        Image.fromarray(rgba).save(tmp_path / f"{index:02d}.png")
        frames.append({"file_path": f"{index:02d}.png", "transform_matrix": (pose * [1, -1, -1, 1]).tolist()})
    content = {"w": SIDE, "h": SIDE, "fl_x": FOCAL, "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    record = open_dataset(tmp_path, most=6).record(tmp_path.name)
    assert record.views == 6 and all(is_sharp(int(Path(file).stem)) for file in record.files)
