"""Losses that are not ours: those of a field's scene, and components of the slot ``loss``."""

import json
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from tunemv3d_core.assemble import build_component
from tunemv3d_core.config.component_spec import ComponentSpec, LossTermSpec
from tunemv3d_core.config.run_spec import LossSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import ComponentError, SpecError, suggestion
from tunemv3d_core.ports import BuildContext
from tunemv3d_core.shapes import check_scene_losses
from tunemv3d_core.slots import Loss, Scene


def weights_of(spec: LossSpec) -> dict[str, float]:
    """Return every loss's weight by the name that it is reported by."""
    terms = {name: term.weight for name, term in spec.terms.items() if isinstance(term, LossTermSpec)}
    return {"denoise": spec.denoise, "neus": spec.neus, "mask": spec.mask, **spec.scene, **terms}


def build_terms(spec: LossSpec, model: MultiviewDiffusion) -> dict[str, Loss]:
    """Build the spec's further losses for a model. Those that are modules are set to evaluation and frozen.

    Raises:
        ComponentError: one cannot be built, or what was built cannot be called.
    """
    context = BuildContext(model.device, model.dtype, model.backbone)
    terms: dict[str, Loss] = {}
    own = {id(parameter) for parameter in model.parameters()}
    for name, options in spec.terms.items():
        terms[name] = term = build_component("loss", options, context)
        if not callable(term):
            kind = type(term).__name__
            raise ComponentError(f"loss.terms.{name}: building the loss '{options.type}' gave {kind}, not a function")
        if isinstance(term, nn.Module):
            for parameter in term.eval().parameters():
                if id(parameter) not in own:
                    parameter.requires_grad_(False)
    return terms


def checked_scene_losses(scene: Scene, spec: LossSpec, components: Mapping[str, ComponentSpec]) -> dict[str, Tensor]:
    """Return a scene's own losses if they are scalars and exactly those that the spec weighs.

    A weight of 0 for a loss that the scene does not give asks for nothing and is let through, so that a spec can be
    extended with another field.

    Raises:
        ComponentError: a loss is no scalar, or its name is one of ours.
        SpecError: a loss has no weight, or a weight no loss.
    """
    given = scene.losses()
    field = f"the field '{components['field'].type}'" if "field" in components else "the field"
    check_scene_losses(field, given)
    for name, weight in spec.scene.items():
        if weight and name not in given:
            known = f"it gives {_listed(given)}" if given else "it gives none at all"
            raise SpecError(
                f"loss.scene.{name}: {field} gives no loss of this name, {known}.{suggestion(name, given)} Leave it out"
            )
    for name in given:
        if name in spec.terms:
            raise SpecError(f"loss.terms.{name}: {field} gives a loss of this name; call the one in 'terms' otherwise")
    if missing := [name for name in given if name not in spec.scene]:
        line = json.dumps({name: spec.scene.get(name, 0) for name in given})
        raise SpecError(
            f"loss.scene: {field} gives {_listed(given)}, but {_listed(missing)} has no weight; write "
            f'"loss": {{"scene": {line}}} with weights of your choice, 0 to report a loss and not to train on it'
        )
    return given


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
