"""Pages hold what the dataset says, ask nothing of any network, and draw the object where it is."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import trimesh
from PIL import Image
from typer.testing import CliRunner

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.depth_normals import save_depth
from tunemv3d_core.io.posed_images import PosedImages, read_object, write_manifest, write_object
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.commands import app
from tunemv3d_data.doctor.views import ObjectViews
from tunemv3d_data.meshes.mesh import RADIUS, from_trimesh
from tunemv3d_data.pages.cloud import cloud
from tunemv3d_data.pages.write import scene_of
from tunemv3d_data.renderers.embree import EmbreeRenderer
from tunemv3d_data.rendering.viewpoints import viewpoints

NAMES = ("ball", "two words & <more>")
RED = (200, 40, 30)


class Links(HTMLParser):
    """Collects what a page loads or links to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [str(value) for key, value in attrs if key in ("src", "href", "srcset", "poster", "data")]


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red ball of radius 0.9, twice, once with depth."""
    root = tmp_path_factory.mktemp("balls") / "balls"
    ball = trimesh.creation.icosphere(4)
    ball.visual.vertex_colors = np.uint8((*RED, 255))
    cameras = viewpoints("ball", 12)
    views = list(EmbreeRenderer(2)(from_trimesh(ball), cameras, (64, 64)))
    for name in NAMES:
        folder = root / "objects" / name
        folder.mkdir(parents=True)
        for index, view in enumerate(views):
            Image.fromarray(np.asarray(view["rgba"])).save(folder / f"{index:03d}.png")
            save_depth(folder / f"{index:03d}.depth.png", np.asarray(view["depth"]))
        pictures, depth = ([f"{i:03d}.{kind}" for i in range(12)] for kind in ("png", "depth.png"))
        caption = f"a red ball, </script><b>{name}</b>"
        record = PosedImages(
            name, cameras, (64, 64), (caption,), tuple(pictures), "CC-BY-4.0", "A. Maker", "a <shop>", {},
            tuple(depth) if name == NAMES[1] else (),
        )  # fmt: skip
        write_object(folder, record)
    write_manifest(root, "balls", dict(zip(NAMES, ("train", "held_out"), strict=True)))
    return root


def views_of(root: Path, name: str) -> ObjectViews:
    folder = root / "objects" / name
    return ObjectViews(read_object(folder), folder)


def test_points_of_the_hull_enclose_the_ball_and_have_its_colour(balls: Path) -> None:
    found = cloud(views_of(balls, NAMES[0]))
    radius = np.linalg.norm(found.points, axis=1)
    assert len(found.points) > 500
    assert RADIUS - 2 * found.spacing < radius.min() and radius.max() < RADIUS + 4 * found.spacing
    red, green, blue = found.colours.mean(0)
    assert red > 2.5 * green and red > 2.5 * blue


def test_points_from_depth_lie_on_the_ball(balls: Path) -> None:
    found = cloud(views_of(balls, NAMES[1]))
    radius = np.linalg.norm(found.points, axis=1)
    assert np.abs(np.median(radius) - RADIUS) < 0.01 and np.quantile(np.abs(radius - RADIUS), 0.9) < 0.03


def test_the_scene_holds_the_cameras(balls: Path) -> None:
    views = views_of(balls, NAMES[0])
    scene = json.loads(json.dumps(scene_of(views)))
    for camera, pose in zip(scene["cameras"], views.poses, strict=True):
        axes = np.array([camera["right"], camera["down"], camera["forward"], camera["at"]]).T
        assert np.abs(axes - pose[:3]).max() < 1e-4
        middle = np.array(camera["at"]) + 2.7 * np.array(camera["forward"])
        assert np.abs(middle).max() < 1e-3


def test_pages_need_nothing_but_their_folder(balls: Path, tmp_path: Path) -> None:
    out = tmp_path / "pages"
    assert CliRunner().invoke(app, ["show", str(balls), "--out", str(out)]).exit_code == 0
    pages = sorted(out.rglob("*.html"))
    assert len(pages) == 3
    for page in pages:
        text = page.read_text(encoding="utf-8")
        parser = Links()
        parser.feed(text)
        assert len(parser.found) >= 3
        for link in parser.found:
            assert (page.parent / unquote(link)).is_file(), (page, link)
        assert not re.search(r"@import|url\(|fetch\(|XMLHttp|https?://", text)
    assert Image.open(out / "contact.webp").size == (192, 96)
    index = (out / "index.html").read_text(encoding="utf-8")
    assert index.count('loading="lazy"') == 2 and "1 of them held out" in index


def test_words_of_the_dataset_are_shown_and_never_run(balls: Path, tmp_path: Path) -> None:
    out = tmp_path / "pages"
    CliRunner().invoke(app, ["show", str(balls), "--out", str(out), "--objects", NAMES[1]])
    text = (out / "objects" / NAMES[1] / "index.html").read_text(encoding="utf-8")
    assert "a red ball, &lt;/script&gt;&lt;b&gt;" in text and "a &lt;shop&gt;" in text and "CC-BY-4.0" in text
    assert "<b>" not in text and text.count("</script>") == 2 and text.count("<figure ") == 12


def test_what_cannot_be_shown_is_left_out_and_named(balls: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(balls, tmp_path / "balls"))
    (root / "objects" / NAMES[0] / "004.png").unlink()
    result = CliRunner().invoke(app, ["show", str(root), "--out", str(tmp_path / "pages"), "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == 1 and report["objects"] == 1 and "004.png" in report["faults"][NAMES[0]]
    assert "004.png" in (tmp_path / "pages" / "objects" / NAMES[0] / "index.html").read_text()
    assert NAMES[0] not in re.findall(r'data-words="(\w+)', (tmp_path / "pages" / "index.html").read_text())


def test_objects_are_chosen_by_name_or_number(tmp_path: Path) -> None:
    chairs = find_asset("chairs")
    for chosen, count in (("3", 3), ("scopia-office-chair", 1)):
        out = tmp_path / chosen
        result = CliRunner().invoke(app, ["show", "chairs", "--out", str(out), "--objects", chosen, "--json"])
        assert json.loads(result.stdout)["objects"] == count == len(list((out / "objects").iterdir()))
    for option, words in (("--objects", "no object 'sofa'"), ("--out", "only read")):
        value = "sofa" if option == "--objects" else str(chairs / "pages")
        refused = CliRunner().invoke(app, ["show", str(chairs), option, value])
        assert isinstance(refused.exception, DatasetError) and words in str(refused.exception)
