"""The dataset ``shards``: it gives what the folder gives, in an order of its own, and every damage is named."""

import json
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
import train_stand_ins as tiny
from safetensors.torch import load_file
from train_ranks import train_by_two

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import ViewsSpec
from tunemv3d_core.errors import DatasetError, SpecError
from tunemv3d_core.io.shards import PackedObject, Shard, ShardIndex, contents
from tunemv3d_core.slots import HonoursOptOut, Streams
from tunemv3d_train import batches
from tunemv3d_train.batch_sampler import BatchSampler, _shuffled
from tunemv3d_train.latents import LatentCache
from tunemv3d_train.multiview import MultiviewImages
from tunemv3d_train.shards import ShardedImages, build
from tunemv3d_train.spec import ShardsSpec
from tunemv3d_train.streaming import ReadAhead, StreamedLatents
from tunemv3d_train.trainer import train

CPU = torch.device("cpu")


def latents_of(folder: Path) -> dict[str, torch.Tensor]:
    """What the trainer's own cache makes of a folder's pictures."""
    data = MultiviewImages(folder.parents[1])
    index = [data.record(i).id for i in range(len(data))].index(folder.name)
    latents, alpha = LatentCache(data, tiny.TinyBackbone(), CPU).gather(tiny.plan_of([index], [list(range(10))]))
    return {"latents": latents[0].clone(), "alpha": alpha[0].clone()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_dataset(tmp_path / "discs", splits=("train",) * 7 + ("held_out",) * 2)


@pytest.fixture
def packed(folder: Path, tmp_path: Path) -> Path:
    return tiny.pack(folder, tmp_path / "packed")


def test_an_opt_out_list_leaves_objects_out_of_every_split(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("disc1\ndisc8\n")
    data = opened(packed, opt_out=str(tmp_path / "list.txt"))
    everything = opened(packed)
    assert isinstance(data, HonoursOptOut) and data.opted_out == 2 and everything.opted_out == 0
    assert data.splits() == {"train": [0, 2, 3, 4, 5, 6], "held_out": [7]}
    assert sorted(data.order(0, 0, 0, 1)) == data.splits()["train"]
    assert [data.record(i).id for i in (2, 7)] == [everything.record(i).id for i in (2, 7)] == ["disc2", "disc7"]


def opened(path: Path | str, **options: Any) -> ShardedImages:
    return build(ShardsSpec(type="shards", path=str(path), **options))


def test_objects_are_those_of_the_folder(folder: Path, packed: Path) -> None:
    ours, theirs = opened(packed), MultiviewImages(folder)
    assert isinstance(ours, Streams) and not isinstance(theirs, Streams)
    assert ours.splits() == theirs.splits() and len(ours) == len(theirs) == 9
    for index in range(9):
        mine, record = ours.record(index), theirs.record(index)
        assert (mine.id, mine.captions, mine.files, mine.licence) == (
            record.id,
            record.captions,
            record.files,
            record.licence,
        )
        assert torch.equal(mine.cameras.camera_to_world, record.cameras.camera_to_world)
        a, b = ours.views(index, [4, 0, 7]), theirs.views(index, [4, 0, 7])
        assert torch.equal(a.images, b.images) and torch.equal(a.alpha, b.alpha)
        assert torch.equal(a.cameras.intrinsics, b.cameras.intrinsics) and a.captions == b.captions
        listed = ours.object_infos()[index]
        assert (listed.id, listed.views, listed.creator) == (record.id, 10, "nobody")


def test_an_epoch_shows_every_object_once_and_a_process_keeps_to_its_shards(packed: Path) -> None:
    data = opened(packed)
    for world in (1, 2, 3):
        stretches = [{frozenset(data.order(5, epoch, rank, world)) for epoch in range(4)} for rank in range(world)]
        assert all(len(each) == 1 for each in stretches)
        seen = Counter(index for rank in range(world) for index in data.order(5, 0, rank, world))
        assert seen == Counter(range(7))
    assert data.order(5, 1, 0, 1) == opened(packed).order(5, 1, 0, 1)
    orders = {tuple(data.order(seed, epoch, 0, 1)) for seed in range(3) for epoch in range(5)}
    assert len(orders) == 15


def test_about_a_window_of_shards_is_read_at_once(packed: Path) -> None:
    """400 objects in 40 shards: none is left before all but a few of those begun before it are finished."""
    data = opened(packed, window=4)
    objects = [PackedObject(f"o{i}", 10, "", "", "train", i // 10, i % 10, (1, 0, 0), (0, 0, 0)) for i in range(400)]
    data._index = ShardIndex("many", (16, 16), None, [Shard(f"{i}.tar", 10, "") for i in range(40)], objects)
    data._train = np.arange(400)
    order = [index // 10 for index in data.order(1, 0, 0, 1)]
    first, last = [[seq.index(shard) for shard in range(40)] for seq in (order, order[::-1])]
    at_once = [sum(first[s] <= place <= 399 - last[s] for s in range(40)) for place in range(400)]
    assert max(at_once) <= 5 and sorted(order) == sorted(i // 10 for i in range(400))
    assert sum(a != b for a, b in pairwise(order)) > 250


def test_draws_do_not_depend_on_the_threads_that_read_them(packed: Path) -> None:
    def draws(workers: int) -> list[Any]:
        data = opened(packed)
        latents = StreamedLatents(data, tiny.TinyBackbone(), CPU)
        options = {"seed": 3, "batch": 2, "timesteps": 1000, "cells": 64}
        sampler = BatchSampler(data, data.splits()["train"], ViewsSpec(inputs=4, novel=3), **options)
        ahead = ReadAhead(sampler, latents, data.expect, 12, workers)
        return [(draw.objects, draw.views, *latents.gather(draw)) for draw in map(ahead.plan, range(2, 12))]

    for one, other in zip(draws(1), draws(5), strict=True):
        assert one[:2] == other[:2]
        assert torch.equal(one[2], other[2]) and torch.equal(one[3], other[3])


def test_packed_latents_are_used_only_for_their_own_encoder(folder: Path, tmp_path: Path) -> None:
    asked = ([1, 8], [[4, 0], [2, 3]])
    wanted = LatentCache(MultiviewImages(folder), tiny.TinyBackbone(), CPU).gather(tiny.plan_of(*asked))

    class Blind(tiny.TinyBackbone):
        def encode_images(self, images: torch.Tensor) -> torch.Tensor:
            raise AssertionError("encoded")

    data = opened(tiny.pack(folder, tmp_path / "own", latents=latents_of))
    for got, expected in zip(StreamedLatents(data, Blind(), CPU).gather(tiny.plan_of(*asked)), wanted, strict=True):
        assert torch.equal(got, expected)
    other = opened(tiny.pack(folder, tmp_path / "other", latents=latents_of, key="another"))
    with pytest.raises(AssertionError, match="encoded"):
        StreamedLatents(other, Blind(), CPU)
    streamed = StreamedLatents(other, tiny.TinyBackbone(), CPU)
    assert streamed.shape == (3, 8, 8)
    for got, expected in zip(streamed.gather(tiny.plan_of(*asked)), wanted, strict=True):
        assert torch.equal(got, expected)


def losses(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "steps_per_s")} for line in lines]


@pytest.fixture
def spec_path(folder: Path, tmp_path: Path, offered: Path) -> Path:
    return tiny.write_spec(tmp_path / "tiny.json", folder, keep=9)


def streamed(path: Path | str) -> str:
    return "data=" + json.dumps({"type": "shards", "path": str(path)})


@pytest.mark.slow
@pytest.mark.parametrize("latents", [None, latents_of])
def test_in_the_folders_order_training_is_the_folders_bitwise(
    latents: Any, folder: Path, spec_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_in_folders(self: ShardedImages, seed: int, epoch: int, rank: int, world: int) -> list[int]:
        return list(_shuffled(seed, epoch, 7))

    monkeypatch.setattr(ShardedImages, "order", as_in_folders)
    packed = tiny.pack(folder, tmp_path / "packed", latents=latents)
    theirs = train(load_spec(spec_path), tmp_path / "folder")
    ours = train(load_spec(spec_path, [streamed(packed)]), tmp_path / "shards")
    assert losses(tmp_path / "folder") == losses(tmp_path / "shards")
    weights = [load_file(outcome.checkpoint / "model.safetensors") for outcome in (theirs, ours)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    provenance = json.loads((ours.checkpoint / "provenance.json").read_text())["data"]
    assert (provenance["objects"], provenance["licences"]) == (7, {"CC0-1.0": 7})


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    step = run / "checkpoints/step-000006"
    return load_file(step / "model.safetensors") | load_file(step / "state/tensors.safetensors")


def take_back(run: Path) -> None:
    """Leave a run as if it had ended after step 2, in the middle of an epoch."""
    for step in (4, 6):
        shutil.rmtree(run / f"checkpoints/step-{step:06d}")


def test_resuming_equals_no_interruption_bitwise(packed: Path, spec_path: Path, tmp_path: Path) -> None:
    spec = load_spec(spec_path, [streamed(packed)])
    train(spec, tmp_path / "run")
    whole, log = last_weights(tmp_path / "run"), losses(tmp_path / "run")
    take_back(tmp_path / "run")
    more = load_spec(spec_path, [streamed(packed), "data.workers=5", f"data.cache={tmp_path}"])
    train(more, tmp_path / "run", resume=True)
    resumed = last_weights(tmp_path / "run")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert losses(tmp_path / "run") == log


@pytest.mark.slow
def test_two_processes_resume_bitwise(packed: Path, spec_path: Path, offered: Path, tmp_path: Path) -> None:
    arguments = (spec_path, "--set", streamed(packed), "--out", tmp_path / "run")
    train_by_two(offered, tmp_path, *arguments)
    whole = last_weights(tmp_path / "run")
    take_back(tmp_path / "run")
    train_by_two(offered, tmp_path, *arguments, "--resume")
    resumed = last_weights(tmp_path / "run")
    assert len(whole) > 5 and all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_shard_that_is_missing_or_cut_is_named_at_the_start(packed: Path, spec_path: Path, tmp_path: Path) -> None:
    path = packed / "discs-000001.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:-700])
    with pytest.raises(DatasetError, match=rf"discs-000001\.tar: {len(whole) - 700} bytes, .* {len(whole)}: cut"):
        train(load_spec(spec_path, [streamed(packed)]), tmp_path / "run")
    path.unlink()
    with pytest.raises(DatasetError, match=r"discs-000001\.tar: the shard is missing; restore"):
        train(load_spec(spec_path, [streamed(packed)]), tmp_path / "run")
    (packed / "shards.json").unlink()
    with pytest.raises(DatasetError, match=r"packed/shards\.json: no such file"):
        train(load_spec(spec_path, [streamed(packed)]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_byte_that_changed_stops_the_run_where_it_is_read(packed: Path, spec_path: Path, tmp_path: Path) -> None:
    """disc3's pictures are damaged; the steps before it are kept, and the mended run goes on."""
    spec = load_spec(spec_path, [streamed(packed), "train.batch=1", "train.steps=8"])
    data = opened(packed)
    disc3 = data.object_infos()[3]
    assert isinstance(disc3, PackedObject)
    path = packed / f"discs-{disc3.shard:06d}.tar"
    whole = path.read_bytes()
    at = disc3.offset + disc3.sizes[0] + 600
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    step = list(data.order(3, 0, 0, 1)).index(3)
    told = rf"{path.name}: object 'disc3': the shard is damaged .* go on after step {step} with --resume"
    with pytest.raises(DatasetError, match=told if step else "disc3"):
        train(spec, tmp_path / "run")
    path.write_bytes(whole)
    assert train(spec, tmp_path / "run", resume=step > 0).step == 8


@pytest.fixture
def remote(packed: Path) -> str:
    """The shards at an address in memory."""
    address = f"memory://{packed.parent.name}/discs"
    filesystem = fsspec.filesystem("memory")
    for path in packed.iterdir():
        filesystem.pipe(f"/{packed.parent.name}/discs/{path.name}", path.read_bytes())
    return address


def test_an_address_is_fetched_shard_by_shard_into_a_bounded_cache(packed: Path, remote: str, tmp_path: Path) -> None:
    size = max(path.stat().st_size for path in packed.glob("*.tar"))
    data = opened(remote, cache=str(tmp_path / "cache"), cache_gb=3.1 * size / 1e9, window=1)
    here = opened(packed)
    for index in (0, 8, 2, 4, 6, 1):
        assert torch.equal(data.views(index, [3]).images, here.views(index, [3]).images)
        assert 1 <= len(list((tmp_path / "cache").rglob("*.tar"))) <= 3
    assert not list((tmp_path / "cache").rglob("*.part"))
    with pytest.raises(DatasetError, match=r"data\.cache_gb: .* set at least .*, or lower data\.window"):
        opened(remote, cache=str(tmp_path / "cache"), cache_gb=3.1 * size / 1e9)


def test_a_shard_of_another_content_is_refused_and_not_kept(packed: Path, remote: str, tmp_path: Path) -> None:
    filesystem = fsspec.filesystem("memory")
    path = f"/{packed.parent.name}/discs/discs-000000.tar"
    data = opened(remote, cache=str(tmp_path / "cache"))
    filesystem.pipe(path, filesystem.cat_file(path)[:-1] + b"x")
    with pytest.raises(DatasetError, match=r"memory://.*discs-000000\.tar: its sha256 is not the index's"):
        data.record(0)
    filesystem.rm(path)
    with pytest.raises(DatasetError, match=r"memory://.*discs-000000\.tar: no such file"):
        data.record(0)
    assert not list((tmp_path / "cache").rglob("*.tar*"))
    assert data.record(2).id == "disc2"


def test_an_expected_shard_is_fetched_meanwhile_and_a_missing_one_told_later(
    packed: Path, remote: str, tmp_path: Path
) -> None:
    data = opened(remote, cache=str(tmp_path / "cache"))
    data.expect(2)
    data._files._ahead.shutdown(wait=True)
    assert [path.name for path in (tmp_path / "cache").rglob("*.tar")] == ["discs-000001.tar"]


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("gopher://x/y", "(?i)protocol.*gopher"),
        ("memory://nowhere/at/all", r"nowhere/at/all/shards\.json: no such file"),
    ],
)
def test_an_address_that_cannot_be_reached_is_named(address: str, told: str) -> None:
    with pytest.raises(DatasetError, match=told):
        opened(address)


def rewrite(index: Path, content: dict[str, Any]) -> None:
    """Write an index whose contents are wrong, not its checksum."""
    index.write_text(json.dumps({key: value for key, value in content.items() if key != "sha256"}))


def test_an_index_that_does_not_fit_is_named(packed: Path) -> None:
    content = json.loads((packed / "shards.json").read_text())
    changed = json.loads(json.dumps(content))
    changed["objects"][3]["offset"] += 10**9
    rewrite(packed / "shards.json", changed)
    with pytest.raises(DatasetError, match=r"shards\.json: object 'disc3' lies outside its shard"):
        opened(packed)
    rewrite(packed / "shards.json", content | {"format": "other/2"})
    with pytest.raises(DatasetError, match=r"shards\.json: format is 'other/2'"):
        opened(packed)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["shards"][0].update(file="../../evil.tar"),
        lambda c: c["shards"][0].update(file="/tmp/evil.tar"),
        lambda c: c["shards"][0].update(bytes="5"),
        lambda c: c["objects"][0].update(offset=2**70),
        lambda c: c["objects"][0].update(offset=-5),
        lambda c: c["objects"].append(c["objects"][0]),
        lambda c: c.update(size=[float("inf"), 1]),
    ],
)
def test_an_index_that_was_edited_is_refused_at_the_start(packed: Path, change: Any) -> None:
    index = packed / "shards.json"
    content = json.loads(index.read_text())
    change(content)
    rewrite(index, content)
    with pytest.raises(DatasetError, match=r"shards\.json: .*pack the index again"):
        opened(packed)


@pytest.mark.parametrize("change", [{"views": 99}, {"id": "other"}])
def test_an_object_that_is_not_as_the_index_says_is_named(packed: Path, change: dict[str, Any]) -> None:
    index = packed / "shards.json"
    content = json.loads(index.read_text())
    content["objects"][0].update(change)
    rewrite(index, content)
    with pytest.raises(DatasetError, match="in the shard"):
        opened(packed).record(0)


def test_a_packing_without_training_objects_says_so(packed: Path) -> None:
    index = packed / "shards.json"
    content = json.loads(index.read_text())
    for each in content["objects"]:
        each["split"] = "held_out"
    rewrite(index, content)
    with pytest.raises(DatasetError, match="no training objects"):
        opened(packed).order(0, 0, 0, 1)


def test_too_few_views_are_refused_without_reading_an_object(packed: Path) -> None:
    data = opened(packed)
    data._read_head = data._head = None  # type: ignore[assignment, method-assign]
    with pytest.raises(SpecError, match="object 'disc0' has only 10 views"):
        BatchSampler(
            data, data.splits()["train"], ViewsSpec(inputs=8, novel=8), seed=0, batch=1, timesteps=10, cells=64
        )


def test_an_index_of_many_objects_is_small() -> None:
    import tracemalloc

    def objects(count: int) -> Any:
        for i in range(count):
            yield PackedObject(f"object-{i:09d}", 24, "CC0-1.0", "nobody", "train", i % 7, i, (9, 9, 9), (1, 2, 3))

    tracemalloc.start()
    index = ShardIndex("many", (1, 1), None, [], objects(20_000))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 200 * len(index) and index[12_345].id == "object-000012345"
    assert index[12_345] == next(each for each in objects(20_000) if each.offset == 12_345)


def test_captions_are_forgotten_beyond_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "TEXT_BYTES", 3 * 40)
    backbone = tiny.TinyBackbone()
    cache = batches.TextCache(backbone)
    captions = ["a" * i for i in range(1, 9)]
    for asked in (captions, captions[:2], captions[::-1]):
        assert torch.equal(cache.gather(asked).tokens, backbone.encode_text(asked).tokens)
    assert len(cache._known) == 4


@pytest.mark.parametrize("size", [b"-0000001000", b"-0000000001", b"77777777777", b"00000002000"])
def test_a_member_larger_than_its_run_or_smaller_than_nothing_ends_it(size: bytes) -> None:
    header = bytearray(512)
    header[124:135] = size
    with pytest.raises(ValueError, match="does not fit"):
        contents(bytes(header) + bytes(512))
