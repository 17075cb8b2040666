"""``TuneMV3DPipeline``: text in; matching views, depth, normals and a scene out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from PIL import Image
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.devices import find_device
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.mismatch_policy import Policy
from tunemv3d_core.io.samples import cut_prompts
from tunemv3d_core.sampling import KnownViews, SamplingStep, Seed, fuse_clean, latent_size, sample
from tunemv3d_core.slots import Scene
from tunemv3d_core.viz.geometry import render_shape
from tunemv3d_core.viz.pictures import read_picture
from tunemv3d_modulation.offload import Denoiser, offload
from tunemv3d_modulation.pretrained_io import load_folder, save_folder
from tunemv3d_modulation.validate_inputs import as_seeds, as_type, check_known, check_options, check_output

DEFAULT_ELEVATION = 20.0

StepCallback = Callable[["TuneMV3DPipeline", int, float, dict[str, Any]], dict[str, Any] | None]
"""diffusers' kind: gets the pipeline, the step from 0, its timestep and named tensors; may return changed latents."""


@dataclass
class TuneMV3DOutput(BaseOutput):  # type: ignore[misc]
    """What was sampled. Without a field (plain 2D fine-tuning) there are only images and latents.

    Attributes:
        images: per object and view a PIL picture; "np": ``b n H W 3``, "pt": ``b n 3 H W``, sRGB in [0, 1];
            "latent": None.
        latents: ``b n c h w``, clean.
        cameras: ``b n``.
        scene: what the field makes of the finished views: render it from any camera, or take its surface.
        renders: the scene at the same cameras and of the latents' size, decoded, in the images' type. None too where
            the field gives features.
        opacity: ``b n H W``, 0 to 1.
        depth: ``b n H W``, z in the camera, world units, 0 where nothing was hit. None too where the field renders only
            the views that it saw: it knows no geometry.
        normals: ``b n 3 H W``, outward, world space; None too where the field knows none.
    """

    images: Any
    latents: Tensor
    cameras: Cameras
    scene: Scene | None = None
    renders: Any = None
    opacity: Tensor | None = None
    depth: Tensor | None = None
    normals: Tensor | None = None


class TuneMV3DPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Samples a model; options that are not given come from the spec's ``sample`` block.

    Args:
        model: an assembled model.
        scheduler: the scheduler, one of diffusers'; swap it by ``pipe.scheduler = Other.from_config(...)``.
        spec: the spec that made the model.

    Attributes:
        data: what the checkpoint's provenance says of the training data, if there is a checkpoint.
    """

    def __init__(self, model: MultiviewDiffusion, scheduler: Any, spec: RunSpec) -> None:
        super().__init__()
        self.register_modules(model=model.eval(), scheduler=scheduler, spec=spec)
        self.denoiser = Denoiser(model)
        self.data: dict[str, Any] | None = None

    @classmethod
    def from_model(cls, model: MultiviewDiffusion, spec: RunSpec) -> "TuneMV3DPipeline":
        """A pipeline with the scheduler that the spec names."""
        return cls(model, model.backbone.scheduler(spec.sample.scheduler), spec)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, dtype: torch.dtype = torch.float32, provenance: Policy | None = None
    ) -> "TuneMV3DPipeline":
        """Load a checkpoint onto the CPU; ``.to`` moves it.

        Args:
            name: of a packaged checkpoint, its folder, a run's folder, or a hub id.
            dtype: of all parts but the field, whose parameters stay float32.
            provenance: what to do if other versions or other code of its components are installed: "warn", "error" or
                "ignore"; default: what ``TUNEMV3D_PROVENANCE`` says, or "warn".

        Raises:
            CheckpointError: no checkpoint there, or it cannot be read with what is installed.
        """
        spec, model, scheduler, data = load_folder(name, dtype, provenance)
        pipe = cls(model, scheduler, spec)
        pipe.data = data
        return pipe

    def save_pretrained(self, save_directory: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write a checkpoint's folder: what was tuned, the spec, the scheduler, where the data came from.

        Args:
            save_directory: its place; replaced if it is there.
            dtype: of stored weights; default: as they are.

        Raises:
            CheckpointError: the disk is full or not writable.
        """
        save_folder(Path(save_directory), self.model, self.spec, self.scheduler, self.data, dtype)

    def to(self, *args: Any, **kwargs: Any) -> "TuneMV3DPipeline":
        """Move to a device, cast to a dtype, or both; the field's parameters keep theirs."""
        dtype = next((value for value in (*args, kwargs.get("dtype")) if isinstance(value, torch.dtype)), None)
        rest = [value for value in args if not isinstance(value, torch.dtype)]
        kwargs.pop("dtype", None)
        if rest or kwargs:
            super().to(*rest, **kwargs)
        for slot, module in self.model.slots().items() if dtype is not None else ():
            if slot != "field":
                module.to(dtype)
        # As at loading: such a VAE overflows in half precision.
        vae = getattr(self.model.backbone, "vae", None)
        if dtype == torch.float16 and vae is not None and vae.config.force_upcast:
            vae.to(torch.float32)
        return self

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: torch.device | str = "cuda") -> None:
        """Keep on the accelerator only what is at work: text encoder, then what denoises, then the VAE.

        Raises:
            TuneMV3DError: there is no such device.
        """
        place = find_device(str(device))
        self._offload_device = torch.device(place.type, gpu_id if gpu_id is not None else place.index)
        self.remove_all_hooks()
        self.to("cpu")
        self._all_hooks: list[Any] = offload(self.model.backbone, self.denoiser, self._offload_device)

    def remove_all_hooks(self) -> None:
        """Undo ``enable_model_cpu_offload``; everything is on the CPU then."""
        for hook in getattr(self, "_all_hooks", ()):
            hook.offload()
            hook.remove()
        self._all_hooks = []

    @property
    def execution_device(self) -> torch.device:
        """Where tensors should be: the accelerator even while the model is off it."""
        device: torch.device = self._offload_device if getattr(self, "_all_hooks", ()) else self.model.device
        return device

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        cameras: Cameras | None = None,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        consistency: float | Sequence[float] | None = None,
        negative_prompt: str | Sequence[str] = "",
        generator: Seed | Sequence[Seed] | None = 0,
        shared_noise: bool | None = None,
        known_views: Mapping[int, Image.Image | Tensor] | None = None,
        output_type: str = "pil",
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> TuneMV3DOutput:
        """Sample one object a prompt.

        Args:
            prompt: one or b of them.
            cameras: ``n``, the same for every object, or ``b n``; default: as many as in training around the object,
                20 degrees up.
            num_inference_steps: denoising steps, at least 1.
            guidance_scale: of classifier-free guidance; 1 is none and takes half the time.
            consistency: K, at least 0: 0 gives the plain 2D model, 1 the tuned one, more extrapolates. Several numbers
                are a schedule over the steps.
            negative_prompt: what guidance moves away from: one for all objects or one each.
            generator: a seed or a generator on the CPU: one for all objects or one each. An object's noise depends on
                its own alone, so one seed gives every object of a batch the same noise. None draws seeds from torch's
                own generator.
            shared_noise: start all views of an object from the same noise.
            known_views: pictures by the index of their camera: these views are given, the others are made to fit them
                (image to 3D). RGBA is put on white; tensors are ``3 H W`` in [0, 1]. They come out as they went in.
            output_type: of the images: "pil", "np", "pt" or "latent".
            callback_on_step_end: called after every step.
            callback_on_step_end_tensor_inputs: what it gets, of ``CALLBACK_TENSORS``.

        Raises:
            TuneMV3DError: an empty prompt, an option out of its range, or a known view without a camera.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        options = self._options(num_inference_steps, guidance_scale, consistency, shared_noise)
        seeds = as_seeds(generator, len(prompts))
        negatives = [negative_prompt] * len(prompts) if isinstance(negative_prompt, str) else list(negative_prompt)
        check_options(prompts, options["steps"], options["guidance"], options["consistency"], seeds, negatives)
        check_output(output_type, callback_on_step_end_tensor_inputs)
        cameras = self._cameras(cameras, len(prompts))
        known = self._known(known_views or {}, cameras)
        encode = self.model.backbone.encode_text
        # Encoded now, so that no other part of the model is called for while the denoiser is at work.
        self.model.background_latent(self.latent_size(), self.execution_device)
        self.maybe_free_model_hooks()
        text, negative = encode(prompts), None if options["guidance"] == 1 else encode(negatives)
        with self.progress_bar(total=options["steps"]) as bar:

            def on_step(step: SamplingStep) -> Tensor | None:
                bar.update()
                if callback_on_step_end is None:
                    return None
                return self._tell(step, callback_on_step_end, callback_on_step_end_tensor_inputs)

            latents = sample(
                self.denoiser,
                text,
                cameras,
                seeds,
                size=self.latent_size(),
                scheduler=self.scheduler,
                negative=negative,
                known=known,
                on_step=on_step,
                **options,
            )
        output = self._finish(latents, prompts, cameras, known_views or {}, output_type)
        self.maybe_free_model_hooks()
        return output

    def maybe_free_model_hooks(self) -> None:
        """With ``enable_model_cpu_offload``, take all parts off the accelerator but the field, which scenes need."""
        for hook in getattr(self, "_all_hooks", ()):
            hook.offload()
        if getattr(self, "_all_hooks", ()) and self.model.field is not None:
            self.model.field.to(self.execution_device)

    @torch.no_grad()
    def fuse_clean(self, latents: Tensor, prompts: Sequence[str], cameras: Cameras) -> Scene:
        """The scene of finished views ``b n c h w``, of all or of some of an object's cameras ``b n``."""
        text = self.model.backbone.encode_text(list(prompts))
        return fuse_clean(self.denoiser, latents, text, cameras)

    def cut_prompts(self, prompts: Sequence[str]) -> list[str]:
        """A sentence for each prompt that is longer than the text encoder takes, with what it will not see."""
        return cut_prompts(self.model.backbone, prompts)

    def _options(self, steps: Any, guidance: Any, consistency: Any, shared_noise: Any) -> dict[str, Any]:
        """The given options, and the spec's where none is given."""
        own = self.spec.sample
        given = {"steps": steps, "guidance": guidance, "consistency": consistency, "shared_noise": shared_noise}
        return {name: getattr(own, name) if value is None else value for name, value in given.items()}

    def _tell(self, step: SamplingStep, callback: StepCallback, wanted: Sequence[str]) -> Tensor | None:
        """Call the callback; the latents that it returns, if any."""
        seen = step.prediction.rendering
        tensors = {
            "latents": step.latents,
            "x_t": step.x_t,
            "x0": step.prediction.x0,
            "opacity": None if seen is None else seen.opacity,
            "depth": None if seen is None else seen.depth,
        }
        changed = callback(self, step.index, step.t, {name: tensors[name] for name in wanted})
        return (changed or {}).get("latents")

    def _finish(
        self,
        latents: Tensor,
        prompts: list[str],
        cameras: Cameras,
        given: Mapping[int, Image.Image | Tensor],
        output_type: str,
    ) -> TuneMV3DOutput:
        """Decode, and take the shape."""
        shape = {} if self.model.field is None else self._shape(latents, prompts, cameras)
        if output_type == "latent":
            return TuneMV3DOutput(None, latents, cameras, **{**shape, "renders": None})
        images = self._decode(latents)
        for index, picture in given.items():
            images[:, index] = self._picture(picture).to(images)
        if (renders := shape.pop("renders", None)) is not None:
            shape["renders"] = as_type(self._decode(renders), output_type)
        return TuneMV3DOutput(as_type(images, output_type), latents, cameras, **shape)

    def _picture(self, picture: Image.Image | Tensor) -> Tensor:
        """``3 H W`` in [0, 1] at the model's size."""
        return read_picture(picture, self.image_size())

    def image_size(self) -> tuple[int, int]:
        """(H, W) of the views, pixels."""
        stride = self.model.backbone.ports.image_stride
        h, w = self.latent_size()
        return h * stride, w * stride

    def latent_size(self) -> tuple[int, int]:
        """(h, w) of the views' latents: what the spec says, or what the 2D model was made for."""
        return latent_size(self.model.backbone.ports, self.spec.sample.size)

    def _known(self, pictures: Mapping[int, Image.Image | Tensor], cameras: Cameras) -> KnownViews | None:
        """The given pictures as latents, the same for every object."""
        if not pictures:
            return None
        b, n = cameras.shape
        check_known(pictures, n)
        device = self.execution_device
        given = torch.stack([self._picture(picture) for picture in pictures.values()])
        encoded = self.model.backbone.encode_images(given[None].to(device, self.model.dtype) * 2 - 1).to(device)
        latents = encoded.new_zeros(b, n, *encoded.shape[2:])
        latents[:, list(pictures)] = encoded
        views = torch.zeros(b, n, dtype=torch.bool, device=device)
        views[:, list(pictures)] = True
        return KnownViews(latents, views)

    def _shape(self, latents: Tensor, prompts: Sequence[str], cameras: Cameras) -> dict[str, Any]:
        """The scene; its renders as latents; its geometry in the images' size."""
        scene = self.fuse_clean(latents, prompts, cameras)
        size = (latents.shape[-2], latents.shape[-1])
        field = self.model.field
        shown = field is not None and field.ports.gives == "latents"
        coarse = scene.render(cameras, size)
        seen = render_shape(scene, cameras, self.image_size(), coarse)
        return {
            "scene": scene,
            "renders": self.model.blend(coarse, size) if shown else None,
            "opacity": seen.opacity,
            "depth": seen.depth if field is not None and field.ports.novel_views else None,
            "normals": seen.normals,
        }

    def _decode(self, latents: Tensor) -> Tensor:
        """``b n 3 H W`` in [0, 1]."""
        images: Tensor = self.model.backbone.decode_latents(latents).float()
        return (images / 2 + 0.5).clamp(0, 1)

    def _cameras(self, cameras: Cameras | None, objects: int) -> Cameras:
        if cameras is None:
            cameras = Cameras.orbit(self.spec.views.inputs, elevation=DEFAULT_ELEVATION)
        if len(cameras.shape) == 1:
            cameras = cameras[None].expand(objects, cameras.shape[0])
        if cameras.shape[0] != objects:
            raise TuneMV3DError(f"cameras of {cameras.shape[0]} objects for {objects} prompts: give 'n' or 'b n'")
        return cameras.check().to(self.execution_device)
