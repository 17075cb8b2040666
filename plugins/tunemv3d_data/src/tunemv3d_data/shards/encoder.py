"""The image encoder whose latents are packed: the one that a spec's training would use."""

from pathlib import Path

import torch
from safetensors.torch import save

from tunemv3d_core.assemble import build_component
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.devices import find_device
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.io.shards import PackedLatents
from tunemv3d_core.latents import encode_views
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.ports import BuildContext
from tunemv3d_core.slots import Backbone, Dataset


class Encoder:
    """Encode a dataset's views.

    Args:
        name: a spec's name or file, or a pipeline's name, folder, hub id or single file for the backbone ``diffusers``.
        dataset: the pictures.

    Raises:
        TuneMV3DError: no such spec or pipeline, or the backbone cannot be built.
    """

    def __init__(self, name: str, dataset: Dataset) -> None:
        self._dataset, self._device = dataset, find_device("")
        spec = backbone_spec(name)
        built = build_component("backbone", spec, None, BuildContext(self._device, torch.float32))
        self._backbone: Backbone = built.to(self._device).eval()
        white = torch.ones(1, 1, 3, *dataset.record(0).size, device=self._device)
        with torch.no_grad():
            c, h, w = self._backbone.encode_images(white).shape[2:]
        self.packed = PackedLatents(self._backbone.latent_key(), (c, h, w))

    def __call__(self, index: int) -> bytes:
        """One object's latents ``n c h w`` and alpha ``n h w`` as a safetensors file."""
        cameras = list(range(self._dataset.record(index).views))
        latents, alpha = encode_views(self._backbone, self._dataset.views(index, cameras), self._device)
        tensors = {"latents": latents.cpu().contiguous(), "alpha": alpha.cpu().contiguous()}
        return save(tensors, metadata={"latent_key": self.packed.key})


def backbone_spec(name: str) -> ComponentSpec:
    """Return the backbone of a spec, or ``diffusers`` with a pipeline."""
    if name.endswith(".json") or name.rpartition(":")[2] in registry().names("spec") or not _is_pipeline(name):
        return load_spec(name).model.backbone
    options = registry().get("backbone", "diffusers").plugin.spec
    return options.model_validate({"type": "diffusers", "pretrained": name})


def _is_pipeline(name: str) -> bool:
    """An asset, a path, or a hub id (OWNER/NAME)."""
    try:
        registry().find("asset", name)
    except ComponentError:
        return "/" in name or Path(name).exists()
    return True
