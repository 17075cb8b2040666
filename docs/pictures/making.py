"""Make pictures by the commands that their captions name, and record what each was made by."""

import datetime
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from tunemv3d_core import __version__
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.plugins.assets import find_asset

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
RECORDS = Path(__file__).with_name("records")
WORK = DOCS / "_build" / "pictures"
"""Outputs of commands, which git ignores; what is there is not made again."""


@dataclass(frozen=True)
class Picture:
    """One picture of the README or the documentation.

    Attributes:
        file: its place in ``docs/_static``.
        caption: what the pages say of it, word for word; names the commands, or their prompts and seeds.
        assets: packaged models and datasets that it is made from.
        commands: as a reader would type them; each runs in a folder of its own.
        draw: takes those folders, returns the frames: one, or those of a moving picture.
        milliseconds: time that each frame is shown.
        most: largest side, pixels; larger frames are scaled down.
        ends: whether the commands end by themselves; else ``draw`` runs them.
        quality: of the WebP.
    """

    file: str
    caption: str
    commands: tuple[str, ...]
    draw: Callable[[list[Path]], Sequence[Image.Image]]
    assets: tuple[str, ...] = ("chairs-mini",)
    milliseconds: int = 0
    most: int = 1024
    ends: bool = True
    quality: int = 80

    @property
    def path(self) -> Path:
        """The picture's file."""
        return DOCS / "_static" / self.file

    @property
    def record(self) -> Path:
        """The file that says what it was made by."""
        return RECORDS / f"{Path(self.file).stem}.json"

    def made_by(self) -> dict[str, Any]:
        """What decides how it looks.

        Raises:
            TuneMV3DError: an asset is not installed.
        """
        return {
            "caption": self.caption,
            "commands": list(self.commands),
            "assets": {name: asset_sha256(name) for name in self.assets},
        }

    def is_made(self) -> bool:
        """Whether the file is there, unchanged, and was made by what would make it now."""
        if not self.path.is_file() or not self.record.is_file():
            return False
        known = json.loads(self.record.read_text("utf-8"))
        return {"sha256": _sha256([self.path]), **self.made_by()}.items() <= known.items()


class Commands:
    """Commands of pictures, two at a time with half the processors each: much of what they do keeps one busy."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(2)
        self._outputs: dict[str, Future[Path]] = {}

    def begin(self, picture: Picture) -> None:
        """Start what a picture needs, unless it is made or its commands run already."""
        if picture.ends and not picture.is_made():
            for command in picture.commands:
                if command not in self._outputs:
                    self._outputs[command] = self._pool.submit(_output, command, picture.made_by()["assets"])

    def outputs(self, picture: Picture) -> list[Path]:
        """Wait for a picture's commands, and return the folders in which they ran.

        Raises:
            TuneMV3DError: one of them failed.
        """
        return [self._outputs[command].result() for command in picture.commands] if picture.ends else []

    def close(self) -> None:
        """Start no more; an interruption reaches those that run by itself."""
        self._pool.shutdown(cancel_futures=True)


def make(picture: Picture, commands: Commands) -> None:
    """Make a picture and its record.

    Raises:
        TuneMV3DError: an asset or a program is missing, or a command failed.
    """
    made_by = picture.made_by()
    folders = commands.outputs(picture)
    frames = [_at_most(frame.convert("RGB"), picture.most) for frame in picture.draw(folders)]
    picture.path.parent.mkdir(parents=True, exist_ok=True)
    moving = {"save_all": True, "append_images": frames[1:], "duration": picture.milliseconds, "loop": 0}
    small = {"quality": picture.quality, "method": 6, "minimize_size": True}
    frames[0].save(picture.path, **small, **(moving if len(frames) > 1 else {}))
    today = datetime.date.today().isoformat()
    record = {"file": picture.file, "sha256": _sha256([picture.path]), **made_by, "date": today, "version": __version__}
    RECORDS.mkdir(exist_ok=True)
    picture.record.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")


@cache
def asset_sha256(name: str) -> str:
    """Return the hash of a packaged model's weights, or of a dataset's cameras and captions."""
    folder = find_asset(name)
    return _sha256(sorted(folder.rglob("*.safetensors")) or sorted(folder.rglob("*.json")))


def _output(command: str, assets: dict[str, str]) -> Path:
    """Return the folder in which a command has run; a finished run with the same assets is taken as it is."""
    name = re.sub(r"[^\w]+", "-", command).strip("-")[:60]
    key = hashlib.sha256(json.dumps([command, assets, __version__]).encode()).hexdigest()[:12]
    folder = WORK / f"{name}-{key}"
    if folder.is_dir():
        return folder
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    words = shlex.split(command)
    if words[0] == "python":
        words[:2] = [sys.executable, str(ROOT / words[1])]
    else:
        words[0] = str(Path(sys.executable).parent / words[0])
    # A picture is of the first seed, on whatever machine: the CPU's numbers are the same on all of one kind.
    variables = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 2) // 2))}
    done = subprocess.run(words, cwd=part, env=variables, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise TuneMV3DError(f"`{command}` failed: {' '.join(last)}")
    part.rename(folder)
    return folder


def _at_most(picture: Image.Image, side: int) -> Image.Image:
    scale = side / max(picture.size)
    return picture if scale >= 1 else picture.resize([round(s * scale) for s in picture.size], Image.Resampling.LANCZOS)


def _sha256(files: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(file.read_bytes())
    return total.hexdigest()
