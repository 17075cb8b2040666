"""What ``tunemv3d data pack`` writes is what training reads: pictures, latents and losses as from the folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tunemv3d_core.assemble import build_component
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.io.posed_images import write_manifest
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.ports import BuildContext
from tunemv3d_data.shards.encoder import backbone_spec
from tunemv3d_data.shards.job import PackJob, run_pack
from tunemv3d_train.batch_sampler import BatchPlan, _shuffled
from tunemv3d_train.latents import LatentCache
from tunemv3d_train.multiview import MultiviewImages
from tunemv3d_train.shards import ShardedImages, build
from tunemv3d_train.spec import ShardsSpec
from tunemv3d_train.streaming import StreamedLatents
from tunemv3d_train.trainer import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pieces of furniture as a folder, as shards with pictures, and as shards with latents too."""
    place = tmp_path_factory.mktemp("furniture")
    source = find_asset("furniture")
    ids = sorted(path.name for path in (source / "objects").iterdir())[:3]
    for id_ in ids:
        shutil.copytree(source / "objects" / id_, place / "folder/objects" / id_)
    write_manifest(place / "folder", "three", dict(zip(ids, ("train", "train", "held_out"), strict=True)))
    for out, latents in (("pictures", ""), ("latents", "furniture-mini")):
        run_pack(PackJob(place / "folder", place / out, objects=1, latents=latents), lambda n: None, lambda n: None)
    return place


def opened(path: Path) -> ShardedImages:
    return build(ShardsSpec(type="shards", path=str(path)))


@pytest.mark.slow
def test_pictures_and_latents_are_the_trainers_own_bitwise(place: Path) -> None:
    folder, shards = MultiviewImages(place / "folder", cache_latents=True), opened(place / "latents")
    views = [list(range(24))] * 3
    for index, cameras in enumerate(views):
        a, b = folder.views(index, cameras), shards.views(index, cameras)
        assert torch.equal(a.images, b.images) and torch.equal(a.alpha, b.alpha) and a.captions == b.captions
    backbone = build_component("backbone", load_spec("furniture-mini").model.backbone, None, BuildContext(CPU))
    t = torch.zeros(3, 24)
    plan = BatchPlan([0, 1, 2], views, [""] * 3, t, t > 0, None, seed=0)
    theirs = LatentCache(folder, backbone, CPU).gather(plan)
    streamed = StreamedLatents(shards, backbone, CPU)
    backbone.vae = None  # whoever encodes now fails
    ours = streamed.gather(plan)
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    assert backbone_spec("sd-mini") == load_spec("furniture-mini").model.backbone


@pytest.mark.slow
def test_furniture_mini_learns_from_shards_what_it_learns_from_the_folder(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forced into the folder's order, losses are equal: bit for bit from packed latents, to rounding from pictures,
    which pass the encoder in other company."""

    def as_in_folders(self: ShardedImages, seed: int, epoch: int, rank: int, world: int) -> list[int]:
        return [self.splits()["train"][i] for i in _shuffled(seed, epoch, 2)]

    monkeypatch.setattr(ShardedImages, "order", as_in_folders)
    small = ["train.steps=2", "train.log_every=1", "sample.steps=1", "train.batch=1", 'train.preview_prompts=["x"]']
    small += ["views.inputs=2", "views.novel=1", "model.field.samples=4", "model.field.hidden=16"]
    runs = {}
    for name, kind in (("folder", "multiview"), ("pictures", "shards"), ("latents", "shards")):
        data = {"type": kind, "path": str(place / name)} | ({"cache_latents": True} if name == "folder" else {})
        outcome = train(load_spec("furniture-mini", [*small, "data=" + json.dumps(data)]), place / f"run-{name}")
        lines = [json.loads(line) for line in (place / f"run-{name}/metrics.jsonl").read_text().splitlines()]
        losses = [line["loss"] for line in lines if "loss" in line]
        runs[name] = (losses, load_file(outcome.checkpoint / "model.safetensors"), outcome.after)
    losses, weights, after = runs["folder"]
    assert len(losses) == 2 and runs["latents"][0] == losses and runs["latents"][2] == after
    assert all(torch.equal(value, runs["latents"][1][name]) for name, value in weights.items())
    assert runs["pictures"][0] == pytest.approx(losses, rel=1e-4)
