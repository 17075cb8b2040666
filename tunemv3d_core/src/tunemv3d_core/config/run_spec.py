"""The typed spec of a run: every option of the system in one frozen tree that is saved with its results.

A component's block is validated by the options of the component that its ``type`` names, found in the registry.
"""

import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from tunemv3d_core.config.component_fields import (
    AlgorithmSpec,
    BackboneSpec,
    DatasetSpec,
    FieldSpec,
    InjectorSpec,
    LifterSpec,
    LossTerms,
    ScheduleSpec,
    ViewEncoderSpec,
)
from tunemv3d_core.config.errors import describe_errors, spec_error
from tunemv3d_core.consistency import Consistency, check_consistency
from tunemv3d_core.errors import SpecError, TuneMV3DError, suggestion
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.io.file_names import is_run_name
from tunemv3d_core.plugins.descriptor import MODEL_SLOTS

Count = Annotated[int, Field(ge=1)]
WholeNumber = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class Block(BaseModel):
    """Base of the blocks below: frozen, closed, every field described by the string below it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class ModelSpec(Block):
    """The model's components. The backbone alone is plain 2D fine-tuning; the other four belong together."""

    backbone: BackboneSpec
    """The frozen 2D latent diffusion model."""
    view_encoder: ViewEncoderSpec | None = None
    """E: features of each noisy view (paper B.1)."""
    field: FieldSpec | None = None
    """The interaction field that merges all views into one scene (paper B.1)."""
    lifter: LifterSpec | None = None
    """O: from the rendered clean object to the backbone's feature maps (paper B.1)."""
    injector: InjectorSpec | None = None
    """Residuals for the frozen decoder from lifted maps, zero at the start (paper B.2, Eq. 2)."""

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        missing = [slot for slot in MODEL_SLOTS[1:] if getattr(self, slot) is None]
        if 0 < len(missing) < len(MODEL_SLOTS) - 1:
            raise spec_error(
                "view_encoder, field, lifter and injector belong together: "
                f"give all four, or none for the plain 2D model. Missing: {', '.join(missing)}"
            )
        return self


class ViewsSpec(Block):
    """Views of one object in a training step."""

    inputs: Count = 8
    """n: views that are denoised together (paper B.1)."""
    novel: WholeNumber = 8
    """n': further views that the field renders and L_neus compares (paper B.1)."""
    novel_pixels: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each novel view's pixels that the loss looks at, drawn at random in every step."""
    clean_probability: Share = 0.1
    """Probability that an object gets some of its views clean (t = 0), for image-to-3D."""


OWN_FIGURES = (
    *("loss", "denoise", "denoise_frozen", "neus", "neus_inputs", "neus_novel", "mask", "opacity_iou"),
    *("step", "seconds", "lr", "steps_per_s"),
)
"""Names that the trainer's log uses itself, so that no other loss may have them."""


def loss_name_error(name: str) -> str | None:
    """Return why a loss of a scene or of a third party cannot have a name, if so. Follows the name in a sentence."""
    if name in OWN_FIGURES:
        return "is a figure of the trainer's own; the loss needs another name"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        return "cannot name a loss; use letters, digits, '_' and '-', a letter first"
    return None


class LossSpec(Block):
    """Weights of the loss terms (paper Eq. 3)."""

    denoise: Weight = 1.0
    """lambda_1: the denoising loss of the modulated model."""
    neus: Weight = 1.0
    """lambda_2: L1 between rendered and true clean latents."""
    mask: Weight = 0.0
    """Binary cross-entropy between rendered opacity and the pictures' alpha; 0 is the letter of Eq. 3."""
    scene: dict[str, Weight] = {}
    """Weight of each loss that the field's scene gives, by its name: of a signed distance ``eikonal``, whose gradient
    should have length 1 (NeuS), and ``sparsity``, few surfaces (SparseNeuS). Each must be named; 0 adds nothing.
    """
    terms: LossTerms = {}
    """Further losses: components of the slot ``loss``, each under the name that it is reported by."""
    target: Literal["backbone", "x_prev"] = "backbone"
    """What the denoising loss compares: the backbone's own prediction type, or x_{t-1} by the letter of B.3."""
    weighting: Literal["uniform", "v", "min-snr"] = "uniform"
    """Weight of the denoising loss over noise levels; "v" is that of v-prediction, clipped at 50."""

    @field_validator("scene", "terms")
    @classmethod
    def _can_be_reported(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            if error := loss_name_error(name):
                raise spec_error(f"'{name}' {error}")
        return named

    @model_validator(mode="after")
    def _named_apart(self) -> Self:
        both = sorted(self.scene.keys() & self.terms.keys())
        if both:
            raise spec_error(
                f"'{both[0]}' names a loss of the scene and one of 'terms'; call the one in 'terms' otherwise"
            )
        return self


class PartSpec(Block):
    """How one part of the model learns; what is left out is as in the part around it, or else as in ``optimizer``."""

    lr_scale: Weight | None = None
    """Factor on lr."""
    weight_decay: Weight | None = None
    """Weight decay of the part."""
    warmup: WholeNumber | None = None
    """Steps over which the part's lr rises linearly from zero."""
    schedule: ScheduleSpec | None = None
    """Course of the part's lr, a component of the slot ``schedule``."""
    algorithm: AlgorithmSpec | None = None
    """Another algorithm for the part, a component of the slot ``optimizer``."""

    @model_serializer(mode="wrap")
    def _what_is_given(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in whole(self).items() if value is not None}


class OptimizerSpec(Block):
    """The optimizer, by default AdamW (paper B.3), and what parts of the model do otherwise."""

    algorithm: AlgorithmSpec = Field(default={"type": "adamw"}, validate_default=True)
    """The algorithm and its own options, a component of the slot ``optimizer``."""
    lr: Positive = 5e-5
    """Learning rate (paper B.3)."""
    weight_decay: Weight = 1e-3
    """Weight decay of matrices (paper B.3); AdamW's is decoupled."""
    warmup: WholeNumber = 0
    """Steps over which lr rises linearly from zero, whatever the schedule."""
    schedule: ScheduleSpec = Field(default={"type": "constant"}, validate_default=True)
    """Course of lr over the run, a component of the slot ``schedule``."""
    parts: dict[str, PartSpec] = {}
    """What is otherwise in a part of the model: a slot ("field"), or a dotted start of parameters' names
    ("lifter.stem"). Each option is that of the longest name that gives it."""
    clip: Weight = 1.0
    """Largest norm of the whole gradient; 0 clips nothing."""

    @field_validator("parts")
    @classmethod
    def _slots_only(cls, parts: dict[str, PartSpec]) -> dict[str, PartSpec]:
        for key in parts:
            slot = key.partition(".")[0]
            if slot not in MODEL_SLOTS:
                slots = ", ".join(MODEL_SLOTS)
                raise spec_error(f"'{slot}' is no slot of the model.{suggestion(slot, MODEL_SLOTS)} Slots: {slots}")
        return parts


class TrainSpec(Block):
    """Length, batch size and precision of training, and its checkpoints, logs and previews."""

    steps: Count
    """Optimizer steps."""
    start_from: str | None = None
    """Checkpoint whose weights the run starts from: a packaged one, a folder, or a run; None starts afresh."""
    batch: Count = 4
    """Objects in one forward pass of one process (paper B.3: 4)."""
    accumulate: Count = 1
    """Forward passes whose gradients make one step."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the networks; geometry and compositing stay float32."""
    ema: Decay = 0.0
    """Decay per step of the averaged weights that the checkpoint publishes; 0 is off."""
    checkpoint_every: Count = 500
    """Steps between checkpoints; the last step always writes one."""
    keep: Count = 2
    """Checkpoints that are kept, newest first."""
    keep_best: str = ""
    """Figure of the measurement by which the best checkpoint is kept beside the newest, such as ``neus_novel``: the
    best of those steps at which both are due. Lower is better, but for ``opacity_iou``. Empty: the newest alone."""
    log_every: Count = 10
    """Steps between lines of the log."""
    evaluate_every: WholeNumber = 0
    """Steps between measurements, on held-out objects if there are some; 0: only before and after."""
    preview_every: WholeNumber = 0
    """Steps between previews; 0: only at the end."""
    preview_prompts: list[str] = []
    """Prompts of the previews; by default captions of the dataset, held-out objects' first."""
    non_finite: Literal["stop", "skip", "roll_back"] = "stop"
    """After a step whose gradient is not finite, which reaches no weight in any case: stop with a checkpoint, go on, or
    go back to the last checkpoint and on with other draws (three times at most)."""
    on_oom: Literal["stop", "retry"] = "stop"
    """Out of memory in a pass: stop with a checkpoint, or do the step again with smaller chunks of rays in the field,
    while it has smaller ones. That changes no draw. Of one process, and without ``cuda_graph``."""
    text_dropout: Share = 0.1
    """Probability that an object's prompt is left empty, so that guidance works."""
    cuda_graph: bool = False
    """Capture the whole step as a CUDA graph: faster for small models, fixed shapes."""
    parallel: Literal["ddp", "fsdp2"] = "ddp"
    """What several processes share: "ddp" their gradients, "fsdp2" also trained weights and moments, of which each
    process holds a shard."""
    compile: Literal["off", "regions", "max"] = "off"
    """Compile training steps by ``torch.compile``: "regions" the blocks that repeat in the 2D model, O and E, "max"
    these parts whole and the field's network. "off" and the others differ in rounding, and in the time to begin."""

    @model_validator(mode="after")
    def _measures_what_it_keeps(self) -> Self:
        if self.keep_best and not self.evaluate_every:
            raise spec_error(f"keep_best: '{self.keep_best}' is not measured between; set evaluate_every")
        return self


class SampleSpec(Block):
    """Options of sampling. A checkpoint's own are the defaults of whoever samples it."""

    steps: Count = 25
    """Denoising steps."""
    guidance: Weight = 3.0
    """Scale of classifier-free guidance; at most 1 is none."""
    consistency: Consistency = 1.0
    """K: 0 is the 2D model alone, 1 the tuned one, more extrapolates; a list is a schedule over the steps."""
    shared_noise: bool = False
    """Start all views of an object from the same noise."""
    size: tuple[Count, Count] | None = None
    """Pixels (height, width) of a view; None takes what the 2D model was made for. Training asks for the pictures'."""
    scheduler: str = ""
    """Scheduler, by a name that the backbone knows, such as "ddim"; empty takes the model's own."""

    @field_validator("consistency", mode="before")
    @classmethod
    def _is_consistency(cls, given: Any) -> Any:
        try:
            check_consistency(given)
        except (TuneMV3DError, TypeError, ValueError):
            shown = json.dumps(given, default=str)
            raise spec_error(
                f"K should be a number of at least 0, or a list of them over the steps, got {shown}"
            ) from None
        return given

    @property
    def guided(self) -> bool:
        """Tell whether there is guidance, which needs the text of the negative prompts."""
        return self.guidance > 1

    def merged(self, **given: Any) -> Self:
        """Return these options with the given ones in their place, validated; None stands for one not given.

        Raises:
            SpecError: an unknown option, or one out of its range; the message names it.
        """
        options = {**dict(self), **{name: value for name, value in given.items() if value is not None}}
        try:
            return self.model_validate(options)
        except ValidationError as error:
            raise SpecError("; ".join(describe_errors(error, type(self), options))) from None


class RunSpec(Block):
    """A whole run."""

    name: str
    """Name of the run, for people, and of its folder below ``runs``: no slashes, no dot at its start."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of every random generator."""
    model: ModelSpec
    """The components."""
    data: DatasetSpec
    """The dataset."""
    views: ViewsSpec = ViewsSpec()
    """Views of one object in a training step."""
    loss: LossSpec = LossSpec()
    """Weights of the loss terms (paper Eq. 3)."""
    optimizer: OptimizerSpec = Field(default={}, validate_default=True)
    """The optimizer, by default AdamW (paper B.3), and what parts of the model do otherwise."""
    train: TrainSpec
    """Length, batch size and precision of training, and its checkpoints, logs and previews."""
    sample: SampleSpec = SampleSpec()
    """Defaults of sampling."""

    @field_validator("name")
    @classmethod
    def _is_no_path(cls, name: str) -> str:
        if not is_run_name(name):
            raise spec_error(
                "should be at most 120 letters, without slashes and without a dot at its start, because it names the "
                f"run's folder; got '{shown(name)}'"
            )
        return name


def canonical_json(spec: RunSpec) -> str:
    """The resolved spec with all defaults and sorted keys: the text that the id hashes."""
    return json.dumps(spec.model_dump(mode="json"), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)


def spec_id(spec: RunSpec) -> str:
    """The run's id: sha256 of its canonical JSON, hexadecimal."""
    return hashlib.sha256(canonical_json(spec).encode()).hexdigest()
