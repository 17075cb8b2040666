"""The plan of a study: what is compared, and where it is evaluated by which protocol. Light: imports no torch."""

import itertools
from collections.abc import Sequence
from math import gcd
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from tunemv3d_core.config.component_spec import HasPretrained
from tunemv3d_core.config.errors import describe_errors, spec_error
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import Block, Count, RunSpec
from tunemv3d_core.consistency import parse_consistency
from tunemv3d_core.errors import SpecError, TuneMV3DError, suggestion
from tunemv3d_core.io.file_names import clashes, fault_of
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.plugins.descriptor import TRAINING_SLOTS
from tunemv3d_core.plugins.registry import registry

INTERRUPTIONS = 20
"""Checkpoints that a run may keep beyond those of its steps: it writes one more whenever it is interrupted."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Variant(Block):
    """One of the models that a study compares: a spec to train, or a checkpoint that is there."""

    spec: str | None = None
    """Name of an installed spec, or a JSON file: it is trained."""
    checkpoint: str | None = None
    """A packaged checkpoint, its folder, or a run's folder: it is only evaluated."""
    set: tuple[str, ...] = ()
    """Overrides of its spec, ``a.b=value``, after the study's."""
    summary: str = ""
    """What is different about it, in a few words for the report."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.spec is None) == (self.checkpoint is None):
            raise spec_error("give 'spec', which is trained, or 'checkpoint', which is there; one of both")
        if self.checkpoint is not None and self.set:
            raise spec_error("'set' changes a spec before it is trained; a checkpoint is taken as it is")
        return self


class Evaluation(Block):
    """One evaluation of some variants, each beside the first one."""

    protocol: Annotated[str, Field(min_length=1)] = "study"
    """Name of a packaged protocol, or a JSON file."""
    variants: tuple[str, ...] = ()
    """Names of variants; none: all."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    """Training seeds."""
    at: tuple[Count, ...] = ()
    """Training steps whose checkpoints are evaluated; none: the last."""
    consistency: str = ""
    """Values of K as ``tunemv3d evaluate --consistency`` takes them; empty: the protocol's."""
    controls: bool | None = None
    """Whether real objects and controls stand beside the samples; None: as the protocol says."""

    @field_validator("seeds", "at", "variants")
    @classmethod
    def _each_once(cls, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(given)) < len(given):
            raise spec_error(f"should name each once, got {list(given)}")
        return given

    @field_validator("consistency")
    @classmethod
    def _is_consistency(cls, given: str) -> str:
        try:
            for word in given.replace(",", " ").split():
                parse_consistency(word)
        except TuneMV3DError as error:
            raise spec_error(str(error)) from None
        return given


class Study(Block):
    """A whole study. Work is done in the order of its evaluations, and in each in the order of its variants."""

    name: str
    """Name of the study, for people."""
    summary: str = ""
    """The question that it answers."""
    steps: Count
    """Training steps of every variant."""
    set: tuple[str, ...] = ()
    """Overrides of every trained spec, ``a.b=value``."""
    variants: Annotated[dict[str, Variant], Field(min_length=1)]
    """What is compared, by a name that is a folder's too."""
    evaluations: Annotated[dict[str, Evaluation], Field(min_length=1)]
    """Evaluations by a name that is a folder's too."""

    @field_validator("variants", "evaluations")
    @classmethod
    def _names_are_folders(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            if fault := fault_of(name):
                raise spec_error(f"'{name}' {fault}, and names a folder of the study")
        if shared := clashes({name: [name] for name in named}):
            one, other = next(iter(shared.items()))
            raise spec_error(f"'{one}' and '{other}' are one folder where case does not count; call one otherwise")
        return named

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name, evaluation in self.evaluations.items():
            for variant in evaluation.variants:
                if variant not in self.variants:
                    known = ", ".join(self.variants)
                    raise spec_error(
                        f"evaluations.{name}.variants: '{variant}' is no variant of the study."
                        f"{suggestion(variant, self.variants)} Variants: {known}"
                    )
            if late := [step for step in evaluation.at if step > self.steps]:
                raise spec_error(f"evaluations.{name}.at: {late[0]} lies beyond the study's {self.steps} steps")
        return self

    def variants_of(self, evaluation: Evaluation) -> list[str]:
        """Return the names of an evaluation's variants in their order."""
        return list(evaluation.variants or self.variants)

    def steps_of(self, evaluation: Evaluation) -> list[int]:
        """Return the steps whose checkpoints an evaluation looks at, rising."""
        return sorted(evaluation.at) or [self.steps]


def read_study(path: Path) -> Study:
    """Read a study's file.

    Raises:
        SpecError: it cannot be read, or is no study; one line per error.
    """
    content = {name: value for name, value in read_json(path, SpecError).items() if name != "$schema"}
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise SpecError("\n".join(f"{path}: {line}" for line in describe_errors(error, Study, content))) from None


def study_of(
    given: Sequence[str], at: Sequence[int], seeds: Sequence[int], protocol: str, final_protocol: str, sets: list[str]
) -> Study:
    """Make the study that a command line asks for.

    Args:
        given: names or files of specs, or folders of runs and checkpoints, which are not trained.
        at: steps whose checkpoints are evaluated; the last is the length of training.
        seeds: training seeds.
        protocol: of the evaluations at all steps.
        final_protocol: of one more, of the first seed's last checkpoints; empty: none.
        sets: overrides of every spec.

    Raises:
        SpecError: two of the given have one name, or one is out of its range.
    """
    installed, variants = registry().names("spec"), dict[str, dict[str, str]]()
    for each in given:
        folder = each not in installed and Path(each).is_dir()
        name = (Path(each).resolve().name if folder else Path(each).stem) or each
        if name in variants:
            raise SpecError(
                f"{each}: another one of the study is called '{name}' too; name them apart in a study's file"
            )
        variants[name] = {"checkpoint" if folder else "spec": each}
    evaluations = {"steps": {"protocol": protocol, "seeds": list(seeds), "at": list(at)}}
    if final_protocol:
        evaluations["final"] = {"protocol": final_protocol, "seeds": list(seeds[:1])}
    content = {
        "name": ", ".join(variants),
        "steps": max(at, default=0),
        "set": sets,
        "variants": variants,
        "evaluations": evaluations,
    }
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise SpecError("\n".join(describe_errors(error, Study, content))) from None


def training_overrides(study: Study, variant: Variant, seed: int) -> list[str]:
    """Return the overrides with which a variant's spec is trained: the study's, its own, and those that keep the
    checkpoints to evaluate.
    """
    every, count = checkpoints_of(study)
    keep = count + INTERRUPTIONS
    own = [f"train.steps={study.steps}", f"train.checkpoint_every={every}", f"train.keep={keep}", f"seed={seed}"]
    return [*study.set, *variant.set, *own]


def checkpoints_of(study: Study) -> tuple[int, int]:
    """Return the steps between a run's checkpoints, so that every step to evaluate has one, and how many that makes."""
    every = gcd(*(step for evaluation in study.evaluations.values() for step in study.steps_of(evaluation)))
    return every, -(-study.steps // every)


def resolved_specs(study: Study) -> dict[str, RunSpec]:
    """Resolve the specs of all variants, and refuse what cannot be compared.

    Raises:
        SpecError: a spec or an override that is not valid, another base or other data than the first variant's.
        TuneMV3DError: a checkpoint that is not there.
    """
    specs = {name: _resolved(study, name, variant) for name, variant in study.variants.items()}
    bases = {name: _base(spec) for name, spec in specs.items()}
    _all_alike("based on", bases, "a study compares models of one base")
    data = {name: specs[name].data.model_dump() for name, each in study.variants.items() if each.spec is not None}
    _all_alike("trained on", data, "a study trains on the same data; --set data.path=... puts one under all")
    return specs


def _resolved(study: Study, name: str, variant: Variant) -> RunSpec:
    try:
        if variant.spec is not None:
            return load_spec(variant.spec, training_overrides(study, variant, 0))
        # Heavy: torch. Only where a checkpoint is among the variants.
        from tunemv3d_core.io.checkpoint import find_checkpoint

        folder = find_checkpoint(variant.checkpoint or "")
        return load_spec(folder / "spec.json", unneeded=TRAINING_SLOTS, saved=True)
    except TuneMV3DError as error:
        raise SpecError(f"variant '{name}': {error}") from None


def _base(spec: RunSpec) -> Any:
    backbone = spec.model.backbone
    if isinstance(backbone, HasPretrained):
        return {name: getattr(backbone, name) for name in ("pretrained", *backbone.pretrained_options)}
    return backbone.model_dump()


def _all_alike(what: str, each: dict[str, Any], rule: str) -> None:
    for first, name in itertools.pairwise(each):
        if each[name] != each[first]:
            raise SpecError(
                f"variant '{name}' is {what} {_told(each[name])}, '{first}' on {_told(each[first])}; {rule}"
            )


def _told(block: dict[str, Any]) -> str:
    return str(block.get("pretrained") or block.get("path") or block)
