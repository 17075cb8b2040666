"""The packaged specs: each says only its difference, and each of the mini ones takes a step."""

import pytest
import torch
from torch import Tensor

from tunemv3d_core.assemble import assemble
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.cli.spec import flat
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.slots import OptimizerContext
from tunemv3d_train.optimisation import Optimisation, trainable
from tunemv3d_train.step import TrainingStep
from tunemv3d_train.trainer import train

PAPER, MINI = "paper-shapenet-chair", "chairs-mini"

ABLATIONS = {
    "ablation-direct-features": {"model.field.gives": "features", "model.lifter.type": "direct", "loss.neus": 0.0},
    "ablation-no-raw-noise": {"model.lifter.raw_noise": False},
    "ablation-no-neus-loss": {"loss.neus": 0.0},
    "ablation-no-novel-views": {"views.novel": 0},
    "ablation-two-views": {"views.inputs": 2},
    "ablation-four-views": {"views.inputs": 4},
    "ablation-cross-view-attention": {"model.lifter.cross_view_stride": 2},
    "baseline-2d": {"model.backbone.trainable": "all", "views.novel": 0, "model.field": None},
}
"""What each differs in from the paper's spec, and with the suffix -mini from chairs-mini."""

FOLLOWS = {
    "ablation-direct-features": {
        "model.field.values",
        "model.field.hidden",
        "model.lifter",
        "optimizer.parts.lifter.lr_scale",
    },
    "ablation-no-neus-loss": {"loss.mask"},
    "baseline-2d": {"model", "optimizer"},
}
"""What may change with it: options of parts that are gone, the width of features, and what else teaches the field."""


def difference(name: str, base: str) -> dict[str, object]:
    ours, theirs = flat(load_spec(name)), flat(load_spec(base))
    return {path: ours.get(path) for path in {**theirs, **ours} if ours.get(path) != theirs.get(path)}


def test_the_papers_specs_say_what_the_supplement_says() -> None:
    chair, objaverse = load_spec(PAPER), load_spec("paper-mini-objaverse")
    field, options = chair.model.field, chair.optimizer
    assert (field.omega, objaverse.model.field.omega) == (1.5, 2.0) and field.frequencies == 6
    assert (chair.views.inputs, chair.views.novel, chair.views.novel_pixels) == (8, 8, 1.0)
    assert (chair.loss.denoise, chair.loss.neus) == (1.0, 1.0)
    assert (options.lr, options.weight_decay, chair.train.batch) == (5e-5, 1e-3, 4)
    assert "stable-diffusion-v1" in chair.model.backbone.pretrained
    assert set(difference("paper-mini-objaverse", PAPER)) == {"name", "model.field.omega", "data.path"}
    assert load_spec("furniture-mini").model.field.omega == 2.0


def test_the_letter_leaves_out_what_the_supplement_does_not_say() -> None:
    for paper in (PAPER, "paper-mini-objaverse"):
        changed = difference(f"{paper}-letter", paper)
        assert changed.pop("name") == f"{paper}-letter"
        assert changed == {
            "model.field.directions": "input",
            "model.field.skip_features": False,
            "views.clean_probability": 0.0,
            "loss.target": "x_prev",
            "loss.scene.eikonal": 0.0,
            "optimizer.clip": 0.0,
            "train.text_dropout": 0.0,
        }


def test_the_spec_for_one_card_saves_memory_and_learns_from_as_many_objects_and_views() -> None:
    ours, paper = load_spec("sd15-24gb"), load_spec(PAPER)
    model = ours.model
    assert all(part.gradient_checkpointing for part in (model.backbone, model.field, model.lifter))
    assert model.lifter.type == "lora-encoder" and model.backbone.pretrained == paper.model.backbone.pretrained
    assert ours.train.precision == "bf16" and ours.train.compile == "regions"
    assert ours.train.batch * ours.train.accumulate == paper.train.batch
    assert (ours.views.inputs, ours.views.novel) == (paper.views.inputs, paper.views.novel)
    assert not {path.split(".")[0] for path in difference("sd15-24gb", PAPER)} - {
        *("name", "model", "data", "views", "loss", "optimizer", "train")
    }


@pytest.mark.parametrize("base", [PAPER, MINI])
@pytest.mark.parametrize("name", ["ablation-direct-features", "ablation-no-neus-loss"])
def test_ablations_are_as_strong_as_their_name_says(name: str, base: str) -> None:
    spec = load_spec(name if base == PAPER else f"{name}-mini")
    if name == "ablation-no-neus-loss":
        assert spec.loss.neus == spec.loss.mask == 0
    else:
        # A linear layer after the hidden features and the mean and variance of all views': no more is independent.
        field, features = spec.model.field, spec.model.view_encoder.features
        assert field.values == field.hidden // 2 + 2 * features


@pytest.mark.parametrize("base", [PAPER, MINI])
@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_an_ablation_differs_in_what_its_name_says(name: str, base: str) -> None:
    full = name if base == PAPER else f"{name}-mini"
    changed = difference(full, base)
    assert changed.pop("name") == full
    wanted = ABLATIONS[name]
    assert {path: changed.get(path) for path in wanted} == wanted
    rest = set(changed) - set(wanted)
    assert all(any(path == p or path.startswith(f"{p}.") for p in FOLLOWS.get(name, ())) for path in rest), rest


def random_batch(model: MultiviewDiffusion, spec: RunSpec, size: int) -> dict[str, Tensor]:
    n, m = spec.views.inputs, spec.views.novel
    torch.manual_seed(1)
    cameras = Cameras.orbit(n + m, elevation=15.0)[None]
    return {
        "latents": torch.randn(1, n + m, 4, size, size),
        "alpha": torch.rand(1, n + m, size, size),
        "noise": torch.randn(1, n, 4, size, size),
        "t": torch.full((1, n), 700.0),
        "is_clean": torch.zeros(1, n, dtype=torch.bool),
        "poses": cameras.camera_to_world,
        "intrinsics": cameras.intrinsics,
        "tokens": model.backbone.encode_text(["a red chair"]).tokens,
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in registry().names("spec") if name.endswith("-mini")])
def test_every_mini_spec_takes_a_step(name: str) -> None:
    quick = hasattr(load_spec(name).model.field, "samples")
    spec = load_spec(name, ["model.field.samples=4"] if quick else [])
    torch.manual_seed(0)
    model = assemble(spec.model).train()
    parameters = trainable(model)
    (optimizer,) = Optimisation(spec.optimizer, parameters, OptimizerContext()).optimizers
    before = {key: parameter.detach().clone() for key, parameter in parameters.items()}
    batch, step = random_batch(model, spec, 8), TrainingStep(model, spec.views.inputs, spec.loss)
    for _ in range(2):
        optimizer.zero_grad()
        loss, parts = step(**batch)
        loss.backward()
        optimizer.step()
    assert loss.isfinite() and all(bool(part.isfinite().all()) for part in parts.values())
    moved = {key.split(".")[0] for key, parameter in parameters.items() if not torch.equal(parameter, before[key])}
    assert moved == ({"backbone"} if name == "baseline-2d-mini" else set(model.slots()) - {"backbone"} - still(spec))


def still(spec: RunSpec) -> set[str]:
    """Slots without a parameter."""
    return {"lifter"} if spec.model.lifter is not None and spec.model.lifter.type == "direct" else set()


FEATURES = ["model.field.gives=features", "model.field.values=8", 'model.lifter={"type": "direct"}']


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([*FEATURES, "optimizer.parts.lifter=null"], r"loss\.neus: the field 'neus' renders features"),
        (FEATURES[:2], r"lifter 'copied-encoder' takes values of kind 'latents', but field 'neus' gives 'features'"),
        (FEATURES[2:], r"lifter 'direct' takes values of kind 'features', but field 'neus' gives 'latents'"),
        (["views.novel=40"], r"inputs 8 \+ novel 40 = 48, but object '.*' has only 24 views"),
        (["sample.consistency=-1"], r"sample\.consistency: K should be a number of at least 0, .* got -1"),
        (["model.lifter.cross_view_stride=64"], r"cross_view_stride = 64 leaves no map"),
        (
            ['model.lifter={"type": "lora-encoder"}', "model.backbone.trainable=all"],
            r"lifter 'lora-encoder' shares the 2D model's encoder, which must be frozen",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_work(tmp_path, overrides: list[str], message: str) -> None:
    with pytest.raises(TuneMV3DError, match=message):
        train(load_spec(MINI, overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()
