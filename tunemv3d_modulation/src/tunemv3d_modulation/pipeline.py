"""``TuneMV3DPipeline``: text in; matching views, depth, normals and a scene out."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, StableDiffusionMixin
from PIL import Image
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.devices import find_device
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.generation import view_scene
from tunemv3d_core.io.base_model import Base, with_variant
from tunemv3d_core.io.mismatch_policy import Policy
from tunemv3d_core.io.samples import cut_prompts
from tunemv3d_core.latents import decode_pictures
from tunemv3d_core.sampling import KnownViews, SamplingStep, Seed, StepChange, fuse_clean, latent_size, sample
from tunemv3d_core.slots import Scene
from tunemv3d_core.viz.pictures import read_picture
from tunemv3d_modulation.call import Call, Inputs
from tunemv3d_modulation.callbacks import CALLBACK_TENSORS, StepCallback, StepReporter
from tunemv3d_modulation.components import ComponentsMixin
from tunemv3d_modulation.lora_mixin import LoraMixin
from tunemv3d_modulation.output import TuneMV3DOutput, as_type
from tunemv3d_modulation.pretrained.hub import HubAccess, hub_access
from tunemv3d_modulation.pretrained_io import DtypeChoice, find_folder, load_folder, one_dtype
from tunemv3d_modulation.publishing import PublishingMixin


class TuneMV3DPipeline(LoraMixin, PublishingMixin, ComponentsMixin, StableDiffusionMixin, DiffusionPipeline):  # type: ignore[misc]
    """Samples a model; options that are not given come from the spec's ``sample`` block.

    Args:
        model: an assembled model.
        scheduler: the scheduler, one of diffusers'; swap it by ``pipe.scheduler = Other.from_config(...)``.
        spec: the spec that made the model.

    Attributes:
        data: the training data as the checkpoint's provenance records it, if there is a checkpoint.

    Raises:
        TuneMV3DError: the spec's ``sample.size`` is no whole number of latent cells.
    """

    _callback_tensor_inputs: ClassVar = list(CALLBACK_TENSORS)

    def __init__(self, model: MultiviewDiffusion, scheduler: Any, spec: RunSpec) -> None:
        super().__init__()
        self.register_modules(model=model.eval(), scheduler=scheduler, spec=spec)
        self.data: dict[str, Any] | None = None
        self._guidance_scale, self._guidance_rescale = spec.sample.guidance, 0.0
        self._clip_skip: int | None = None
        self._num_timesteps, self._interrupt = spec.sample.steps, False
        # Refuses a size that the model does not have.
        self.latent_size()

    @classmethod
    def from_model(cls, model: MultiviewDiffusion, spec: RunSpec) -> "TuneMV3DPipeline":
        """Make a pipeline with the scheduler that the spec names."""
        return cls(model, model.backbone.scheduler(spec.sample.scheduler), spec)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        dtype: DtypeChoice | Mapping[str, torch.dtype] = torch.float32,
        provenance: Policy | None = None,
        *,
        torch_dtype: torch.dtype | Mapping[str, torch.dtype] | None = None,
        device_map: str | None = None,
        base: Base | None = None,
        options: Iterable[str] = (),
        variant: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> "TuneMV3DPipeline":
        """Load a checkpoint onto the CPU; ``.to`` moves it.

        Args:
            name: of a packaged checkpoint, its folder, a run's folder, or a hub id.
            dtype: of all parts but the field, whose parameters stay float32; or what tells it from the spec; or by
                component as in diffusers, of which "model" and "default" count.
            provenance: the policy if other versions or other code of its components are installed: "warn", "error" or
                "ignore"; default: what ``TUNEMV3D_PROVENANCE`` says, or "warn".
            torch_dtype: diffusers' older word for ``dtype``.
            device_map: a device to move to at once, such as "cuda".
            base: where the pretrained 2D model is now, or another of the same kind; default: what ``TUNEMV3D_BASE``
                says, or the one that the checkpoint names. Options of the backbone go as a mapping.
            options: of the model's components in place of the checkpoint's, such as "model.field.samples=48".
            variant: of the 2D model's files, such as "fp16".
            revision: of the checkpoint on the hub; the base's stands in its options.
            local_files_only: take what was downloaded before, and ask nobody.
            token: of the hub; default: the stored one.

        Raises:
            CheckpointError: no checkpoint there, or it cannot be read with what is installed.
            TuneMV3DError: a device map that is no device.
        """
        wanted = one_dtype(dtype if torch_dtype is None else torch_dtype)
        with hub_access(HubAccess(token, local_files_only)):
            folder = find_folder(name, revision)
            spec, model, scheduler, data = load_folder(folder, wanted, provenance, with_variant(base, variant), options)
        pipe = cls(model, scheduler, spec)
        pipe.data = data
        return pipe if device_map is None else pipe.to(find_device(device_map))

    @property
    def execution_device(self) -> torch.device:
        """Device where tensors should be: the accelerator even while the model is off it."""
        device: torch.device = self.model.device
        return device

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        cameras: Cameras | None = None,
        *,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        timesteps: Sequence[int] | None = None,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float | None = None,
        guidance_rescale: float = 0.0,
        consistency: float | Sequence[float] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        eta: float = 0.0,
        generator: Seed | Sequence[Seed] | None = 0,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        negative_pooled_prompt_embeds: Tensor | None = None,
        clip_skip: int | None = None,
        shared_noise: bool | None = None,
        known_views: Mapping[int, Image.Image | Tensor] | None = None,
        cross_attention_kwargs: Any = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Any = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> Any:
        """Sample objects from prompts; ``tunemv3d_modulation.call.Call`` describes each argument.

        Returns:
            A ``TuneMV3DOutput``; without ``return_dict`` a tuple of what is not None in it.

        Raises:
            TuneMV3DError: an empty prompt, an option out of its range, or a known view without a camera.
        """
        call = Call(**{name: value for name, value in locals().items() if name != "self"})
        inputs = call.resolve(self)
        self._guidance_scale, self._guidance_rescale = inputs.options.guidance, guidance_rescale
        self._clip_skip, self._interrupt = clip_skip, False
        known = self._known(known_views or {}, inputs)
        self.maybe_free_model_hooks()
        latents = self._denoise(call, inputs, known)
        output = self._finish(latents, inputs, known_views or {}, output_type)
        self.maybe_free_model_hooks()
        return output if return_dict else output.to_tuple()

    def _denoise(self, call: Call, inputs: Inputs, known: KnownViews | None) -> Tensor:
        """Run the steps under a progress bar; return the clean latents ``b n c h w``."""
        report = StepReporter(self, call.callback_on_step_end, call.callback_tensors)
        with self.progress_bar(total=inputs.options.steps) as bar:

            def on_step(step: SamplingStep) -> StepChange:
                bar.update()
                return report(step)

            return sample(
                self.model,
                inputs.text,
                inputs.cameras,
                inputs.seeds,
                inputs.options,
                scheduler=self.scheduler,
                negative=inputs.negative,
                known=known,
                on_step=on_step,
                course=inputs.course,
            )

    @property
    def guidance_scale(self) -> float:
        """Scale of guidance of the last call, or of the one at work, as callbacks changed it."""
        return self._guidance_scale

    @property
    def guidance_rescale(self) -> float:
        """Rescale of guidance of the last call, or of the one at work."""
        return self._guidance_rescale

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Tell whether there is guidance."""
        return self._guidance_scale > 1

    @property
    def clip_skip(self) -> int | None:
        """Layers of the text encoder that the last call left out, or the one at work."""
        return self._clip_skip

    @property
    def num_timesteps(self) -> int:
        """Steps of the last call, or of the one at work."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Tell whether the steps should end; a callback or another thread sets ``pipe._interrupt = True``."""
        return self._interrupt

    @torch.no_grad()
    def fuse_clean(self, latents: Tensor, prompts: Sequence[str], cameras: Cameras) -> Scene:
        """Fuse finished views ``b n c h w``, all or some of an object's cameras ``b n``, into a scene."""
        text = self.model.backbone.encode_text(list(prompts))
        return fuse_clean(self.model, latents, text, cameras)

    def cut_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return a sentence for each prompt that the text encoder cuts; none where the backbone does not report it."""
        return cut_prompts(self.model.backbone, prompts)

    def _finish(
        self, latents: Tensor, inputs: Inputs, given: Mapping[int, Image.Image | Tensor], output_type: str
    ) -> TuneMV3DOutput:
        """Take the shape, and decode."""
        shape: dict[str, Any] = {}
        if self.model.field is not None:
            shape = dict(vars(view_scene(self.model, latents, inputs.text, inputs.cameras)))
        if output_type == "latent":
            return TuneMV3DOutput(latents, latents, inputs.cameras, **shape)
        images = decode_pictures(self.model.backbone, latents)
        for index, picture in given.items():
            images[:, index] = self._picture(picture, inputs.size).to(images)
        if (renders := shape.pop("renders", None)) is not None:
            shape["renders"] = as_type(decode_pictures(self.model.backbone, renders), output_type)
        return TuneMV3DOutput(as_type(images, output_type), latents, inputs.cameras, **shape)

    def _picture(self, picture: Image.Image | Tensor, size: tuple[int, int]) -> Tensor:
        """Read a picture as ``3 H W`` in [0, 1], of latents' size (h, w)."""
        stride = self.model.backbone.ports.image_stride
        return read_picture(picture, (size[0] * stride, size[1] * stride))

    def image_size(self) -> tuple[int, int]:
        """Return (H, W) of the views, pixels."""
        stride = self.model.backbone.ports.image_stride
        h, w = self.latent_size()
        return h * stride, w * stride

    def latent_size(self) -> tuple[int, int]:
        """Return (h, w) of the views' latents: the spec's size, or the one that the 2D model was made for."""
        return latent_size(self.model.backbone.ports, self.spec.sample.size)

    def _known(self, pictures: Mapping[int, Image.Image | Tensor], inputs: Inputs) -> KnownViews | None:
        """Encode the given pictures, the same for every object."""
        if not pictures:
            return None
        device, (b, n) = self.execution_device, inputs.cameras.shape
        given = torch.stack([self._picture(picture, inputs.size) for picture in pictures.values()])
        encoded = self.model.backbone.encode_images(given[None].to(device, self.model.dtype) * 2 - 1).to(device)
        latents = encoded.new_zeros(b, n, *encoded.shape[2:])
        latents[:, list(pictures)] = encoded
        views = torch.zeros(b, n, dtype=torch.bool, device=device)
        views[:, list(pictures)] = True
        return KnownViews(latents, views)
