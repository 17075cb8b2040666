"""R-precision against loops in float64, on transformers' own forward pass."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_toys import ball_model, write_tiny_clip, write_tiny_siglip
from eval_toys import sphere_seen, toy_model
from PIL import Image
from torch import nn
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import ComponentError, SpecError, TuneMV3DWarning
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_core.slots import MeasuredObject, Need
from tunemv3d_eval.clip.retrieval import load_clip
from tunemv3d_eval.clip.rules import vote
from tunemv3d_eval.clip.shown import bare_views, mesh_views
from tunemv3d_eval.metrics.clip_spec import RPrecisionSpec
from tunemv3d_eval.metrics.r_precision import RPrecision
from tunemv3d_eval.protocols.pools import load_pool
from tunemv3d_eval.protocols.protocol import Protocol, load_protocol
from tunemv3d_eval.scoring.chosen import choose_metrics

VIEWS, SIDE = 6, 24


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_clip(tmp_path_factory.mktemp("judges") / "judge"))


@pytest.fixture
def pool(tmp_path: Path) -> str:
    file = tmp_path / "pool.txt"
    file.write_text("\n".join(_pool()), encoding="utf-8")
    return str(file)


def ball_seen(cameras: Cameras, size: int = SIDE) -> torch.Tensor:
    return sphere_seen(0.5, cameras, size)


def _pool(count: int = 5) -> list[str]:
    return [
        "a red chair",
        "blue stool",
        "table",
        "a long text on an old bed",
        "x",
        *(f"thing {k}" for k in range(200)),
    ][:count]


def _sample(prompt: str, seed: int = 0, record: bool = False) -> MeasuredObject:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (VIEWS, 3, SIDE, SIDE), generator=generator) / 127.5 - 1
    images = images * torch.rand(VIEWS, 3, 1, 1, generator=generator)
    images = ((images + 1) * 127.5).round() / 127.5 - 1
    cameras = Cameras.orbit(VIEWS, elevation=20)
    known = PosedImages("7", cameras, (SIDE, SIDE), (prompt,)) if record else None
    silhouettes = torch.ones(VIEWS, SIDE, SIDE, dtype=torch.bool)
    return MeasuredObject(prompt, images, silhouettes, images, cameras, record=known)


def _similarities(folder: str, images: torch.Tensor, texts: list[str]) -> np.ndarray:
    """Cosines in float64 of transformers' features, text by text and picture by picture."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float64).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    found = np.zeros((len(images), len(texts)))
    for i, image in enumerate(images):
        pixels = ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        given = processor(images=Image.fromarray(pixels), return_tensors="pt").pixel_values.double()
        for j, text in enumerate(texts):
            tokens = tokenizer([text], truncation=True, max_length=24, return_tensors="pt")
            with torch.no_grad():
                result = model(**tokens, pixel_values=given)
            a, b = result.image_embeds[0].numpy(), result.text_embeds[0].numpy()
            found[i, j] = sum(float(x) * float(y) for x, y in zip(a, b, strict=True)) / (
                np.sqrt((a**2).sum()) * np.sqrt((b**2).sum())
            )
    return found


def _voted(similarities: np.ndarray) -> int:
    """Supplement C, word for word."""
    votes = Counter(max(range(len(row)), key=lambda j: row[j]) for row in similarities)
    most = max(votes.values())
    tied = [j for j, count in votes.items() if count == most]
    return max(tied, key=lambda j: sum(row[j] for row in similarities))


@pytest.mark.parametrize("seed", range(4))
def test_the_vote_agrees_with_a_loop(clip: str, pool: str, seed: int) -> None:
    metric = RPrecision(RPrecisionSpec(clips=(clip,), pool=pool))
    chosen = _voted(_similarities(clip, _sample("x", seed).images, _pool()))
    for k, prompt in enumerate(_pool()):
        assert metric.measure(_sample(prompt, seed), toy_model()) == {"r_precision": float(k == chosen)}


def test_the_vote_of_random_similarities_agrees_with_a_loop() -> None:
    generator = torch.Generator().manual_seed(1)
    tied = 0
    for _ in range(300):
        similarities = torch.rand(5, 4, generator=generator, dtype=torch.float64)
        counts = similarities.argmax(1).bincount(minlength=4)
        tied += int((counts == counts.max()).sum() > 1)
        assert vote(similarities) == _voted(similarities.numpy())
    assert tied > 50


@pytest.mark.slow
def test_park_agrees_with_a_loop(clip: str, tmp_path: Path) -> None:
    file = tmp_path / "pool.txt"
    texts = _pool(130)
    file.write_text("\n".join(texts), encoding="utf-8")
    metric = RPrecision(RPrecisionSpec(clips=(clip,), pool=str(file), by="park"))
    sample = _sample("blue stool", 3)
    similarities = _similarities(clip, sample.images, texts)
    others = [k for k in range(len(texts)) if k != 1]
    hits = 0
    for chunk in range(10):
        mismatched = random.Random(f"blue stool {chunk}").sample(others, 99)
        for row in similarities:
            hits += all(row[1] > row[j] for j in mismatched)
    assert metric.measure(sample, toy_model()) == {"r_precision_park": pytest.approx(hits / (10 * VIEWS))}


def test_dream_fields_judges_the_field_from_above(clip: str, pool: str) -> None:
    """The field shows the view whose camera is nearest: the first one, from a held-out camera at its azimuth."""
    metric = RPrecision(RPrecisionSpec(clips=(clip,), pool=pool, by="dream-fields"))
    assert {Need.NOVEL_VIEWS, Need.RENDERS} <= set(metric.needs)
    sample, model = _sample("x", 1), toy_model("nearest", SIDE)
    nearest = int(torch.cdist(sample.cameras.origins, Cameras.orbit(1, 45).origins).argmin())
    chosen = int(_similarities(clip, sample.images[nearest : nearest + 1], _pool())[0].argmax())
    for k, prompt in enumerate(_pool()):
        assert metric.measure(_sample(prompt, 1), model) == {"r_precision_dream_fields": float(k == chosen)}


def test_several_clips_give_a_figure_each(clip: str, pool: str, tmp_path: Path) -> None:
    other = str(write_tiny_siglip(tmp_path / "other"))
    metric = RPrecision(RPrecisionSpec(clips=(clip, other), pool=pool))
    assert set(metric.measure(_sample("x"), toy_model())) == {"r_precision_judge", "r_precision_other"}
    assert len(set(metric.identities)) == 2
    with pytest.raises(SpecError, match="one name"):
        RPrecision(RPrecisionSpec(clips=(clip, clip), pool=pool))


def test_bare_views_show_the_shape_in_grey_on_white() -> None:
    sample, model = _sample("x"), ball_model(SIDE)
    shown = bare_views(sample, model, sample.cameras)
    assert shown.shape == sample.images.shape
    assert torch.equal(shown[:, 0], shown[:, 1]) and torch.equal(shown[:, 0], shown[:, 2])
    assert (shown[:, :, 0, 0] == 1).all()
    # A ball's middle faces its camera: the light is 1 there, and the grey the lightest.
    middle = shown[:, 0, SIDE // 2 - 1 : SIDE // 2 + 1, SIDE // 2 - 1 : SIDE // 2 + 1]
    assert middle.mean() == pytest.approx(0.75 * 2 - 1, abs=0.02)
    metric = RPrecision(RPrecisionSpec(textured=False, by="dream-fields"))
    assert set(metric.figures) == {"r_precision_dream_fields_untextured"} and Need.RENDERS not in metric.needs


@pytest.mark.slow
@pytest.mark.parametrize("textured", [True, False])
def test_the_mesh_is_rendered_all_around(clip: str, pool: str, textured: bool) -> None:
    model, cameras = ball_model(), Cameras.orbit(4, 45)
    red = torch.tensor([0.8, 0.1, 0.1])[:, None, None] * 2 - 1
    sample = _sample("x")
    seen = ball_seen(sample.cameras)
    sample = MeasuredObject(
        "x", torch.where(seen[:, None], red, torch.ones(3, 1, 1)), seen, sample.latents, sample.cameras
    )
    mesher = {"type": "marching-cubes", "resolution": 32, "faces": 400, "texture": 64}
    spec = RPrecisionSpec(clips=(clip,), pool=pool, by="mesh", renders=4, size=32, mesher=mesher, textured=textured)
    metric = RPrecision(spec)
    shown = mesh_views(sample, model, cameras, 32, textured, *metric._meshing)
    silhouettes = (shown < 0.9).any(1)
    true = ball_seen(cameras, 32)
    overlap = (silhouettes & true).sum() / (silhouettes | true).sum()
    assert overlap > 0.9
    middle = shown[:, :, 14:18, 14:18].mean((0, 2, 3))
    # Views of 24 pixels bleed some of their ground into the texture.
    torch.testing.assert_close(middle, red.flatten() if textured else torch.full((3,), 0.5), atol=0.2, rtol=0)
    with torch.no_grad():
        figures = metric.measure(sample, model)
    share = float(np.mean(_similarities(clip, shown, _pool()).argmax(1) == _pool().index("x")))
    assert figures == {f"r_precision_mesh{'' if textured else '_untextured'}": share}


def test_a_prompt_that_is_not_in_the_pool_is_refused_before_and_while(clip: str, pool: str) -> None:
    metric = RPrecision(RPrecisionSpec(clips=(clip,), pool=pool))
    assert metric.check_prompts(["A Red  chair."]) == ""
    assert "'a sofa' and 1 more" in metric.check_prompts(["x", "a sofa", "a lamp"])
    with pytest.raises(SpecError, match="does not hold the prompt 'a sofa'"):
        metric.measure(_sample("a sofa"), toy_model())


def _protocol(prompts: Path, *metrics: dict[str, Any]) -> Protocol:
    return Protocol(name="mine", summary="mine", prompts=str(prompts), metrics=metrics)


def test_prompts_that_the_pool_lacks_are_told_before_work(clip: str, pool: str, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("x\na sofa\n", encoding="utf-8")
    block = {"type": "r-precision", "clips": [clip], "pool": pool}
    other = {"type": "hull-recall"}
    with pytest.warns(TuneMV3DWarning, match="left out.*'a sofa'"):
        chosen = choose_metrics(_protocol(prompts, block, other))
    assert [each.name for each in chosen.metrics] == ["hull-recall"] and "'a sofa'" in chosen.skipped["r-precision"]
    with pytest.raises(SpecError, match="'a sofa'"):
        choose_metrics(_protocol(prompts, other), [json.dumps(block)])


def test_scores_are_kept_by_the_weights_of_the_judge(pool: str, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("x\n", encoding="utf-8")
    keys = []
    for seed in (0, 0, 1):
        folder = write_tiny_clip(tmp_path / "judge", seed)
        load_clip.cache_clear()
        block = {"type": "r-precision", "clips": [str(folder)], "pool": pool}
        (metric,) = choose_metrics(_protocol(prompts, block)).metrics
        assert metric.description()["models"][0].startswith(f"{folder} sha256:")
        keys.append(metric.key(None))
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("name", ["supplement", "park", "dream-fields", "mesh-24"])
def test_the_packaged_protocols_hold_their_prompts(name: str) -> None:
    figures = []
    for length in ("", "-300"):
        protocol = load_protocol(name + length)
        chosen = choose_metrics(protocol)
        assert not chosen.skipped and len(protocol.texts()) == (300 if length else 30)
        figures.append({figure for metric in chosen.metrics for figure in metric.figures})
    assert figures[0] == figures[1] and len(figures[0]) == 2


def test_a_real_objects_caption_joins_the_pool(clip: str, pool: str) -> None:
    metric = RPrecision(RPrecisionSpec(clips=(clip,), pool=pool))
    values = []
    for caption in ("a sofa", "q", "Z9"):
        sample = _sample(caption, 1, record=True)
        similarities = _similarities(clip, sample.images, [*_pool(), caption])
        values.append(float(_voted(similarities) == 5))
        assert metric.measure(sample, toy_model()) == {"r_precision": values[-1]}
    assert 0 < sum(values) < len(values)


def test_the_conditioning_clip_is_told_once(clip: str, pool: str) -> None:
    metric, model = RPrecision(RPrecisionSpec(clips=(clip,), pool=pool)), toy_model()
    model.backbone.text = nn.Module()
    model.backbone.text.encoder = AutoModel.from_pretrained(clip).text_model
    with pytest.warns(TuneMV3DWarning, match="conditioned") as caught:
        metric.measure(_sample("x"), model)
        metric.measure(_sample("x"), model)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"clips": ("no-such-clip",)}, ComponentError, "no-such-clip"),
        ({"pool": "no-such-pool"}, SpecError, "no-such-pool"),
        ({"by": "mesh", "mesher": {"type": "no-such-mesher"}}, ComponentError, "no-such-mesher.*tunemv3d-shape"),
        ({"by": "mesh", "mesh_renderer": {"type": "nobody"}}, ComponentError, "nobody.*tunemv3d-data"),
    ],
)
def test_what_is_not_there_is_refused_by_name(clip: str, options: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        RPrecision(RPrecisionSpec(**({"clips": (clip,)} | options)))


def test_park_needs_a_hundred_candidates(clip: str, pool: str) -> None:
    with pytest.raises(SpecError, match="at least 100"):
        RPrecision(RPrecisionSpec(clips=(clip,), pool=pool, by="park"))
    assert len(load_pool("chairs-100")) == 100
