"""Frames of a video that goes around an object, with cameras that another program found, as a capture on disk.

Decoding is PyAV's, the extra ``video``. The capture is a folder as nerfstudio lays it out (``layouts.nerfstudio``).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import write_json
from tunemv3d_data.layouts import colmap, nerfstudio
from tunemv3d_data.layouts.colmap_files import is_model
from tunemv3d_data.layouts.conventions import OPENGL
from tunemv3d_data.layouts.pick import sharpness, spread_sharp
from tunemv3d_data.layouts.views import Bytes, SourceViews

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")


def is_video(path: Path) -> bool:
    """Return whether a file's name says that it is a video."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def how_to_find_cameras(video: Path) -> str:
    """Say what to run where a video's cameras are not known."""
    return (
        f"{video}: a video does not say where its cameras stood; give --poses. To find them with COLMAP:\n"
        "  mkdir images\n"
        f'  ffmpeg -i {video} -vf "select=not(mod(n\\,5))" -fps_mode vfr images/%05d.png\n'
        "  colmap automatic_reconstructor --workspace_path . --image_path images --single_camera 1 --dense 0\n"
        "  rembg p -om images masks\n"
        f"  tunemv3d data convert {video} --poses . --step 5 --undistort --views 48 --out DATASET\n"
        f"or with nerfstudio: ns-process-data video --data {video} --output-dir DIR, then tunemv3d data convert DIR"
    )


def capture_of(video: Path, poses: Path, step: int, count: int, folder: Path) -> Path:
    """Write the sharpest frames all around the object, their masks and cameras into a folder, as a capture.

    Args:
        video: the file.
        poses: a COLMAP reconstruction, or a transforms.json or its folder. The pictures that it names need not exist;
            numbers in their names say which frames of the video they are, the first one 1, or 0 where there is a 0.
        step: frames of the video from one number to the next.
        count: frames to take at most.
        folder: to write; pictures and masks that are there already stay.

    Returns:
        ``folder``.

    Raises:
        DatasetError: PyAV is missing, the video cannot be read or is too short, or poses and frames do not fit.
    """
    views = _read(poses)
    frames = _frame_numbers(views, step)
    wanted = set(frames)
    measured = {index: sharpness(rgb) for index, rgb in enumerate(_frames(video)) if index in wanted}
    if missing := sorted(wanted - measured.keys()):
        name = views.files[frames.index(missing[0])].name
        raise DatasetError(
            f"{video}: {name} would be its frame {missing[0]}, which it does not have; --step says how many frames lie "
            "between two numbers"
        )
    chosen = spread_sharp(views.poses, [measured[frame] for frame in frames], count)
    by_frame = {frames[view]: view for view in chosen}
    (folder / "images").mkdir(parents=True, exist_ok=True)
    written = []
    for index, rgb in enumerate(_frames(video)):
        if index in by_frame:
            written.append(_write_frame(folder, views, by_frame[index], index, rgb))
    write_json(folder / "transforms.json", {"frames": written})
    return folder


def _write_frame(folder: Path, views: SourceViews, view: int, index: int, rgb: Bytes) -> dict[str, Any]:
    """Write one frame and its mask; returns its entry in transforms.json."""
    lens = views.lenses[view]
    (h, w), (lens_h, lens_w) = rgb.shape[:2], lens.size
    if abs(w * lens_h - h * lens_w) > max(w, h):
        raise DatasetError(
            f"the video's frames have {w} x {h} pixels, but the camera of {views.files[view].name} {lens_w} x {lens_h}"
        )
    name = f"{index:06d}.png"
    Image.fromarray(rgb).save(folder / "images" / name)
    if views.masks:
        (folder / "masks").mkdir(exist_ok=True)
        Image.fromarray(views.mask(view)).resize((w, h)).save(folder / "masks" / name)
    fx, fy, cx, cy = lens.intrinsics
    return {
        "file_path": f"images/{name}",
        **{"w": w, "h": h, "fl_x": fx * w, "fl_y": fy * h, "cx": cx * w, "cy": cy * h},
        **dict(lens.distortion),
        **({"is_fisheye": True} if lens.is_fisheye else {}),
        "transform_matrix": OPENGL.stored(views.poses[view][None])[0].tolist(),
    }


def _read(poses: Path) -> SourceViews:
    folder = poses.parent if poses.is_file() else poses
    if poses.is_file() or (poses / "transforms.json").is_file():
        return nerfstudio.read(folder)
    if is_model(folder) or colmap.recognise(folder):
        return colmap.read(folder)
    raise DatasetError(f"--poses {poses}: neither a transforms.json nor a COLMAP reconstruction")


def _frame_numbers(views: SourceViews, step: int) -> list[int]:
    """Return which frame of the video each view is, from 0."""
    numbers = [re.findall(r"\d+", file.stem) for file in views.files]
    if unnumbered := [file.name for file, found in zip(views.files, numbers, strict=True) if not found]:
        raise DatasetError(f"--poses: {unnumbered[0]} has no number that would say which frame of the video it is")
    last = [int(found[-1]) for found in numbers]
    if len(set(last)) < len(last):
        raise DatasetError("--poses: two pictures have the same number, so that they are of more than one video")
    first = min(1, min(last))
    return [(number - first) * step for number in last]


def _frames(video: Path) -> Iterator[Bytes]:
    """Decode a video: RGB frames ``h w 3`` in the order in which they are shown, turned as its player turns them."""
    try:
        import av
    except ImportError:
        raise DatasetError(f"{video}: a video is decoded by PyAV: pip install 'tunemv3d-data[video]'") from None
    try:
        with av.open(str(video)) as container:
            for frame in container.decode(video=0):
                yield np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
    except (av.FFmpegError, IndexError, OSError) as error:
        raise DatasetError(f"{video}: cannot be decoded: {error}") from None
