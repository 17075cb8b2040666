"""Latents kept on disk: found again, and never used for other pictures, another encoder or damaged files."""

import hashlib
from pathlib import Path

import pytest
import torch
import train_stand_ins as tiny
from PIL import Image
from safetensors.torch import load_file, save_file

from tunemv3d_core.errors import DatasetError
from tunemv3d_train.latents import LatentCache
from tunemv3d_train.multiview import MultiviewImages


class CountingBackbone(tiny.TinyBackbone):
    """Counts the pictures that it encodes; its latents are scaled by ``scale``."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.encoded, self.scale = 0, scale

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        self.encoded += images.shape[1]
        return super().encode_images(images) * self.scale

    def latent_key(self) -> str:
        return hashlib.sha256(str(self.scale).encode()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_dataset(tmp_path / "discs")


def gather(folder: Path, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Latents and alpha of three views of object 1, and how many pictures were encoded for them."""
    backbone = CountingBackbone(scale)
    cache = LatentCache(MultiviewImages(folder, cache_latents=True), backbone, torch.device("cpu"))
    before = backbone.encoded
    return *cache.gather(tiny.plan_of([1], [[4, 0, 2]])), backbone.encoded - before


def test_the_second_run_encodes_nothing_and_sees_the_same(folder: Path) -> None:
    data = MultiviewImages(folder)
    plain = LatentCache(data, CountingBackbone(), torch.device("cpu")).gather(tiny.plan_of([1], [[4, 0, 2]]))
    views = data.record(1).views
    first, second = gather(folder), gather(folder)
    assert (first[2], second[2]) == (views, 0)
    for wanted, one, two in zip(plain, first[:2], second[:2], strict=True):
        assert torch.equal(wanted, one) and torch.equal(wanted, two)
    kept = sorted(path.relative_to(folder).parts[0] for path in folder.rglob("*.safetensors"))
    assert kept == ["latents"]


def test_another_picture_or_another_encoder_is_encoded_anew(folder: Path) -> None:
    first = gather(folder)
    scaled = gather(folder, scale=2.0)
    assert scaled[2] > 0 and torch.allclose(scaled[0], 2 * first[0])
    path = folder / "objects/disc1/004.webp"
    Image.fromarray(tiny.disc(2, 0)).save(path, lossless=True, exact=True)
    changed = gather(folder)
    assert changed[2] > 0 and not torch.equal(changed[0][0, 0], first[0][0, 0])
    assert torch.equal(changed[0][0, 1:], first[0][0, 1:])


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_a_damaged_file_is_noticed_and_written_again(folder: Path, damage: str) -> None:
    first = gather(folder)
    (path,) = folder.rglob("disc1.safetensors")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            stated = file.metadata()
        save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path, metadata=stated)
    again = gather(folder)
    assert again[2] > 0 and torch.equal(again[0], first[0])
    assert gather(folder)[2] == 0


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "latents").write_text("")
    with pytest.raises(DatasetError, match=r"data\.cache_latents: .*latents.* cannot be written.*set .* to false"):
        gather(folder)
