"""Packing: shards that WebDataset reads, an index that finds every object, and nothing done twice or by halves."""

import hashlib
import json
import shutil
import tarfile
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from filelock import FileLock
from PIL import Image
from typer.testing import CliRunner

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import ComponentError, DatasetError, SpecError
from tunemv3d_core.io.posed_images import PosedImages, write_manifest, write_object
from tunemv3d_core.io.shards import contents, parse_index, sample_key
from tunemv3d_data.commands import app
from tunemv3d_data.commands.pack import parse_size
from tunemv3d_data.shards import job as packing
from tunemv3d_data.shards.job import PackJob, run_pack

SPLITS = {"chair.v2": "train", "bed": "held_out", "ärm": "train", "l" * 130: "train", "table": "train"}
VIEWS = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five objects with names that tar and WebDataset find hard, each with a depth map."""
    folder = tmp_path / "things"
    for number, id_ in enumerate(SPLITS):
        here = folder / "objects" / id_
        here.mkdir(parents=True)
        files = tuple(f"{k:03d}.webp" for k in range(VIEWS))
        for k, file in enumerate(files):
            Image.fromarray(np.full((8, 8, 4), 50 * number + k, np.uint8)).save(here / file, lossless=True, exact=True)
            Image.fromarray(np.full((8, 8), 1000 * k, np.uint16)).save(here / f"{k:03d}.depth.png")
        licence = "CC0-1.0" if number else "CC-BY-4.0"
        record = PosedImages(id_, Cameras.orbit(VIEWS), (8, 8), (f"thing {number}",), files, licence, "me", "here")
        write_object(here, record)
        content = json.loads((here / "transforms.json").read_text())
        for k, frame in enumerate(content["frames"]):
            frame["depth_file_path"] = f"{k:03d}.depth.png"
        (here / "transforms.json").write_text(json.dumps(content))
    write_manifest(folder, "things", SPLITS)
    (folder / "ATTRIBUTION.md").write_text("# Attribution\n")
    return folder


def packed(folder: Path, out: Path, **options: Any) -> packing.Packed:
    return run_pack(PackJob(folder, out, **options), lambda total: None, lambda count: None)


def held(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}


def test_webdataset_reads_every_object_with_its_files(folder: Path, tmp_path: Path) -> None:
    packed(folder, tmp_path / "out", objects=2)
    urls = sorted(map(str, (tmp_path / "out").glob("*.tar")))
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert sorted(sample["__key__"] for sample in samples) == sorted(map(sample_key, SPLITS))
    for sample in samples:
        here = folder / "objects" / json.loads(sample["transforms.json"])["id"]
        files = {name: content for name, content in sample.items() if not name.startswith("__")}
        assert files == {path.name: path.read_bytes() for path in here.iterdir()}


def test_the_index_finds_every_object_by_one_range(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    packed(folder, out, objects=2)
    index = parse_index(json.loads((out / "shards.json").read_text()), "here")
    assert [each.id for each in index] == list(SPLITS) and [each.split for each in index] == list(SPLITS.values())
    assert [shard.file for shard in index.shards] == ["things-000000.tar", "things-000001.tar", "things-000002.tar"]
    for shard in index.shards:
        data = (out / shard.file).read_bytes()
        assert (shard.bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    for each in index:
        data = (out / index.shards[each.shard].file).read_bytes()
        stops = np.cumsum([each.offset, *each.sizes])
        runs = [data[a:b] for a, b in pairwise(stops)]
        assert [zlib.crc32(run) for run in runs] == list(each.crc32)
        here = folder / "objects" / each.id
        assert contents(runs[0]) == [(here / "transforms.json").read_bytes()]
        assert contents(runs[1]) == [(here / f"{k:03d}.webp").read_bytes() for k in range(VIEWS)]
        assert contents(runs[2]) == [(here / f"{k:03d}.depth.png").read_bytes() for k in range(VIEWS)]
        assert (each.views, each.creator, each.source) == (VIEWS, "me", "here")
    assert {each.licence for each in index} == {"CC0-1.0", "CC-BY-4.0"}
    assert len({each.split for each in index if each.shard == index[1].shard}) == 1
    assert (out / "ATTRIBUTION.md").read_text() == "# Attribution\n"


def test_a_shard_keeps_to_its_size(folder: Path, tmp_path: Path) -> None:
    index = packed(folder, tmp_path / "out", shard_bytes=20_000).index
    assert len(index.shards) == 3
    # Two objects have names that take two blocks more a member; tar fills the last record.
    longest = 20_000 + 2 * 2 * tarfile.BLOCKSIZE * (2 * VIEWS + 1) + tarfile.RECORDSIZE
    assert all(shard.bytes < longest for shard in index.shards)
    assert len(packed(folder, tmp_path / "each", shard_bytes=1).index.shards) == len(SPLITS)


def test_an_interrupted_packing_goes_on_and_gives_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed(folder, tmp_path / "whole", objects=2)
    done: list[int] = []

    def interrupt(count: int) -> None:
        done.append(count)
        if len(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_pack(PackJob(folder, tmp_path / "parts", objects=2), lambda total: None, interrupt)
    assert [path.name for path in sorted((tmp_path / "parts").glob("*.tar*"))] == ["things-000000.tar"]
    written = (tmp_path / "parts/things-000000.tar").stat().st_mtime_ns
    resumed = packed(folder, tmp_path / "parts", objects=2)
    assert resumed.kept == 1 and (tmp_path / "parts/things-000000.tar").stat().st_mtime_ns == written
    assert held(tmp_path / "parts") == held(tmp_path / "whole")
    with pytest.raises(DatasetError, match=r"shards\.json: a finished packing; use another --out"):
        packed(folder, tmp_path / "parts", objects=2)


def test_what_changed_since_the_interruption_is_packed_anew(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done: list[int] = []

    def interrupt(count: int) -> None:
        done.append(count)
        if len(done) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_pack(PackJob(folder, out, objects=1), lambda total: None, interrupt)
    assert len(list(out.glob("*.tar"))) == 4
    assert packed(folder, out, objects=3).kept == 0
    assert sorted(path.name for path in out.glob("*.tar")) == [
        "things-000000.tar",
        "things-000001.tar",
        "things-000002.tar",
    ]
    assert not list(out.glob("*unfinished*"))
    packed(folder, tmp_path / "fresh", objects=3)
    assert held(out) == held(tmp_path / "fresh")


def test_a_bad_dataset_or_folder_is_refused_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(folder, tmp_path / "bad")
    (tmp_path / "bad/objects/bed/001.webp").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"bed/001\.webp: the picture is damaged"):
        packed(tmp_path / "bad", out)
    (folder / "objects/table/002.depth.png").unlink()
    with pytest.raises(DatasetError, match=r"table/002\.depth\.png: no such file"):
        packed(folder, out)
    with pytest.raises(SpecError, match="no spec 'nothing'"):
        packed(folder, out, latents="nothing")
    with pytest.raises(ComponentError, match="no/where"):
        packed(folder, out, latents="/no/where")
    assert not out.exists()
    out.mkdir()
    (out / "backup.tar").write_text("precious")
    with pytest.raises(DatasetError, match=r"backup\.tar: no part of a packing"):
        packed(folder, out)
    assert [path.name for path in out.iterdir()] == ["backup.tar"]


def test_two_packings_into_one_folder_do_not_mix(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    out.mkdir()
    with FileLock(out / ".lock"), pytest.raises(DatasetError, match="another process packs into this folder"):
        packed(folder, out)
    assert not list(out.glob("*.tar"))
    packed(folder, out)  # what a killed process left locks nobody out
    assert {path.suffix for path in out.iterdir()} == {".tar", ".json", ".md"}
    with pytest.raises(DatasetError, match="a finished packing"), packing._alone(PackJob(folder, out)):
        pass  # as one that looked at the folder before the first was done
    assert {path.suffix for path in out.iterdir()} == {".tar", ".json", ".md"}


def test_the_command_reports_as_json(folder: Path, tmp_path: Path) -> None:
    arguments = ["pack", str(folder), "--out", str(tmp_path / "out"), "--shard-size", "1GiB", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["shards"] == ["things-000000.tar", "things-000001.tar"] and told["objects"] == 5
    assert told["licences"] == {"CC-BY-4.0": 1, "CC0-1.0": 4} and told["latent_key"] is None


def test_sizes_are_read_with_their_units() -> None:
    sizes = ("256MB", "1.5 GiB", "1000", "64kb")
    assert [parse_size(text) for text in sizes] == [256_000_000, 1_610_612_736, 1000, 64_000]
    for text in ("", "0MB", "MB", "12 parsec", "-3MB"):
        with pytest.raises(DatasetError, match="--shard-size"):
            parse_size(text)
