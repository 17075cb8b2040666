"""A flipped bit in any file that is read again: it is noticed, or what is read is the same to the last bit."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import train_stand_ins as tiny
from disturbed import training
from harness import FULL, Zygote
from safetensors.torch import load_file
from tally import Tally

from tunemv3d_core.errors import CheckpointError, TuneMV3DError
from tunemv3d_core.io.checkpoint import check_checkpoint, run_checkpoints
from tunemv3d_core.io.opt_out import OptOut
from tunemv3d_core.plugins.registry import registry
from tunemv3d_data.shards.job import PackJob, run_pack
from tunemv3d_train.continuity import check_unchanged, dataset_fingerprint
from tunemv3d_train.latents import LatentCache
from tunemv3d_train.multiview import MultiviewImages
from tunemv3d_train.shard_files import Address
from tunemv3d_train.shards import ShardedImages

FLIPS = 300 if FULL else 12
"""Of each kind, file after file."""


@pytest.fixture(autouse=True)
def tiny_components(offered: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(offered))
    registry().clear()
    yield
    registry().clear()


def flip(path: Path, draw: random.Random) -> str:
    """Flip one bit of a file; what was done."""
    content = bytearray(path.read_bytes())
    place, bit = draw.randrange(len(content)), draw.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"{path.name}, byte {place}, bit {bit}"


def try_flips(folder: Path, tally: Tally, look: Callable[[], Any], files: str = "*") -> None:
    """Flip bits in all files of a folder in turn; ``look`` reads them, and raises or returns what it read."""
    draw, before = random.Random(7), look()
    paths = sorted(path for path in folder.rglob(files) if path.is_file())
    for number in range(FLIPS):
        path = paths[number % len(paths)]
        whole = path.read_bytes()
        done = flip(path, draw)
        with tally.attempt(done):
            try:
                found = look()
            except TuneMV3DError as error:
                assert str(error).count("\n") <= 1, f"{done}: {error}"  # a second line says how to load it anyway
            else:
                assert found == before, f"{done}: read as if nothing were wrong"
        path.write_bytes(whole)
    tally.close()


@pytest.mark.faults
def test_of_a_checkpoint(zygote: Zygote, tmp_path: Path) -> None:
    job = training(zygote, tmp_path)
    (checkpoint,) = run_checkpoints(job.root)

    def look() -> None:
        check_checkpoint(checkpoint, state=True)
        raise AssertionError("passes as whole")

    draw, tally = random.Random(3), Tally("flipped bits", "checkpoint")
    paths = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    for number in range(FLIPS):
        path = paths[number % len(paths)]
        whole = path.read_bytes()
        done = flip(path, draw)
        with tally.attempt(done), pytest.raises(CheckpointError):
            look()
        path.write_bytes(whole)
    tally.close()


@pytest.mark.faults
def test_of_a_checkpoint_and_the_run_goes_on_from_the_one_before(zygote: Zygote, tmp_path: Path) -> None:
    data = tiny.write_dataset(tmp_path / "discs")
    run, spec = tmp_path / "run", tiny.write_spec(tmp_path / "tiny.json", data)
    command = ("tunemv3d-train", spec, "--out", run)
    zygote.run(*command).went_well()
    (tmp_path / "whole").mkdir()
    shutil.copytree(run, tmp_path / "whole/run")
    newest = run_checkpoints(run)[-1].relative_to(run)
    end = load_file(run / newest / "model.safetensors")
    names = sorted(str(p.relative_to(run)) for p in (run / newest).rglob("*") if p.is_file())
    draw, tally = random.Random(5), Tally("flipped bits", "checkpoint, resumed")
    for number in range(50 if FULL else 2):
        shutil.rmtree(run)
        shutil.copytree(tmp_path / "whole/run", run)
        done = flip(run / names[number % len(names)], draw)
        with tally.attempt(done):
            told = zygote.run(*command, "--resume").went_well().err
            assert f"{newest.name} is damaged and is kept as" in told, told
            found = load_file(run / newest / "model.safetensors")
            assert all(torch.equal(found[name], end[name]) for name in end)
    tally.close()


@pytest.mark.faults
def test_of_a_dataset(tmp_path: Path) -> None:
    """A run that goes on compares the dataset with what it learned from."""
    folder = tiny.write_dataset(tmp_path / "discs", views=4)
    learned_from = dataset_fingerprint(MultiviewImages(folder))

    def look() -> Any:
        data = MultiviewImages(folder)
        check_unchanged({"data": learned_from}, dataset_fingerprint(data), 1, tmp_path)
        return [data.splits(), *(data.views(i, [0, 1, 2, 3]).images.numpy().tobytes() for i in range(len(data)))]

    try_flips(folder, Tally("flipped bits", "dataset"), look)


@pytest.mark.faults
def test_of_latents(tmp_path: Path) -> None:
    folder = tiny.write_dataset(tmp_path / "discs", views=4)
    backbone = tiny.TinyBackbone()

    def look() -> Any:
        cache = LatentCache(MultiviewImages(folder, cache_latents=True), backbone, torch.device("cpu"))
        cache.fill(range(5))
        return cache._latents.numpy().tobytes(), cache._alpha.numpy().tobytes()

    look()
    try_flips(folder / "latents", Tally("flipped bits", "latents"), look)


@pytest.mark.faults
def test_of_shards(tmp_path: Path) -> None:
    folder, out = tiny.write_dataset(tmp_path / "discs", views=4), tmp_path / "packed"
    (tmp_path / "spec").mkdir()
    spec = tiny.write_spec(tmp_path / "spec/tiny.json", folder)
    run_pack(PackJob(folder, out, objects=2, latents=str(spec)), lambda n: None, lambda n: None)
    key = tiny.TinyBackbone().latent_key()

    def look() -> Any:
        data = ShardedImages(Address(str(out)), tmp_path, 10**9, 2, 1, OptOut())
        found: list[Any] = [list(data.object_infos()), data.splits(), data.latent_shape(key)]
        for index in range(len(data)):
            record, views = data.record(index), data.views(index, [0, 1, 2, 3])
            found += [record.id, record.captions, record.licence, record.creator, record.cameras.intrinsics.tolist()]
            found += [record.cameras.camera_to_world.tolist(), views.images.numpy().tobytes()]
            found += [tensor.numpy().tobytes() for tensor in data.latents(index, [0, 1, 2, 3])]
        return found

    try_flips(out, Tally("flipped bits", "shards"), look)
