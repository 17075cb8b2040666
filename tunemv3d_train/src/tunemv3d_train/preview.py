"""Preview picture: per prompt the frozen prior's views, the tuned model's from the same noise, and their surface."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import SampleSpec
from tunemv3d_core.consistency import Consistency, format_consistency
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import CheckpointError
from tunemv3d_core.io.atomic import atomic_file, make_folders
from tunemv3d_core.io.generated import GeneratedBy, save_picture
from tunemv3d_core.latents import decode_pictures
from tunemv3d_core.sampling import fuse_clean, sample
from tunemv3d_core.types import Text
from tunemv3d_core.viz.geometry import surface_pictures
from tunemv3d_core.viz.pictures import to_pil

STEPS_AT_MOST = 12
"""Largest number of denoising steps of a preview, which is a quick look."""

LINE = 16
"""Height of a line of text, pixels."""


class Preview:
    """Sampler of the same prompts from the same noise again and again.

    Args:
        model: the model.
        prompts: texts, each with rows of its own.
        cameras: ``(n,)``, in the order of the pictures in a row.
        size: (h, w) of the latents.
        options: guidance, scheduler, K, starting noise and steps, of which at most ``STEPS_AT_MOST`` are taken.
        seed: seed of the noise.
        by: what makes the pictures, as they tell it; each adds its step to the model's name.
    """

    def __init__(
        self,
        model: MultiviewDiffusion,
        prompts: Sequence[str],
        cameras: Cameras,
        size: tuple[int, int],
        options: SampleSpec,
        seed: int,
        by: GeneratedBy,
    ) -> None:
        self._model, self._prompts = model, list(prompts)
        self._by = replace(by, prompt="; ".join(self._prompts), seed=seed)
        stride = model.backbone.ports.image_stride
        pixels = (size[0] * stride, size[1] * stride)
        self._options = options.merged(steps=min(options.steps, STEPS_AT_MOST), size=pixels)
        self._size, self._seeds = size, [seed + i for i in range(len(prompts))]
        self._cameras = cameras[None].expand(len(prompts), cameras.shape[0])
        # A backbone that is tuned itself is as it was only now.
        tuned = any(p.requires_grad for p in cast(nn.Module, model.backbone).parameters())
        self._frozen = self._decode(self._sample(0.0)) if tuned else None

    @torch.no_grad()
    def __call__(self, path: Path, step: int) -> Path:
        """Sample and write the picture.

        The frozen prior's views do not change between previews and are sampled once.
        """
        training = self._model.training
        self._model.eval()
        if self._frozen is None:
            self._frozen = self._decode(self._sample(0.0))
        latents = self._sample(self._options.consistency)
        label = f"tuned, step {step}, K = {format_consistency(self._options.consistency)}"
        rows = {"frozen prior": self._frozen, label: self._decode(latents)}
        if self._model.field is not None:
            rows["surface"] = self._surface(latents, (self._frozen.shape[-2], self._frozen.shape[-1]))
        self._model.train(training)
        by = replace(self._by, model=f"{self._by.model}/step-{step:06d}")
        write_rows(path, self._prompts, rows, by)
        return path

    def _sample(self, consistency: Consistency) -> Tensor:
        """Sample clean latents ``b n c h w``."""
        text, empty = self._texts()
        options = self._options.merged(consistency=consistency)
        return sample(self._model, text, self._cameras, self._seeds, options, negative=empty)

    def _decode(self, latents: Tensor) -> Tensor:
        """Decode to images ``b n 3 H W`` in [0, 1] on the CPU."""
        return decode_pictures(self._model.backbone, latents).cpu()

    def _surface(self, latents: Tensor, size: tuple[int, int]) -> Tensor:
        """Draw the bare surface that the field makes of the views, ``b n 3 H W`` in [0, 1].

        Args:
            latents: ``b n c h w``, clean.
            size: (H, W) of the pictures.
        """
        scene = fuse_clean(self._model, latents, self._texts()[0], self._cameras)
        return surface_pictures(scene, self._cameras, size, scene.render(self._cameras, self._size)).cpu()

    def _texts(self) -> tuple[Text, Text]:
        encode = self._model.backbone.encode_text
        return encode(self._prompts), encode([""] * len(self._prompts))


def write_rows(path: Path, prompts: list[str], rows: Mapping[str, Tensor], by: GeneratedBy) -> None:
    """Write a PNG: per prompt a line of text, and for each label a row of pictures (``b n 3 H W`` in [0, 1]).

    Raises:
        CheckpointError: the disk is full or not writable; no half-written picture stays.
    """
    _, n, _, height, width = next(iter(rows.values())).shape
    block = len(rows) * (height + LINE) + LINE
    sheet = Image.new("RGB", (n * width, len(prompts) * block), "white")
    draw = ImageDraw.Draw(sheet)
    for i, prompt in enumerate(prompts):
        top = i * block
        draw.text((2, top + 2), prompt, fill="black")
        for row, (label, pictures) in enumerate(rows.items()):
            y = top + LINE + row * (height + LINE)
            draw.text((2, y + 2), label, fill="gray")
            for column, picture in enumerate(pictures[i]):
                sheet.paste(to_pil(picture), (column * width, y + LINE))
    write_picture(path, sheet, by)


def write_picture(path: Path, picture: Image.Image, by: GeneratedBy) -> None:
    """Write a PNG that says what made it.

    Raises:
        CheckpointError: the disk is full or not writable; no half-written picture stays.
    """
    try:
        make_folders(path.parent, durable=True)
        with atomic_file(path, durable=True) as beside:
            save_picture(picture, beside, by.xmp)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error}") from error
