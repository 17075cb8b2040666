"""The nodes that make something: Sample, Preview and Mesh. Light: torch comes when a node runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunemv3d_comfyui import host
from tunemv3d_comfyui.load_nodes import CATEGORY, MODEL, Inputs
from tunemv3d_comfyui.recipe import ModelRecipe
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.plugins.registry import registry

if TYPE_CHECKING:
    from torch import Tensor

    from tunemv3d_comfyui.making import MadeObject

OBJECT = "TUNEMV3D_OBJECT"
"""ComfyUI's name for a ``MadeObject``."""

MESHER = "marching-cubes"


class TuneMV3DSample:
    """Makes views of one object from text."""

    DESCRIPTION = "Matching views of one object, evenly around it."
    CATEGORY = CATEGORY
    FUNCTION = "sample"
    RETURN_TYPES = ("IMAGE", "MASK", OBJECT)
    RETURN_NAMES = ("views", "opacity", "object")
    OUTPUT_TOOLTIPS = ("The views, a batch.", "1 where the field sees the object.", "For Preview and Mesh.")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Describe the inputs to ComfyUI. The defaults are those of the packaged checkpoints."""
        k = "K: 0 is the plain 2D model, 1 the tuned one, more extrapolates."
        prompt = {"default": "a red armchair", "multiline": True}
        seed = {"default": 0, "min": 0, "max": 2**32 - 1, "control_after_generate": True}
        guidance = {"default": 5.0, "min": 0.0, "max": 30.0, "step": 0.1, "tooltip": "At most 1 is none."}
        elevation = {"default": 20.0, "min": -89.0, "max": 89.0, "step": 1.0, "tooltip": "Degrees above the horizon."}
        return {
            "required": {
                "model": (MODEL, {}),
                "prompt": ("STRING", {**prompt, "tooltip": "What object to make."}),
                "negative": ("STRING", {"default": "", "multiline": True, "tooltip": "What guidance moves away from."}),
                "seed": ("INT", seed),
                "steps": ("INT", {"default": 25, "min": 1, "max": 1000, "tooltip": "Denoising steps."}),
                "guidance": ("FLOAT", guidance),
                "consistency": ("FLOAT", {"default": 1.5, "min": 0.0, "max": 10.0, "step": 0.05, "tooltip": k}),
                "views": ("INT", {"default": 8, "min": 1, "max": 64, "tooltip": "Cameras around the object."}),
                "elevation": ("FLOAT", elevation),
            }
        }

    def sample(self, model: ModelRecipe, **wish: Any) -> "tuple[Tensor, Tensor, MadeObject]":
        """Return views ``n h w 3`` and opacity ``n h w`` in [0, 1] on the CPU, and the object for other nodes.

        A model without a field knows no opacity: it is 1 everywhere.
        """
        import torch

        from tunemv3d_comfyui.making import Wish, make_object

        # ComfyUI runs nodes in inference mode, whose tensors no gradient may pass; normals and meshes need some.
        with torch.inference_mode(False):
            made = make_object(model, Wish(**wish))
            views = made.finished.images.movedim(1, -1).contiguous()
            opacity = made.finished.opacity
            return views, torch.ones(views.shape[:3]) if opacity is None else opacity.float().clamp(0, 1), made


class TuneMV3DPreview:
    """Shows an object: its views in a row, and below them what its field renders, its opacity and its depth."""

    DESCRIPTION = "All views as one picture, with what the field rendered, its opacity and its depth below them."
    CATEGORY = CATEGORY
    FUNCTION = "show"
    OUTPUT_NODE = True
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("grid",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Describe the inputs to ComfyUI."""
        return {"required": {"object": (OBJECT, {})}}

    def show(self, object: "MadeObject") -> dict[str, Any]:
        """Return the picture ``1 h w 3``, and where the node shows it from."""
        import numpy as np
        import torch

        from tunemv3d_core.io.generated import save_picture
        from tunemv3d_core.viz.pictures import grid

        seen = object.finished
        picture = grid(seen.images, seen.renders, seen.opacity, seen.depth)
        file = free_path(host.temp_directory(), "tunemv3d", ".png")
        save_picture(picture, file, object.by.xmp)
        tensor = torch.from_numpy(np.array(picture)).float()[None] / 255
        return {"ui": {"images": [_shown(file, host.temp_directory(), "temp")]}, "result": (tensor,)}


class TuneMV3DMesh:
    """Makes a textured mesh of an object: a GLB file in ComfyUI's output folder."""

    DESCRIPTION = "A textured mesh as a GLB file in the output folder. Its path goes into Preview 3D."
    CATEGORY = CATEGORY
    FUNCTION = "mesh"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("path",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Describe the inputs to ComfyUI; any mesher that is installed can be chosen."""
        prefix = "Name of the file, with folders; a number follows."
        return {
            "required": {
                "object": (OBJECT, {}),
                "filename_prefix": ("STRING", {"default": "mesh/tunemv3d", "tooltip": prefix}),
            },
            "optional": {"mesher": (registry().names("mesher") or [MESHER], {"default": MESHER})},
        }

    def mesh(self, object: "MadeObject", filename_prefix: str, mesher: str = MESHER) -> dict[str, Any]:
        """Write the mesh; return its path in the output folder, and where the node shows it from."""
        import torch

        from tunemv3d_comfyui.making import make_mesh
        from tunemv3d_core.io.samples import write_file

        output = host.output_directory()
        file = free_path(output, filename_prefix, ".glb")
        with torch.inference_mode(False):
            write_file(file, make_mesh(object, mesher))
        shown = _shown(file, output, "output")
        return {"ui": {"3d": [shown]}, "result": (file.relative_to(output.resolve()).as_posix(),)}


def free_path(folder: Path, prefix: str, suffix: str) -> Path:
    """Return the next free path, named as ComfyUI does: ``prefix_00001_.glb``; its folder is made.

    Args:
        folder: of ComfyUI.
        prefix: a name, with folders in that one.
        suffix: of the file.

    Raises:
        TuneMV3DError: a prefix that leads out of the folder, or no name.
    """
    root = folder.resolve()
    start = (root / prefix).resolve()
    if not start.is_relative_to(root) or start == root:
        raise TuneMV3DError(f"filename_prefix '{prefix}' should be a name in {root}, such as mesh/tunemv3d")
    start.parent.mkdir(parents=True, exist_ok=True)
    taken = (start.parent / f"{start.name}_{number:05}_{suffix}" for number in range(1, 100_000))
    return next(path for path in taken if not path.exists())


def _shown(file: Path, folder: Path, kind: str) -> dict[str, str]:
    """Return a file as ComfyUI's pages ask the server for it."""
    subfolder = file.parent.relative_to(folder.resolve()).as_posix()
    return {"filename": file.name, "subfolder": "" if subfolder == "." else subfolder, "type": kind}
