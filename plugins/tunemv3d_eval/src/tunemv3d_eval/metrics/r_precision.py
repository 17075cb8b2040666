"""CLIP R-precision: is the prompt found again among other texts, from what the object looks like?"""

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.blocks import options_of
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import ComponentError, SpecError, TuneMV3DWarning
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.slots import Figure, MeasuredObject, Need
from tunemv3d_eval.clip.retrieval import JudgesByClips, Scorer, load_clip
from tunemv3d_eval.clip.rules import CHUNK, chunks, share_found, vote
from tunemv3d_eval.clip.shown import bare_views, field_views, mesh_views
from tunemv3d_eval.metrics.clip_spec import RPrecisionSpec
from tunemv3d_eval.protocols.pools import load_pool, plain

_SUMMARY = {
    "vote": "share of objects whose prompt most views retrieve from the pool",
    "park": "share of views that rank the prompt before 99 mismatched texts, over ten draws of these",
    "dream-fields": "share of objects whose prompt is retrieved from a camera that the views did not have",
    "mesh": "share of the mesh's renders that retrieve the prompt from the pool",
}


class RPrecision(JudgesByClips):
    """R-precision by one of four protocols, by one or several CLIPs.

    Args:
        spec: the options.

    Raises:
        SpecError: no such pool, or one that decides nothing.
        ComponentError: a CLIP, the mesher or the mesh renderer is not there.
    """

    def __init__(self, spec: RPrecisionSpec) -> None:
        self._spec, self._pool = spec, load_pool(spec.pool)
        self._place = {plain(text): k for k, text in enumerate(self._pool)}
        if spec.by == "park" and len(self._pool) < CHUNK:
            raise SpecError(f"pool '{spec.pool}': holds {len(self._pool)} texts; park draws from at least {CHUNK}")
        self._names = {clip: _figure_name(spec, clip) for clip in spec.clips}
        if len(set(self._names.values())) < len(spec.clips):
            raise SpecError(f"clips: {', '.join(spec.clips)} give figures of one name; rename a folder")
        self._meshing = _meshing(spec) if spec.by == "mesh" else None
        super().__init__(spec.clips)
        how = "" if spec.textured else ", on the bare shape in grey"
        self.figures: Mapping[str, Figure] = {
            name: Figure(f"{_SUMMARY[spec.by]}{how} ({clip})", low=0, high=1) for clip, name in self._names.items()
        }
        self.needs: Collection[Need] = _needs(spec)
        self._texts: dict[tuple[str, torch.device], Tensor] = {}
        self._told: set[str] = set()

    def check_prompts(self, prompts: Sequence[str]) -> str:
        """Return why some prompts cannot be judged; "" where all can."""
        missing = [prompt for prompt in prompts if plain(prompt) not in self._place]
        if not missing or self._spec.by == "park":
            return ""
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"pool '{self._spec.pool}' does not hold the prompt '{missing[0]}'{more}: name a pool that holds all"

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Mapping[str, float | None]:
        """Look for the object's prompt. A real object's caption joins the pool where it is not in it.

        Raises:
            SpecError: the pool does not hold the prompt of a sampled object.
        """
        if sample.record is None and (error := self.check_prompts([sample.prompt])):
            raise SpecError(error)
        pictures = self._pictures(sample, model)
        figures: dict[str, float | None] = {}
        for clip, name in self._names.items():
            scorer = load_clip(clip, pictures.device)
            self._warn_if_conditioning(scorer, model)
            texts, right = self._candidates(scorer, sample.prompt, pictures.device)
            figures[name] = self._judge((scorer.images(pictures) @ texts.T).cpu(), right, sample.prompt)
        return figures

    def _judge(self, similarities: Tensor, right: int, prompt: str) -> float:
        if self._spec.by == "vote":
            return float(vote(similarities) == right)
        if self._spec.by == "park":
            others = [k for k in range(similarities.shape[1]) if k != right]
            drawn = chunks(plain(prompt), others)
            return sum(share_found(similarities[:, [right, *some]], 0) for some in drawn) / len(drawn)
        return share_found(similarities, right)

    def _candidates(self, scorer: Scorer, prompt: str, device: torch.device) -> tuple[Tensor, int]:
        """Encode the pool, with the prompt where it is not in it; and return the prompt's place."""
        key = scorer.name, device
        if key not in self._texts:
            self._texts[key] = scorer.texts(self._pool)
        if (place := self._place.get(plain(prompt))) is not None:
            return self._texts[key], place
        return torch.cat([self._texts[key], scorer.texts([prompt])]), len(self._pool)

    def _pictures(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Tensor:
        spec, device = self._spec, sample.images.device
        if self._meshing is not None:
            cameras = Cameras.orbit(spec.renders, spec.elevation).to(device)
            return mesh_views(sample, model, cameras, spec.size, spec.textured, *self._meshing).to(device)
        cameras = Cameras.orbit(1, spec.elevation).to(device) if spec.by == "dream-fields" else sample.cameras
        if not spec.textured:
            return bare_views(sample, model, cameras)
        return field_views(sample, model, cameras) if spec.by == "dream-fields" else sample.images

    def _warn_if_conditioning(self, scorer: Scorer, model: MultiviewDiffusion) -> None:
        if scorer.name in self._told:
            return
        self._told.add(scorer.name)
        if scorer.shares_text_encoder(model):
            warnings.warn(
                f"'{scorer.name}' judges by the text encoder that the model was conditioned on: its R-precision is too "
                "good to compare with other models; add a CLIP of another origin",
                TuneMV3DWarning,
                stacklevel=2,
            )


def build_r_precision(spec: RPrecisionSpec) -> RPrecision:
    """Build the metric ``r-precision``."""
    return RPrecision(spec)


def _figure_name(spec: RPrecisionSpec, clip: str) -> str:
    parts = ["r_precision", "" if spec.by == "vote" else spec.by.replace("-", "_")]
    parts += ["" if spec.textured else "untextured"]
    parts += [clip.rstrip("/").split("/")[-1] if len(spec.clips) > 1 else ""]
    return "_".join(part for part in parts if part)


def _needs(spec: RPrecisionSpec) -> tuple[Need, ...]:
    if spec.by == "mesh":
        return (Need.FIELD, Need.SURFACE)
    if spec.by == "dream-fields":
        return (Need.FIELD, Need.NOVEL_VIEWS, *([Need.RENDERS] if spec.textured else []))
    return () if spec.textured else (Need.FIELD,)


def _meshing(spec: RPrecisionSpec) -> tuple[Any, Any]:
    """Build mesher and mesh renderer.

    Raises:
        ComponentError: one is not installed; says which distribution has ours.
    """
    built = []
    for slot, block, distribution in (
        ("mesher", spec.mesher, "tunemv3d-shape"),
        ("mesh_renderer", spec.mesh_renderer, "tunemv3d-data"),
    ):
        if block.get("type") not in registry().names(slot):
            raise ComponentError(f"{slot} '{block.get('type')}': not installed; ours: pip install {distribution}")
        built.append(build_component(slot, options_of(slot, slot, block)))
    return built[0], built[1]
