"""Parts of a run, built and checked before its first step."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.progress import track
from torch import nn

from tunemv3d_core.assemble import assemble, build_component
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec, ViewsSpec, spec_id
from tunemv3d_core.console import messages
from tunemv3d_core.dataset_checks import check_dataset
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import DatasetError, SpecError
from tunemv3d_core.io.checkpoint import check_checkpoint, find_checkpoint, load_weights
from tunemv3d_core.io.generated import GeneratedBy
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.mismatch_policy import apply_policy
from tunemv3d_core.io.provenance import check_components, check_frozen
from tunemv3d_core.plugins.descriptor import TRAINING_SLOTS
from tunemv3d_core.slots import Backbone, CastsWeights, Dataset, HasMaps, OptimizerContext, Streams
from tunemv3d_core.view_selection import spread_views
from tunemv3d_train import state
from tunemv3d_train.agreement import check_alike
from tunemv3d_train.batch_sampler import BatchSampler
from tunemv3d_train.batches import Batches, LatentSource, TextCache
from tunemv3d_train.continuity import Fingerprint, check_unchanged, dataset_fingerprint
from tunemv3d_train.cuda_graph import will_capture
from tunemv3d_train.dataset_checks import (
    check_counts,
    tell_of_opt_out,
    warn_of_no_held_out,
    warn_of_unseen_sides,
)
from tunemv3d_train.evaluation import TIMESTEPS, FixedSample, Measurement, choose
from tunemv3d_train.hooks import Followers
from tunemv3d_train.known_words import KnownWords, known_words, tell
from tunemv3d_train.latents import LatentCache
from tunemv3d_train.maps import Maps
from tunemv3d_train.moving_average import MovingAverage
from tunemv3d_train.optimisation import Optimisation, trainable
from tunemv3d_train.preview import Preview
from tunemv3d_train.sharding import is_sharded, shard, whole
from tunemv3d_train.spec_checks import check_field, check_sampling
from tunemv3d_train.step import TrainingStep
from tunemv3d_train.streaming import ReadAhead, StreamedLatents

PREVIEWS = 2
"""Captions that are previewed where the spec names no prompts: of held-out objects, else of training ones."""

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Dtypes of the precisions under autocast, which casts weights in each pass."""


@dataclass
class Parts:
    """A run's parts.

    Attributes:
        dataset: the pictures.
        model: the model, the same modules that ``step`` holds.
        step: the training step, wrapped for the device and the processes.
        parameters: the trainable ones by their names in ``model``.
        optimisation: the optimizers and their learning rates.
        accelerated_optimizers: the same optimizers, for fp16's loss scaling.
        followers: components and losses that are told of each step.
        average: of the weights, or None.
        sampler: makes the plans of batches.
        batches: makes tensors of plans.
        measurement: figures of a fixed sample.
        preview: pictures.
        fingerprint: of the dataset, so that a run that goes on notices another one.
        known_words: what the backbone knows of the captions; None where it does not say, and beside the main process.
        restored: state of the checkpoint that the run goes on from.
    """

    dataset: Dataset
    model: MultiviewDiffusion
    step: nn.Module
    parameters: dict[str, nn.Parameter]
    optimisation: Optimisation
    accelerated_optimizers: list[Any]
    followers: Followers
    average: MovingAverage | None
    sampler: BatchSampler | ReadAhead
    batches: Batches
    measurement: Measurement
    preview: Preview | None
    fingerprint: Fingerprint
    known_words: KnownWords | None
    restored: dict[str, Any]

    def close(self) -> None:
        """End whatever reads ahead."""
        if isinstance(self.sampler, ReadAhead):
            self.sampler.close()


def build_parts(spec: RunSpec, accelerator: Accelerator, resume_from: Path | None) -> Parts:
    """Build everything; restore a checkpoint's state if one is given.

    Raises:
        TuneMV3DError: whatever is wrong with the spec, the dataset or the checkpoint.
    """
    device = accelerator.device
    dataset = _dataset(spec.data, spec.views)
    learned = dataset.splits()["train"]
    model = _model(spec, accelerator, anew=resume_from is None)
    offered = dataset.map_channels if isinstance(dataset, HasMaps) else {}
    step = TrainingStep(model, spec.views.inputs, spec.loss, offered).train()
    fingerprint = dataset_fingerprint(dataset, step.maps)
    check_alike(accelerator, spec, fingerprint, len(learned))
    if spec.train.parallel == "fsdp2" and accelerator.num_processes > 1:
        shard(step, accelerator)
    parameters = trainable(model)
    optimisation = _optimisation(spec, parameters, accelerator, step.eps_factor())
    average = MovingAverage(parameters, spec.train.ema) if spec.train.ema else None
    with whole(step):
        batches = _batches(spec, dataset, model, step, accelerator)
        preview = _preview(spec, model, dataset, batches.latents, device)
    optimizers = optimisation.optimizers
    restored = state.restore(resume_from, model, parameters, optimizers, average) if resume_from else {}
    if resume_from:
        _compare(resume_from, model, accelerator, resumed=True)
        if accelerator.is_main_process:
            check_unchanged(restored, fingerprint, accelerator.num_processes, resume_from)
    measurement = _measurement(spec, step, dataset, batches, restored)
    with whole(step), accelerator.autocast():
        step.check(measurement.batch(measurement.sample.objects[0], measurement.sample.timesteps[0]))
    known = _tell_of_dataset(dataset, model.backbone, measurement.sample) if accelerator.is_main_process else None
    sampler = _sampler(spec, dataset, learned, model, batches.latents, accelerator)
    if restored:
        passes = int(restored["step"]) * spec.train.accumulate
        sampler.go_on(passes, int(restored.get("drawn", passes * restored.get("processes", accelerator.num_processes))))
    return Parts(
        dataset=dataset,
        model=model,
        step=step if is_sharded(step) else accelerator.prepare_model(step),
        parameters=parameters,
        optimisation=optimisation,
        accelerated_optimizers=[accelerator.prepare_optimizer(optimizer) for optimizer in optimizers],
        followers=Followers(model, step.terms),
        average=average,
        sampler=sampler,
        batches=batches,
        measurement=measurement,
        preview=preview,
        fingerprint=fingerprint,
        known_words=known,
        restored=restored,
    )


def _dataset(options: ComponentSpec, views: ViewsSpec) -> Dataset:
    """Open the dataset, and refuse one that cannot be learned from."""
    dataset: Dataset = build_component("dataset", options)
    try:
        check_dataset(dataset)
    except DatasetError as error:
        raise DatasetError(f"data: the dataset '{options.type}': {error}") from error
    check_counts(dataset, dataset.splits()["train"], views)
    return dataset


def _model(spec: RunSpec, accelerator: Accelerator, anew: bool) -> MultiviewDiffusion:
    """Build the model; a run that begins anew may start from another's weights."""
    torch.manual_seed(spec.seed)
    model = assemble(spec.model, accelerator.device)
    check_field(spec, model)
    if spec.train.start_from is not None and anew:
        _start_from(spec.train.start_from, model, accelerator)
    cast_frozen(spec, model)
    return model


def cast_frozen(spec: RunSpec, model: MultiviewDiffusion) -> None:
    """Hold frozen weights in the precision of autocast, which would cast them in every pass."""
    if spec.train.precision in HALF and isinstance(model.backbone, CastsWeights):
        model.backbone.cast_weights(HALF[spec.train.precision])


def _batches(
    spec: RunSpec, dataset: Dataset, model: MultiviewDiffusion, step: TrainingStep, accelerator: Accelerator
) -> Batches:
    """Encode what a GPU keeps of the dataset, and return what makes batches of it."""
    device = accelerator.device
    latents, texts = _latents(dataset, model.backbone, device), TextCache(model.backbone)
    _, h, w = latents.shape
    check_sampling(spec, model, (h, w))
    if device.type == "cuda" and isinstance(latents, LatentCache):
        objects = [index for split in ("train", "held_out") for index in dataset.splits()[split]]
        latents.fill(track(objects, "encoding pictures", console=messages, disable=not accelerator.is_main_process))
    if model.field is not None:
        # Kept by the model; computed here, it is as precise as the latents whatever the step's precision.
        model.background_latent((h, w))
    return Batches(dataset, latents, texts, Maps(dataset, step.maps, (h, w), device) if step.maps else None)


def _tell_of_dataset(dataset: Dataset, backbone: Backbone, sample: FixedSample) -> KnownWords | None:
    """Warn of what a dataset cannot teach: sides that no camera sees, words that the backbone has never seen."""
    # Of a streamed dataset only what is measured has been read by now.
    read = sample.objects if isinstance(dataset, Streams) else dataset.splits()["train"]
    tell_of_opt_out(dataset)
    warn_of_unseen_sides(dataset, read)
    if not sample.held_out:
        warn_of_no_held_out()
    known = known_words(backbone, dataset, read)
    if known is not None:
        tell(known)
    return known


def _start_from(name: str, model: MultiviewDiffusion, accelerator: Accelerator) -> None:
    source = find_checkpoint(name)
    check_checkpoint(source)
    load_weights(model, source / "model.safetensors")
    _compare(source, model, accelerator)


def _compare(source: Path, model: MultiviewDiffusion, accelerator: Accelerator, resumed: bool = False) -> None:
    """Apply the policy to differences from what a checkpoint was saved with, in the main process alone.

    A run that goes on needs the frozen model that it began with, wherever it lies now.
    """
    if accelerator.is_main_process:
        record = read_json(source / "provenance.json")
        parts = record["components"]
        if resumed:
            parts |= record.get("losses", {}) | record.get("optimizer", {})
        apply_policy(check_components(parts, source), source)
        moved = resumed and _place(source) != model.components.get("backbone")
        apply_policy(check_frozen(record["frozen"], model.backbone.fingerprint()), source, "error" if moved else None)


def _place(source: Path) -> ComponentSpec:
    """Return the backbone's options as a checkpoint was saved with."""
    return load_spec(source / "spec.json", unneeded=TRAINING_SLOTS, saved=True).model.backbone


def _optimisation(
    spec: RunSpec, parameters: dict[str, nn.Parameter], accelerator: Accelerator, loss_scale: float
) -> Optimisation:
    context = OptimizerContext(
        loss_scale, captured=will_capture(spec, accelerator.device.type, accelerator.num_processes)
    )
    optimisation = Optimisation(spec.optimizer, parameters, context)
    for step in (0, spec.train.steps - 1):
        optimisation.set_lr(step, spec.train.steps)
    if spec.train.precision == "fp16" and len(optimisation.optimizers) > 1:
        raise SpecError("train.precision: fp16 scales the loss for one algorithm alone; use bf16 with optimizer.parts")
    return optimisation


def _latents(dataset: Dataset, backbone: Backbone, device: torch.device) -> LatentSource:
    if isinstance(dataset, Streams):
        return StreamedLatents(dataset, backbone, device)
    return LatentCache(dataset, backbone, device)


def _sampler(
    spec: RunSpec,
    dataset: Dataset,
    objects: list[int],
    model: MultiviewDiffusion,
    latents: LatentSource,
    accelerator: Accelerator,
) -> BatchSampler | ReadAhead:
    _, h, w = latents.shape
    sampler = BatchSampler(
        dataset,
        objects,
        spec.views,
        seed=spec.seed,
        batch=spec.train.batch,
        timesteps=model.backbone.ports.train_timesteps,
        cells=h * w,
        text_dropout=spec.train.text_dropout,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    if isinstance(dataset, Streams) and isinstance(latents, StreamedLatents):
        stop = spec.train.steps * spec.train.accumulate
        return ReadAhead(sampler, latents, dataset.expect, stop, dataset.workers)
    return sampler


def _measurement(
    spec: RunSpec, step: TrainingStep, dataset: Dataset, batches: Batches, restored: dict[str, Any]
) -> Measurement:
    # A processor needs seconds for what an accelerator does in milliseconds, so it measures a smaller sample. A resumed
    # run measures what it measured before, wherever it is resumed.
    own = [16, list(TIMESTEPS)] if batches.latents.device.type == "cuda" else [4, list(TIMESTEPS[::2])]
    objects, timesteps = restored.get("measured", own)
    sample = choose(dataset, spec.views, objects, timesteps, spec.seed)
    before = restored.get("before") or {}
    frozen = {name: v for name, v in before.items() if name.startswith("denoise_frozen/")}
    return Measurement(step, dataset, sample, batches, frozen or None)


def _preview(
    spec: RunSpec,
    model: MultiviewDiffusion,
    dataset: Dataset,
    latents: LatentSource,
    device: torch.device,
) -> Preview | None:
    splits = dataset.splits()
    shown = splits["held_out"] or splits["train"]
    prompts = spec.train.preview_prompts or _captions(dataset, shown)
    n = spec.views.inputs
    everywhere = (dataset.record(index).cameras for index in [*shown, *splits["train"]])
    enough = next(cameras for cameras in everywhere if cameras.shape[0] >= n)
    cameras = enough[spread_views(enough, n)].to(device)
    _, h, w = latents.shape
    by = GeneratedBy(spec.name, spec_id(spec))
    return Preview(model, prompts, cameras, (h, w), spec.sample, spec.seed, by)


def _captions(dataset: Dataset, objects: Iterable[int]) -> list[str]:
    """The first different captions of some objects, ``PREVIEWS`` at most; no more objects are read than it takes."""
    found: dict[str, None] = {}
    for index in objects:
        found[dataset.record(index).captions[0]] = None
        if len(found) == PREVIEWS:
            break
    return list(found)
