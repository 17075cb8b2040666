"""The page without a browser: what it holds, what it says of broken things, and that it is written whole."""

import base64
import gzip
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import show_toys as toys
from PIL import Image
from typer.testing import CliRunner

from tunemv3d_core.console import _as_typer
from tunemv3d_core.errors import SampleError, TuneMV3DError
from tunemv3d_core.io.generated import GeneratedBy, save_picture
from tunemv3d_show.compose import model_viewer
from tunemv3d_show.gather import gather
from tunemv3d_show.media import media_of, thumbnail
from tunemv3d_show.report import report


class Page(HTMLParser):
    """A report's addresses, blocks of media by id, and words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.media: dict[str, tuple[str, bytes]] = {}
        self.shown: list[str] = []
        self.articles: list[str] = []
        self.words = ""
        self._block: dict[str, str | None] = {}
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._inside = tag
        self.addresses += [value for key in ("src", "href") if (value := given.get(key)) is not None]
        self.shown += [value for key in ("data-media", "data-mesh") if (value := given.get(key))]
        if tag == "article" and "object" in (given.get("class") or ""):
            self.articles.append(given["aria-label"] or "")
        if tag == "script" and "data-type" in given:
            self._block = given

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script" and self._block:
            self.media[str(self._block["id"])] = (str(self._block["data-type"]), base64.b64decode(data))
            self._block = {}
        elif self._inside not in ("script", "style"):
            self.words += data


def run(*arguments: object) -> Any:
    return CliRunner().invoke(_as_typer(report), [str(word) for word in arguments])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    toys.small_stills(monkeypatch)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    for i, prompt in enumerate(("a chair", "a <b>bold</b> stool")):
        for seed in (0, 1):
            toys.write_object(tmp_path / f"samples/{i}-{seed}", prompt, seed)
    return tmp_path / "samples"


def test_everything_is_in_the_file_and_each_picture_is_the_one_on_disk(samples: Path, tmp_path: Path) -> None:
    result = run(samples, "--out", tmp_path / "page.html", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["objects"], told["prompts"], told["sources"], told["faults"]) == (4, 2, 1, [])
    assert told["bytes"] == (tmp_path / "page.html").stat().st_size
    page = Page(tmp_path / "page.html")
    assert all(address.startswith(("#", "data:")) for address in page.addresses) and len(page.addresses) > 4
    assert sorted(page.shown) == sorted(page.media) and len(page.media) == 4 * (4 + 4)
    folders = sorted(samples.iterdir())
    for number, folder in enumerate(folders):
        for i in range(4):
            kind, data = page.media[f"o{number}-{i}"]
            assert kind == "image/webp"
            with Image.open(io.BytesIO(data)) as here, Image.open(folder / f"views/{i:03d}.png") as there:
                assert np.array_equal(np.asarray(here.convert("RGBA")), np.asarray(there))
        kinds = {page.media[f"o{number}-{i}"] for i in range(4, 8)}
        meshes = [gzip.decompress(data) for kind, data in kinds if kind == "model/gltf-binary"]
        assert meshes == [(folder / "object.glb").read_bytes()]
        assert ("image/webp", (folder / "turntable.webp").read_bytes()) in kinds
    assert "a <b>bold</b> stool" in page.words and "Ada <Lovelace>" in page.words


def test_pictures_keep_what_made_them_and_the_page_names_no_folder_of_this_machine(
    samples: Path, tmp_path: Path
) -> None:
    packet = GeneratedBy("mine", prompt="a chair").xmp
    for file in samples.glob("*/views/*.png"):
        with Image.open(file) as picture:
            save_picture(picture, file, packet)
    (samples / "0-1/views/001.png").unlink()
    manifest = json.loads((samples / "0-0/manifest.json").read_text())
    (samples / "0-0/manifest.json").write_text(json.dumps(manifest | {"checkpoint": str(tmp_path / "runs/mine")}))
    toys.write_run(tmp_path / "run")
    spec = json.loads((tmp_path / "run/spec.json").read_text())
    (tmp_path / "run/spec.json").write_text(json.dumps(spec | {"data": {"path": str(tmp_path / "dataset")}}))
    for small in ([], ["--compact"]):
        assert run(samples, tmp_path / "run", "--out", tmp_path / "page.html", *small).exit_code == 1, "one is missing"
        kind, data = Page(tmp_path / "page.html").media["o0-0"]
        with Image.open(io.BytesIO(data)) as picture:
            assert kind == "image/webp" and picture.info["xmp"] == packet
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert "001.png is missing" in page and ">mine<" in page and str(tmp_path) not in page


def test_sources_stand_side_by_side_for_the_same_prompt_and_seed(samples: Path, tmp_path: Path) -> None:
    shutil.copytree(samples, tmp_path / "other/samples")
    shutil.rmtree(tmp_path / "other/samples/0-1")
    assert run(samples, tmp_path / "other/samples", "--out", tmp_path / "page.html").exit_code == 0
    here, there = f"{tmp_path.name}/samples", "other/samples"
    assert Page(tmp_path / "page.html").articles == [
        f"{prompt}, seed {seed}, {source}"
        for prompt, seed, sources in (
            ("a chair", 0, (here, there)),
            ("a chair", 1, (here,)),
            ("a <b>bold</b> stool", 0, (here, there)),
            ("a <b>bold</b> stool", 1, (here, there)),
        )
        for source in sources
    ]
    assert (tmp_path / "page.html").read_text().count("none here") == 1


def test_a_prompt_that_only_one_source_has_takes_the_whole_width(tmp_path: Path) -> None:
    toys.write_object(tmp_path / "chairs/a", "a chair")
    toys.write_object(tmp_path / "tables/a", "a table")
    assert run(tmp_path / "chairs", tmp_path / "tables", "--out", tmp_path / "page.html").exit_code == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("--columns: 1") == 2 and "none here" not in page


def test_runs_show_their_curves_what_their_specs_differ_in_and_their_samples(tmp_path: Path) -> None:
    runs = [toys.write_run(tmp_path / "slow", 0.1), toys.write_run(tmp_path / "fast", 0.2)]
    toys.write_object(runs[0] / "samples/a", "a chair")
    assert run(*runs, "--out", tmp_path / "page.html", "--title", "Two & more").exit_code == 0
    page = (tmp_path / "page.html").read_text()
    charts = re.findall(r'<svg class="chart".*?</svg>', page, re.S)
    assert len(charts) == 2 and all(chart.count("<polyline") == 2 for chart in charts)
    assert '<th scope="row">optimizer.lr</th><td>0.1</td><td>0.2</td>' in page
    assert "optimizer.eps</th>" not in page
    assert "<title>Two &amp; more</title>" in page
    assert len(Page(tmp_path / "page.html").articles) == 1


def break_view(folder: Path) -> None:
    (folder / "views/001.png").write_bytes((folder / "views/001.png").read_bytes()[:200])


def break_mesh(folder: Path) -> None:
    (folder / "object.glb").write_bytes((folder / "object.glb").read_bytes()[:-5])


def lose_mesh(folder: Path) -> None:
    (folder / "object.glb").unlink()


def break_turntable(folder: Path) -> None:
    (folder / "turntable.webp").write_bytes((folder / "turntable.webp").read_bytes()[:-300])


def break_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"prompt": "a cha')


@pytest.mark.parametrize(
    ("harm", "told", "left"),
    [
        (break_view, "001.png cannot be read", 31),
        (break_mesh, "object.glb cannot be read: no whole GLB file", 31),
        (lose_mesh, "object.glb is missing", 31),
        (break_turntable, "turntable.webp cannot be read", 31),
        (break_manifest, "manifest.json: line 1, column 12: not JSON", 24),
    ],
)
def test_one_broken_thing_is_told_where_it_would_be_and_the_rest_is_shown(
    harm: Any, told: str, left: int, samples: Path, tmp_path: Path
) -> None:
    harm(samples / "0-0")
    result = run(samples, "--out", tmp_path / "page.html")
    assert result.exit_code == 1 and "0-0" in result.stderr and told in result.stderr
    page = Page(tmp_path / "page.html")
    assert page.words.count(told) == (1 if harm is break_manifest else 2)
    assert len(page.media) == left and "What could not be shown" in page.words


def test_bad_input_is_one_message_before_anything_is_written(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "page.html"
    for arguments, error, told in (
        ([tmp_path / "nothing"], SampleError, "no such folder"),
        ([tmp_path / "empty"], SampleError, "neither a run .* nor sampled objects"),
        ([samples, "--out", tmp_path / "no/page.html"], TuneMV3DError, "there is no folder"),
        ([samples, "--out", tmp_path / "empty"], TuneMV3DError, "is a folder"),
        ([samples, "--out", "/proc/page.html"], TuneMV3DError, "cannot be written|not writable"),
    ):
        result = run(*([*arguments, "--out", out] if "--out" not in arguments else arguments))
        assert isinstance(result.exception, error), result.output
        assert re.search(told, str(result.exception))
    assert not out.exists() and not list(tmp_path.rglob("*.part"))


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_older_page(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("older")
    with room(20_000):
        result = run(samples, "--out", tmp_path / "page.html")
    assert isinstance(result.exception, TuneMV3DError) and "Make room" in str(result.exception)
    assert (tmp_path / "page.html").read_text() == "older" and not list(tmp_path.glob("*.part"))


def test_the_viewer_for_meshes_is_carried_only_where_there_is_one(tmp_path: Path) -> None:
    sizes = []
    for mesh in (True, False):
        toys.write_object(tmp_path / f"{mesh}/one", "a chair", mesh=mesh)
        assert run(tmp_path / f"{mesh}", "--out", tmp_path / "page.html").exit_code == 0
        sizes.append((tmp_path / "page.html").stat().st_size)
    assert sizes[0] > 300_000 and sizes[1] < 100_000


def test_an_object_sampled_twice_is_shown_twice(tmp_path: Path) -> None:
    for name in ("a", "a-2"):
        toys.write_object(tmp_path / "samples" / name, "a chair")
    found = gather([tmp_path / "samples"])
    assert [[entry.folder.name for entry in row] for row in found.rows("a chair")] == [["a"], ["a-2"]]


def test_the_viewer_for_meshes_is_packed_and_names_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "let a = '</script>';\n//# sourceMappingURL=model-viewer.min.js.map\n"
    (tmp_path / "model-viewer.min.js.gz").write_bytes(gzip.compress(code.encode()))
    monkeypatch.setattr("tunemv3d_show.compose.PAGE", tmp_path)
    assert gzip.decompress(base64.b64decode(model_viewer())).decode() == "let a = '</script>';\n"


def amend(folder: Path, **changes: Any) -> None:
    """Change a manifest by hand."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_was_measured_of_each_mesh_is_told_with_its_mean(samples: Path, tmp_path: Path) -> None:
    """A figure that is no number counts as not measured."""
    for name, iou, psnr in (
        ("0-0", 0.8125, 21.04),
        ("0-1", 0.9, None),
        ("1-0", float("nan"), "high"),
        ("1-1", True, 0),
    ):
        amend(samples / name, silhouette_iou=iou, views_psnr=psnr)
    result = run(samples, "--out", tmp_path / "page.html", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["means"] == {"samples": {"silhouette_iou": 0.8562, "views_psnr": 10.52}}
    words = Page(tmp_path / "page.html").words
    iou, psnr = "the views' masks: IoU ", "the sampled ones: PSNR "
    assert f"{iou}0.856, the mean of 2 objects" in words and f"{psnr}10.5 dB, the mean of 2 objects" in words
    assert [words.count(f"{iou}{value}") for value in ("0.812", "0.900", "nan", "1.000")] == [1, 1, 0, 0]
    assert [words.count(f"{psnr}{value} dB") for value in ("21.0", "0.0")] == [1, 1]
    shutil.copytree(samples / "0-1", tmp_path / "other/0-1")
    assert run(samples, tmp_path / "other", "--out", tmp_path / "page.html").exit_code == 0
    words = Page(tmp_path / "page.html").words
    assert "other: the mesh's" in words and re.search("masks: IoU 0.900, the mean of 1 object\\s", words)


def test_without_figures_nothing_is_said_of_them(samples: Path, tmp_path: Path) -> None:
    result = run(samples, "--out", tmp_path / "page.html", "--json")
    assert json.loads(result.stdout)["means"] == {"samples": {}}
    assert "IoU" not in Page(tmp_path / "page.html").words


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": ["x"]}, "'data' should be of type dict, not list"),
        ({"data": {"objects": "many"}}, "'data.objects' should be of type int, not str"),
        ({"data": {"licences": ["CC0"]}}, "'data.licences' should be of type dict, not list"),
        ({"data": {"creators": 3}}, "'data.creators' should be of type dict, not int"),
        ({"versions": ["1"]}, "'versions' should be of type dict, not list"),
        ({"notes": 5}, "'notes' should be of type list, not int"),
        ({"seed": None}, "'seed' should be of type int, not NoneType"),
        ({"prompt": "a \ud800 chair"}, "prompt: a text holds half of a character"),
    ],
)
def test_a_manifest_of_wrong_kinds_is_told_and_the_others_are_shown(
    samples: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    amend(samples / "0-0", **changes)
    result = run(samples, "--out", tmp_path / "page.html", "--json")
    assert result.exit_code == 1 and json.loads(result.stdout)["objects"] == 3, result.output
    assert json.loads(result.stdout)["faults"] == [f"{samples / '0-0' / 'manifest.json'}: {said}"]


@pytest.mark.parametrize("way", ["up", "absolute", "link", "pipe"])
def test_pictures_outside_an_objects_folder_are_not_embedded(tmp_path: Path, way: str) -> None:
    entry = tmp_path / "out" / "one"
    (entry / "views").mkdir(parents=True)
    secret = tmp_path / "secret.png"
    Image.fromarray(np.full((8, 8, 3), 77, np.uint8)).save(secret)
    name = {"up": "../../secret.png", "absolute": str(secret)}.get(way, "views/000.png")
    if way == "link":
        (entry / "views/000.png").symlink_to(secret)
    if way == "pipe":
        os.mkfifo(entry / "views/000.png")
    manifest = {"prompt": "a chair", "files": {"views": [name], "strip": name, "mesh": name}}
    (entry / "manifest.json").write_text(json.dumps(manifest))
    (found,) = gather([tmp_path / "out"]).objects
    for medium in media_of(found):
        assert medium.fault and not medium.data and ("lies outside" in medium.fault or way == "pipe")
    assert thumbnail(found) == ""
