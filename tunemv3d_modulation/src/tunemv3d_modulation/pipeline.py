"""``TuneMV3DPipeline``: text in; matching views, depth, normals and a scene out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from PIL import Image
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.devices import find_device
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import ComponentError, TuneMV3DError
from tunemv3d_core.generation import ELEVATION, view_scene
from tunemv3d_core.io.mismatch_policy import Policy
from tunemv3d_core.io.samples import cut_prompts
from tunemv3d_core.latents import decode_pictures
from tunemv3d_core.sampling import KnownViews, SamplingStep, Seed, fuse_clean, latent_size, sample
from tunemv3d_core.slots import Offloadable, Scene
from tunemv3d_core.viz.pictures import read_picture
from tunemv3d_modulation.offload import Denoiser, offload
from tunemv3d_modulation.output import TuneMV3DOutput, as_type, check_output
from tunemv3d_modulation.pretrained_io import load_folder, save_folder
from tunemv3d_modulation.validate_inputs import as_seeds, check_known, check_prompts, check_seeds

StepCallback = Callable[["TuneMV3DPipeline", int, float, dict[str, Any]], dict[str, Any] | None]
"""A callback of diffusers' kind: gets the pipeline, the step from 0, its timestep and named tensors; may return changed
latents."""


class TuneMV3DPipeline(DiffusionPipeline):  # type: ignore[misc]
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

    def __init__(self, model: MultiviewDiffusion, scheduler: Any, spec: RunSpec) -> None:
        super().__init__()
        self.register_modules(model=model.eval(), scheduler=scheduler, spec=spec)
        self.denoiser = Denoiser(model)
        self.data: dict[str, Any] | None = None
        self._all_hooks: list[Any] = []
        # Refuses a size that the model does not have.
        self.latent_size()

    @classmethod
    def from_model(cls, model: MultiviewDiffusion, spec: RunSpec) -> "TuneMV3DPipeline":
        """Make a pipeline with the scheduler that the spec names."""
        return cls(model, model.backbone.scheduler(spec.sample.scheduler), spec)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, dtype: torch.dtype = torch.float32, provenance: Policy | None = None
    ) -> "TuneMV3DPipeline":
        """Load a checkpoint onto the CPU; ``.to`` moves it.

        Args:
            name: of a packaged checkpoint, its folder, a run's folder, or a hub id.
            dtype: of all parts but the field, whose parameters stay float32.
            provenance: the policy if other versions or other code of its components are installed: "warn", "error" or
                "ignore"; default: what ``TUNEMV3D_PROVENANCE`` says, or "warn".

        Raises:
            CheckpointError: no checkpoint there, or it cannot be read with what is installed.
        """
        spec, model, scheduler, data = load_folder(name, dtype, provenance)
        pipe = cls(model, scheduler, spec)
        pipe.data = data
        return pipe

    def save_pretrained(self, save_directory: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write a checkpoint's folder: the tuned weights, the spec, the scheduler and the provenance.

        Args:
            save_directory: its place; replaced if it is there.
            dtype: of stored weights; default: as they are.

        Raises:
            CheckpointError: the disk is full or not writable, or the scheduler cannot be written.
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
        return self

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: torch.device | str = "cuda") -> None:
        """Keep on the accelerator only the part at work: text encoder, then denoiser, then autoencoder.

        Raises:
            ComponentError: a backbone that is not ``tunemv3d_core.slots.Offloadable``.
            TuneMV3DError: there is no such device.
        """
        backbone = self.model.backbone
        if not isinstance(backbone, Offloadable):
            raise ComponentError(
                f"backbone '{self.spec.model.backbone.type}' cannot be offloaded part by part: it lacks the method "
                f"offloadable() of tunemv3d_core.slots.Offloadable; move the whole model by pipe.to('{device}') instead"
            )
        place = find_device(str(device))
        self._offload_device = torch.device(place.type, gpu_id if gpu_id is not None else place.index)
        self.remove_all_hooks()
        self.to("cpu")
        self._all_hooks = offload(backbone, self.denoiser, self._offload_device)

    def remove_all_hooks(self) -> None:
        """Undo ``enable_model_cpu_offload``; everything is on the CPU then."""
        for hook in self._all_hooks:
            hook.offload()
            hook.remove()
        self._all_hooks = []

    @property
    def execution_device(self) -> torch.device:
        """Device where tensors should be: the accelerator even while the model is off it."""
        device: torch.device = self._offload_device if self._all_hooks else self.model.device
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
        negative_prompt: str | Sequence[str] | None = None,
        generator: Seed | Sequence[Seed] | None = 0,
        shared_noise: bool | None = None,
        known_views: Mapping[int, Image.Image | Tensor] | None = None,
        output_type: str = "pil",
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> TuneMV3DOutput:
        """Sample one object per prompt.

        Args:
            prompt: one or b of them.
            cameras: ``n``, the same for every object, or ``b n``; default: as many as in training around the object,
                20 degrees up.
            num_inference_steps: denoising steps, at least 1.
            guidance_scale: scale of classifier-free guidance; 1 is none and takes half the time.
            consistency: K, at least 0: 0 gives the plain 2D model, 1 the tuned one, more extrapolates. Several numbers
                are a schedule over the steps.
            negative_prompt: prompt that guidance moves away from: one for all objects or one each; None is empty.
            generator: a seed or a generator on the CPU: one for all objects or one each. An object's noise depends on
                its own alone, so one seed gives every object of a batch the same noise. None draws seeds from torch's
                own generator.
            shared_noise: start all views of an object from the same noise.
            known_views: pictures by the index of their camera: these views are given, the others are made to fit them
                (image to 3D). RGBA is put on white; tensors are ``3 H W`` in [0, 1]. They come out as they went in.
            output_type: type of the images: "pil", "np", "pt" or "latent".
            callback_on_step_end: called after every step.
            callback_on_step_end_tensor_inputs: the tensors that it gets, of ``CALLBACK_TENSORS``.

        Raises:
            TuneMV3DError: an empty prompt, an option out of its range, or a known view without a camera.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        negative_prompt = negative_prompt or ""
        negatives = [negative_prompt] * len(prompts) if isinstance(negative_prompt, str) else list(negative_prompt)
        seeds = as_seeds(generator, len(prompts))
        options = self.spec.sample.merged(
            steps=num_inference_steps, guidance=guidance_scale, consistency=consistency, shared_noise=shared_noise
        )
        check_prompts(prompts, negatives, options.guidance)
        check_seeds(seeds, len(prompts))
        check_output(output_type, callback_on_step_end_tensor_inputs)
        cameras = self._cameras(cameras, len(prompts))
        known = self._known(known_views or {}, cameras)
        encode = self.model.backbone.encode_text
        # Encoded now, so that no other part of the model is called for while the denoiser is at work.
        self.model.background_latent(self.latent_size(), self.execution_device)
        self.maybe_free_model_hooks()
        text, negative = encode(prompts), None if options.guidance == 1 else encode(negatives)
        with self.progress_bar(total=options.steps) as bar:

            def on_step(step: SamplingStep) -> Tensor | None:
                bar.update()
                if callback_on_step_end is None:
                    return None
                return self._call_back(step, callback_on_step_end, callback_on_step_end_tensor_inputs)

            latents = sample(
                self.denoiser,
                text,
                cameras,
                seeds,
                options,
                scheduler=self.scheduler,
                negative=negative,
                known=known,
                on_step=on_step,
            )
        output = self._finish(latents, prompts, cameras, known_views or {}, output_type)
        self.maybe_free_model_hooks()
        return output

    def maybe_free_model_hooks(self) -> None:
        """With ``enable_model_cpu_offload``, take all parts off the accelerator but the field, which scenes need."""
        for hook in self._all_hooks:
            hook.offload()
        if self._all_hooks and self.model.field is not None:
            self.model.field.to(self.execution_device)

    @torch.no_grad()
    def fuse_clean(self, latents: Tensor, prompts: Sequence[str], cameras: Cameras) -> Scene:
        """Fuse finished views ``b n c h w``, all or some of an object's cameras ``b n``, into a scene."""
        text = self.model.backbone.encode_text(list(prompts))
        return fuse_clean(self.denoiser, latents, text, cameras)

    def cut_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return a sentence for each prompt that the text encoder cuts; none where the backbone does not report it."""
        return cut_prompts(self.model.backbone, prompts)

    def _call_back(self, step: SamplingStep, callback: StepCallback, wanted: Sequence[str]) -> Tensor | None:
        """Call the callback, and return the latents that it returns, if any."""
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
        images = decode_pictures(self.model.backbone, latents)
        for index, picture in given.items():
            images[:, index] = self._picture(picture).to(images)
        if (renders := shape.pop("renders", None)) is not None:
            shape["renders"] = as_type(decode_pictures(self.model.backbone, renders), output_type)
        return TuneMV3DOutput(as_type(images, output_type), latents, cameras, **shape)

    def _picture(self, picture: Image.Image | Tensor) -> Tensor:
        """Read a picture as ``3 H W`` in [0, 1] at the model's size."""
        return read_picture(picture, self.image_size())

    def image_size(self) -> tuple[int, int]:
        """Return (H, W) of the views, pixels."""
        stride = self.model.backbone.ports.image_stride
        h, w = self.latent_size()
        return h * stride, w * stride

    def latent_size(self) -> tuple[int, int]:
        """Return (h, w) of the views' latents: the spec's size, or the one that the 2D model was made for."""
        return latent_size(self.model.backbone.ports, self.spec.sample.size)

    def _known(self, pictures: Mapping[int, Image.Image | Tensor], cameras: Cameras) -> KnownViews | None:
        """Encode the given pictures, the same for every object."""
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
        """Return the scene, its renders as latents, and its geometry in the images' size."""
        text = self.model.backbone.encode_text(list(prompts))
        return dict(vars(view_scene(self.model, latents, text, cameras, self.denoiser)))

    def _cameras(self, cameras: Cameras | None, objects: int) -> Cameras:
        if cameras is None:
            h, w = self.latent_size()
            cameras = Cameras.orbit(self.spec.views.inputs, elevation=ELEVATION, aspect=w / h)
        if len(cameras.shape) == 1:
            cameras = cameras[None].expand(objects, cameras.shape[0])
        if cameras.shape[0] != objects:
            raise TuneMV3DError(f"cameras of {cameras.shape[0]} objects for {objects} prompts: give 'n' or 'b n'")
        return cameras.check().to(self.execution_device)
