"""Does the object look like the type that its prompt names? By CLIP, among all types that prompts by rule name."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import Figure, MeasuredObject, Need
from tunemv3d_eval.clip.retrieval import JudgesByClips, load_clip
from tunemv3d_eval.clip.rules import vote
from tunemv3d_eval.metrics.clip_spec import NamedTypeSpec
from tunemv3d_eval.protocols.worded import TYPES, named


class NamedType(JudgesByClips):
    """Retrieval among ``TYPES``, worded "a TYPE", by the vote of the views; says nothing where no type is named.

    The card of clip-mini says how often it retrieves the types of held-out objects.
    """

    figures: Mapping[str, Figure] = {
        "type_met": Figure("share of prompts whose named type most views retrieve among ten", low=0, high=1),
    }
    needs: Collection[Need] = ()

    def __init__(self, spec: NamedTypeSpec) -> None:
        super().__init__((spec.clip,))
        self._texts: dict[torch.device, Tensor] = {}

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Mapping[str, float | None]:
        """Retrieve the type of the views."""
        kind = named(sample.prompt).type
        if not kind:
            return {"type_met": None}
        scorer = load_clip(self._clips[0], sample.images.device)
        if (device := sample.images.device) not in self._texts:
            self._texts[device] = scorer.texts([f"a {each}" for each in TYPES])
        similarities = scorer.images(sample.images) @ self._texts[device].T
        return {"type_met": float(TYPES[vote(similarities.cpu())] == kind)}


def build_named_type(spec: NamedTypeSpec) -> NamedType:
    """Build the metric ``named-type``."""
    return NamedType(spec)
