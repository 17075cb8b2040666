"""A sampled object on disk: what ``sample_files`` writes and what meshes, reports and viewers are made from.

One folder an object::

    manifest.json        prompt, seed, options, checkpoint, spec id, versions, the training data; written last
    transforms.json      the cameras and files of the views (nerfstudio reads it)
    views/000.png ...    RGBA, straight alpha; beside them depth/000.png and normals/000.png where there is a field
    scene.safetensors    the finished views' latents and cameras: with the checkpoint, enough to have the scene again
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import SampleError
from tunemv3d_core.io.posed_images import read_json, write_json
from tunemv3d_core.sampling import fuse_clean
from tunemv3d_core.slots import Backbone, ReportsCutPrompts, Scene

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
        """What was asked for."""
        return str(self.manifest["prompt"])

    def scene(self, model: MultiviewDiffusion) -> Scene:
        """What the field makes of the finished views, a batch of one.

        Args:
            model: of the manifest's ``checkpoint``.
        """
        weight = next(model.parameters())
        cameras = self.cameras[None].to(weight.device)
        return fuse_clean(model, self.latents[None].to(weight), model.backbone.encode_text([self.prompt]), cameras)


def is_sample(folder: Path) -> bool:
    """Whether the folder holds a sampled object."""
    return (folder / MANIFEST).is_file() and (folder / SCENE).is_file()


def find_samples(folder: Path) -> list[Path]:
    """The sampled objects in a folder, by name, or the folder itself if it is one.

    Raises:
        SampleError: none there.
    """
    found = (
        [folder] if is_sample(folder) else sorted(f.parent for f in folder.glob(f"*/{SCENE}") if is_sample(f.parent))
    )
    if not found:
        raise SampleError(
            f"{folder}: no sampled object (a folder with {MANIFEST} and {SCENE}), as `tunemv3d sample` makes"
        )
    return found


def read_sample(folder: Path) -> SampledObject:
    """Read one sampled object.

    Raises:
        SampleError: a file is missing or damaged; names it.
    """
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest.get("prompt"), str):
        raise SampleError(f"{folder / MANIFEST}: names no 'prompt'; sample the object again")
    try:
        tensors = load_file(folder / SCENE)
        cameras = Cameras(tensors["camera_to_world"], tensors["intrinsics"]).check()
        return SampledObject(folder, manifest, tensors["latents"], cameras)
    except (OSError, SafetensorError) as error:
        raise SampleError(f"{folder / SCENE}: cannot be read: {error}") from None
    except KeyError as error:
        raise SampleError(f"{folder / SCENE}: holds no {error}") from None


def write_scene(folder: Path, latents: Tensor, cameras: Cameras) -> None:
    """Write ``scene.safetensors``: latents ``n c h w``, cameras ``n``."""
    tensors = {"latents": latents, "camera_to_world": cameras.camera_to_world, "intrinsics": cameras.intrinsics}
    save_file({name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}, folder / SCENE)


def note_files(folder: Path, made: dict[str, Any]) -> dict[str, Any]:
    """Add what was made of an object later, by kind, to its manifest's ``files``; the manifest.

    Raises:
        SampleError: it cannot be written; what was there before stays.
    """
    manifest = read_json(folder / MANIFEST)
    manifest["files"] = {**manifest["files"], **made}
    try:
        write_json(folder / MANIFEST, manifest)
    except OSError as error:
        raise SampleError(f"{folder / MANIFEST}: could not be written: {error.strerror}") from error
    return manifest


def cut_prompts(backbone: Backbone, prompts: Sequence[str]) -> list[str]:
    """Return a sentence for each prompt that the text encoder cuts; none where the backbone does not report it."""
    return backbone.cut_prompts(prompts) if isinstance(backbone, ReportsCutPrompts) else []
