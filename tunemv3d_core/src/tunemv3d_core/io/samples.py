"""A sampled object on disk: what ``sample_files`` writes and what meshes, reports and viewers are made from.

One folder per object::

    manifest.json        prompt, seed, options, checkpoint, spec id, versions, the training data; written last
    transforms.json      the cameras and files of the views (nerfstudio reads it)
    views/000.png ...    RGBA, straight alpha; beside them depth/000.png and normals/000.png where there is a field
    scene.safetensors    the finished views' latents and cameras: with the checkpoint, enough to have the scene again
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import SampleError, TuneMV3DError
from tunemv3d_core.io.atomic import atomic_file
from tunemv3d_core.io.json_files import check_plain, read_json, write_json
from tunemv3d_core.io.pictures import open_picture
from tunemv3d_core.io.posed_images import read_object
from tunemv3d_core.sampling import fuse_clean
from tunemv3d_core.slots import Backbone, Pictures, ReportsCutPrompts, Scene

MANIFEST = "manifest.json"
SCENE = "scene.safetensors"


@dataclass(frozen=True)
class SampledObject:
    """One sampled object.

    Attributes:
        folder: where it lies.
        manifest: as written.
        latents: ``n c h w``, the finished views.
        cameras: ``n``.
    """

    folder: Path
    manifest: dict[str, Any]
    latents: Tensor
    cameras: Cameras

    @property
    def prompt(self) -> str:
        """Prompt that was sampled."""
        return str(self.manifest["prompt"])

    def scene(self, model: MultiviewDiffusion) -> Scene:
        """Fuse the finished views into the field's scene, a batch of one.

        Args:
            model: of the manifest's ``checkpoint``.
        """
        cameras, latents = self.cameras[None].to(model.device), self.latents[None].to(model.device, model.dtype)
        return fuse_clean(model, latents, model.backbone.encode_text([self.prompt]), cameras)


def find_samples(folder: Path) -> list[Path]:
    """List the sampled objects in a folder, by name, or the folder itself if it is one; leave out unfinished ones."""
    if (folder / MANIFEST).is_file():
        return [folder]
    return sorted(file.parent for file in folder.glob(f"*/{MANIFEST}") if file.parent.suffix != ".part")


def read_sample(folder: Path) -> SampledObject:
    """Read one sampled object.

    Raises:
        SampleError: a file is missing or damaged; names it.
    """
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest.get("prompt"), str):
        raise SampleError(f"{folder / MANIFEST}: names no 'prompt'; sample the object again")
    try:
        check_plain(folder / SCENE)
        tensors = load_file(folder / SCENE)
        cameras = Cameras(tensors["camera_to_world"], tensors["intrinsics"]).check()
        return SampledObject(folder, manifest, tensors["latents"], cameras)
    except (OSError, SafetensorError) as error:
        raise SampleError(f"{folder / SCENE}: cannot be read: {error}") from None
    except KeyError as error:
        raise SampleError(f"{folder / SCENE}: holds no {error}") from None


def read_pictures(folder: Path) -> Pictures:
    """Read the views of a sampled object, as ``transforms.json`` names them.

    Raises:
        SampleError: a picture is missing, damaged, of another size or without alpha, or none shows anything; names it.
    """
    try:
        record = read_object(folder)
    except TuneMV3DError as error:
        raise SampleError(str(error)) from None
    pixels = torch.from_numpy(np.stack([_read_rgba(folder / file, record.size) for file in record.files]))
    rgba = pixels.movedim(-1, 1).float() / 255
    if not bool((rgba[:, 3] > 0.5).any()):
        raise SampleError(f"{folder}: no view shows an object; sample it again with another --seed")
    return Pictures(rgba[:, :3].contiguous(), rgba[:, 3].contiguous(), record.cameras)


def _read_rgba(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a picture as ``H W 4``."""
    try:
        with open_picture(path) as image:
            if "A" not in image.getbands():
                raise SampleError(f"{path}: no alpha channel, so the object cannot be told from the background")
            if image.size[::-1] != size:
                sizes = f"{image.size[0]} x {image.size[1]}, but transforms.json says {size[1]} x {size[0]}"
                raise SampleError(f"{path}: the picture has {sizes} pixels")
            return np.asarray(image.convert("RGBA"))
    except FileNotFoundError:
        raise SampleError(f"{path}: the view is missing; sample the object again, or restore the file") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise SampleError(f"{path}: the view is damaged: {error}") from None


def write_scene(folder: Path, latents: Tensor, cameras: Cameras) -> None:
    """Write ``scene.safetensors``: latents ``n c h w``, cameras ``n``."""
    tensors = {"latents": latents, "camera_to_world": cameras.camera_to_world, "intrinsics": cameras.intrinsics}
    save_file({name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}, folder / SCENE)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write ``manifest.json``.

    Raises:
        SampleError: it cannot be written; what was there before stays.
    """
    try:
        write_json(folder / MANIFEST, manifest)
    except OSError as error:
        raise SampleError(unwritable(folder / MANIFEST, error)) from error


def note_files(
    folder: Path, made: dict[str, Any], figures: Mapping[str, float | None] | None = None, notes: Sequence[str] = ()
) -> None:
    """Add what was made of an object later to its manifest.

    Args:
        folder: of the object.
        made: names of files by kind.
        figures: what was measured of them, by name.
        notes: sentences on them.

    Raises:
        SampleError: the manifest cannot be written; what was there before stays.
    """
    manifest = read_json(folder / MANIFEST)
    files = {**(manifest.get("files") or {}), **made}
    told = list(dict.fromkeys([*(manifest.get("notes") or []), *notes]))
    write_manifest(folder, {**manifest, **(figures or {}), "notes": told, "files": files})


def write_file(path: Path, content: bytes) -> None:
    """Write a file of an object whole or not at all; its folder is made.

    Raises:
        SampleError: it cannot be written; what was there before stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as beside:
            beside.write_bytes(content)
    except OSError as error:
        raise SampleError(unwritable(path, error)) from error


def unwritable(path: Path, error: OSError) -> str:
    """Say that a file could not be written, why, and what to do."""
    return f"{path}: could not be written: {error.strerror}. Make room there, or choose another folder with --out"


def cut_prompts(backbone: Backbone, prompts: Sequence[str]) -> list[str]:
    """Return a sentence for each prompt that the text encoder cuts; none where the backbone does not report it."""
    return backbone.cut_prompts(prompts) if isinstance(backbone, ReportsCutPrompts) else []
