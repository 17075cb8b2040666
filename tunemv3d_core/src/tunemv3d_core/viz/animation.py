"""Write frames as a moving picture: animated WebP by Pillow, or MP4 by an installed ffmpeg."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tunemv3d_core.errors import SampleError
from tunemv3d_core.io.atomic import atomic_file
from tunemv3d_core.io.generated import GeneratedBy, mp4_box, save_picture


def check_format(kind: str) -> None:
    """Refuse a format that cannot be written here, before anything is sampled.

    Raises:
        SampleError: an unknown one, or "mp4" without ffmpeg.
    """
    if kind not in ("webp", "mp4"):
        raise SampleError(f"a video is webp or mp4, not {kind!r}")
    if kind == "mp4" and shutil.which("ffmpeg") is None:
        raise SampleError("an mp4 needs ffmpeg, which is not on the PATH: install it, or take webp")


def write_animation(path: Path, frames: Sequence[Image.Image], by: GeneratedBy, milliseconds: int = 0) -> None:
    """Write generated frames of one size in the format of ``path``'s suffix. Nothing half-written stays.

    Args:
        path: ``.webp`` or ``.mp4``, or ``.png`` for one frame.
        frames: at least one.
        by: what made them; the file tells it by XMP.
        milliseconds: time that each is shown.

    Raises:
        SampleError: it cannot be written, or ffmpeg failed; its last words.
    """
    moving: dict[str, Any] = {
        "save_all": True,
        "append_images": frames[1:],
        "duration": milliseconds,
        "loop": 0,
        "quality": 80,
    }
    try:
        with atomic_file(path) as beside:
            if path.suffix == ".mp4":
                _write_mp4(beside, frames, milliseconds)
                with beside.open("ab") as file:
                    file.write(mp4_box(by.xmp))
            else:
                kind = path.suffix[1:].upper()
                save_picture(frames[0], beside, by.xmp, kind, **(moving if len(frames) > 1 else {}))
    except OSError as error:
        raise SampleError(f"{path}: could not be written: {error}. The object itself is whole") from error


def _write_mp4(path: Path, frames: Sequence[Image.Image], milliseconds: int) -> None:
    width, height = frames[0].size
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{1000 / milliseconds:g}")
    # Players want even sides and this pixel format.
    target = ("-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4")
    command = ["ffmpeg", "-y", "-loglevel", "error", *source, "-i", "-", *target, str(path)]
    pixels = b"".join(frame.convert("RGB").tobytes() for frame in frames)
    done = subprocess.run(command, input=pixels, capture_output=True, check=False)
    if done.returncode:
        raise OSError(f"ffmpeg failed: {done.stderr.decode(errors='replace').strip()[-300:]}")
