"""The arguments of the pipeline's call, checked and resolved before anything is sampled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import SampleSpec
from tunemv3d_core.errors import ComponentError, TuneMV3DError
from tunemv3d_core.generation import ELEVATION
from tunemv3d_core.sampling import Course, Seed, latent_size
from tunemv3d_core.types import Text
from tunemv3d_modulation.callbacks import CALLBACK_TENSORS, Sampler, StepCallback
from tunemv3d_modulation.output import OUTPUT_TYPES
from tunemv3d_modulation.validate_inputs import as_seeds, check_embeds, check_known, check_prompts, check_seeds

NOT_TAKEN = {
    "ip_adapter_image": "give pictures of the object as known_views",
    "ip_adapter_image_embeds": "give pictures of the object as known_views",
    "cross_attention_kwargs": "set the weight of a LoRA by set_adapters",
}
"""Arguments of other pipelines that are refused by name, and what to do instead."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """Arguments of ``TuneMV3DPipeline.__call__``; options that are not given come from the spec's ``sample`` block.

    Attributes:
        prompt: one or b of them.
        cameras: ``n``, the same for every object, or ``b n``; default: as many as in training around the object,
            20 degrees up.
        height: of a view, pixels, a multiple of the latent cell; default: the spec's size.
        width: likewise.
        num_inference_steps: denoising steps, at least 1.
        timesteps: of the steps, in place of their number, for a scheduler that takes them.
        sigmas: noise levels of the steps, likewise.
        guidance_scale: scale of classifier-free guidance; at most 1 is none and takes half the time.
        guidance_rescale: how much of the guided prediction's spread is made that of the prompt's own, 0 to 1.
        consistency: K, at least 0: 0 gives the plain 2D model, 1 the tuned one, more extrapolates. Several numbers are
            a schedule over the steps.
        negative_prompt: prompt that guidance moves away from: one for all objects or one each; None is empty.
        num_images_per_prompt: samples m of every prompt; they stand next to each other.
        eta: of DDIM: 0 is deterministic, 1 draws as much noise as DDPM.
        generator: a seed or a generator on the CPU: one for all prompts, one each, or one for each sample. An object's
            noise depends on its own alone, so one seed gives every object of a batch the same noise. Further samples
            of a prompt take the seeds that follow; a generator goes on. None draws seeds from torch's own generator.
        latents: ``b n c h w``, unit noise to start from.
        prompt_embeds: tokens ``b l d`` in place of prompts, as ``pipe.model.backbone.encode_text`` gives them.
        negative_prompt_embeds: tokens ``b l d`` in place of the negative prompts.
        pooled_prompt_embeds: pooled text ``b d'``, which belongs to the tokens of XL.
        negative_pooled_prompt_embeds: likewise.
        clip_skip: layers of the text encoder to leave out at its end.
        shared_noise: start all views of an object from the same noise.
        known_views: pictures by the index of their camera: these views are given, the others are made to fit them
            (image to 3D). RGBA is put on white; tensors are ``3 H W`` in [0, 1]. They come out as they went in.
        output_type: type of the images: "pil", "np", "pt" or "latent".
        return_dict: give a ``TuneMV3DOutput``, not a tuple of what is not None in it.
        callback_on_step_end: called after every step; diffusers' official callbacks are taken too.
        callback_on_step_end_tensor_inputs: the tensors that it gets, of ``CALLBACK_TENSORS``.
    """

    prompt: str | Sequence[str] | None
    cameras: Cameras | None
    height: int | None
    width: int | None
    num_inference_steps: int | None
    timesteps: Sequence[int] | None
    sigmas: Sequence[float] | None
    guidance_scale: float | None
    guidance_rescale: float
    consistency: float | Sequence[float] | None
    negative_prompt: str | Sequence[str] | None
    num_images_per_prompt: int
    eta: float
    generator: Seed | Sequence[Seed] | None
    latents: Tensor | None
    prompt_embeds: Tensor | None
    negative_prompt_embeds: Tensor | None
    pooled_prompt_embeds: Tensor | None
    negative_pooled_prompt_embeds: Tensor | None
    clip_skip: int | None
    shared_noise: bool | None
    known_views: Mapping[int, Image.Image | Tensor] | None
    cross_attention_kwargs: Any
    ip_adapter_image: Any
    ip_adapter_image_embeds: Any
    output_type: str
    return_dict: bool
    callback_on_step_end: StepCallback | None
    callback_on_step_end_tensor_inputs: Sequence[str]

    @property
    def callback_tensors(self) -> Sequence[str]:
        """The tensors that the callback gets: an official one says which."""
        own: Sequence[str] | None = getattr(self.callback_on_step_end, "tensor_inputs", None)
        return self.callback_on_step_end_tensor_inputs if own is None else own

    def resolve(self, pipe: Sampler) -> "Inputs":
        """Check everything that can be wrong, then encode the text.

        Raises:
            TuneMV3DError: says which argument, and what to do.
        """
        self._check_taken()
        options, ports = self._options(pipe), pipe.model.backbone.ports
        h, w = latent_size(ports, options.size)
        prompts, negatives = self._prompts(options)
        objects = self._embedded if prompts is None else len(prompts)
        each = self.num_images_per_prompt
        seeds = as_seeds(self.generator, objects, each)
        check_seeds(seeds, objects * each)
        cameras = self._cameras(pipe, objects * each, w / h)
        check_known(self.known_views or {}, cameras.shape[1])
        self._check_latents((*cameras.shape, ports.latent_channels, h, w))
        text, negative = self._texts(pipe, prompts, negatives, objects, options.guided)
        course = Course(
            self.latents, None, self.timesteps, self.sigmas, eta=self.eta, guidance_rescale=self.guidance_rescale
        )
        negative = None if negative is None else negative.per_view(each)
        return Inputs(text.per_view(each), negative, cameras, seeds, options, course, (h, w))

    @property
    def _embedded(self) -> int:
        return 0 if self.prompt_embeds is None else len(self.prompt_embeds)

    def _check_taken(self) -> None:
        for name, instead in NOT_TAKEN.items():
            if getattr(self, name) is not None:
                raise TuneMV3DError(f"this pipeline takes no {name}: {instead}")
        if self.output_type not in OUTPUT_TYPES:
            raise TuneMV3DError(f"output_type should be one of {', '.join(OUTPUT_TYPES)}, not {self.output_type!r}")
        if strays := [name for name in self.callback_tensors if name not in CALLBACK_TENSORS]:
            raise TuneMV3DError(f"a callback can get {', '.join(CALLBACK_TENSORS)}, not {strays[0]!r}")
        if self.num_images_per_prompt < 1:
            raise TuneMV3DError(f"num_images_per_prompt should be at least 1, not {self.num_images_per_prompt}")
        for name, value in {"guidance_rescale": self.guidance_rescale, "eta": self.eta}.items():
            if not 0 <= value <= 1:
                raise TuneMV3DError(f"{name} should be from 0 to 1, not {value}")

    def _options(self, pipe: Sampler) -> SampleSpec:
        """Merge what is given with the spec's own."""
        listed = [name for name in ("num_inference_steps", "timesteps", "sigmas") if getattr(self, name) is not None]
        if len(listed) > 1:
            raise TuneMV3DError(f"{' and '.join(listed)} each say the steps: give one of them")
        steps = self.sigmas if self.timesteps is None else self.timesteps
        height, width = pipe.image_size()
        size = (self.height or height, self.width or width) if self.height or self.width else None
        return pipe.spec.sample.merged(
            steps=self.num_inference_steps if steps is None else len(steps),
            guidance=self.guidance_scale,
            consistency=self.consistency,
            shared_noise=self.shared_noise,
            size=size,
        )

    def _prompts(self, options: SampleSpec) -> tuple[list[str] | None, list[str]]:
        """Return the prompts, None where they come as tokens, and the negative ones."""
        if (self.prompt is None) == (self.prompt_embeds is None):
            raise TuneMV3DError("prompt and prompt_embeds: give one of them, and not both")
        if self.prompt is not None and self.pooled_prompt_embeds is not None:
            raise TuneMV3DError("pooled_prompt_embeds belong to prompt_embeds: give both, or the prompt alone")
        if self.negative_prompt and self.negative_prompt_embeds is not None:
            raise TuneMV3DError("negative_prompt and negative_prompt_embeds: give one of them")
        prompts = None if self.prompt is None else [self.prompt] if isinstance(self.prompt, str) else list(self.prompt)
        given, count = self.negative_prompt or "", self._embedded if prompts is None else len(prompts)
        negatives = [given] * count if isinstance(given, str) else list(given)
        check_prompts(["embedded"] * count if prompts is None else prompts, negatives, options.guidance)
        return prompts, negatives

    def _texts(
        self, pipe: Sampler, prompts: list[str] | None, negatives: list[str], objects: int, guided: bool
    ) -> tuple[Text, Text | None]:
        """Return the text of the prompts and, with guidance, of the negative ones."""

        def embedded(name: str, tokens: Tensor, pooled: Tensor | None) -> Text:
            check_embeds(name, tokens, pooled, objects, pipe.model.backbone.ports)
            place = pipe.execution_device, pipe.model.dtype
            return Text(tokens.to(*place), None if pooled is None else pooled.to(*place))

        if prompts is None:
            assert self.prompt_embeds is not None
            text = embedded("prompt_embeds", self.prompt_embeds, self.pooled_prompt_embeds)
        else:
            text = self._encode(pipe, prompts)
        if not guided and self.negative_prompt_embeds is not None:
            raise TuneMV3DError(
                "negative_prompt_embeds need guidance: give a guidance_scale above 1, or leave them out"
            )
        if not guided:
            return text, None
        if self.negative_prompt_embeds is None:
            return text, self._encode(pipe, negatives)
        tokens, pooled = self.negative_prompt_embeds, self.negative_pooled_prompt_embeds
        return text, embedded("negative_prompt_embeds", tokens, pooled)

    def _encode(self, pipe: Sampler, prompts: list[str]) -> Text:
        backbone: Any = pipe.model.backbone
        if self.clip_skip is None:
            text: Text = backbone.encode_text(prompts)
            return text
        if not hasattr(backbone, "encode_text_skipping"):
            raise ComponentError(
                f"backbone '{pipe.spec.model.backbone.type}' has no text encoder of which layers can be left out: "
                "leave clip_skip out"
            )
        skipped: Text = backbone.encode_text_skipping(prompts, self.clip_skip)
        return skipped

    def _cameras(self, pipe: Sampler, objects: int, aspect: float) -> Cameras:
        cameras = self.cameras
        if cameras is None:
            cameras = Cameras.orbit(pipe.spec.views.inputs, elevation=ELEVATION, aspect=aspect)
        if len(cameras.shape) == 1:
            cameras = cameras[None].expand(objects, cameras.shape[0])
        if cameras.shape[0] != objects:
            raise TuneMV3DError(f"cameras of {cameras.shape[0]} objects for {objects} prompts: give 'n' or 'b n'")
        return cameras.check().to(pipe.execution_device)

    def _check_latents(self, wanted: tuple[int, ...]) -> None:
        if self.latents is not None and tuple(self.latents.shape) != wanted:
            raise TuneMV3DError(
                f"latents should be unit noise 'b n c h w' of shape {wanted}, not {tuple(self.latents.shape)}"
            )


@dataclass(frozen=True)
class Inputs:
    """What a call samples from.

    Attributes:
        text: b prompts, each sample of a prompt by itself.
        negative: b prompts to move away from; None without guidance.
        cameras: ``b n``.
        seeds: b of them.
        options: of the sampling.
        course: start and steps.
        size: (h, w) of the latents.
    """

    text: Text
    negative: Text | None
    cameras: Cameras
    seeds: list[Seed]
    options: SampleSpec
    course: Course
    size: tuple[int, int]
