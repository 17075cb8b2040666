"""Meshes as ``tunemv3d mesh`` writes them, on the page of ``tunemv3d report``, in a headless browser."""

import json
from pathlib import Path

import pytest
import show_toys as toys
import torch
from show_browser import Browser, needs_chromium
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.generated import GeneratedBy
from tunemv3d_core.slots import Pictures
from tunemv3d_shape.export import write_mesh
from tunemv3d_shape.generate import textured
from tunemv3d_shape.spec import MarchingCubesSpec
from tunemv3d_shape.surface import extract_surface
from tunemv3d_show.compose import write_page
from tunemv3d_show.gather import gather

pytestmark = [needs_chromium, pytest.mark.slow]

RED, BLUE = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)


class Ball:
    """A ball of radius 0.5 that every view shows in one colour: red in front, blue behind."""

    def signed_distance(self, points: Tensor) -> Tensor:
        return points.norm(dim=-1) - 0.5

    def pictures(self, cameras: Cameras) -> Pictures:
        front = cameras.origins[:, 1, None, None, None] < 0
        colours = torch.where(front, torch.tensor(RED)[:, None, None], torch.tensor(BLUE)[:, None, None])
        centres = (torch.arange(64) + 0.5) / 64 - 0.5
        # A ball of radius r at distance d fills a circle of focal * r / sqrt(d^2 - r^2).
        inside = centres.square() + centres[:, None].square() < (1.3 * 0.5 / (2.7**2 - 0.5**2) ** 0.5) ** 2
        shown = len(cameras.origins)
        return Pictures(colours.expand(shown, 3, 64, 64).contiguous(), inside.float().expand(shown, 64, 64), cameras)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    ball = Ball()
    # Azimuth 0 is in front; the others look from both sides.
    views = ball.pictures(Cameras.orbit(4, azimuth=45))
    for name in ("a ball", "a chair", "a stool"):
        place = toys.write_object(folder / name.replace(" ", "-"), name)
        made = textured(extract_surface(ball, 32), ball, views, MarchingCubesSpec(faces=1000, texture=128))
        write_mesh(place, "object", made, ("glb",), GeneratedBy("toy"))
    return folder


LOADED = "[...document.querySelectorAll('model-viewer')].every(v => v.loaded)"

MIDDLE = """
new Promise((done) => {
  const viewer = document.querySelector('#p1 model-viewer');
  viewer.removeAttribute('auto-rotate');
  viewer.resetTurntableRotation(0);
  viewer.cameraOrbit = '%s 90deg 105%%';
  viewer.jumpCameraToGoal();
  setTimeout(() => {
    const picture = new Image();
    picture.onload = () => {
      const canvas = Object.assign(document.createElement('canvas'), {width: picture.width, height: picture.height});
      canvas.getContext('2d').drawImage(picture, 0, 0);
      const place = [picture.width / 2, picture.height / 2, 1, 1];
      done([...canvas.getContext('2d').getImageData(...place).data].join(' '));
    };
    picture.src = viewer.toDataURL();
  }, 1500);
})
"""


@pytest.mark.parametrize("compact", [False, True])
def test_every_textured_mesh_loads_and_shows_its_colours_and_nothing_is_asked_for(
    samples: Path, tmp_path: Path, compact: bool
) -> None:
    found = gather([samples])
    write_page(tmp_path / "page.html", found, "Meshes", compact)
    assert found.faults == []
    with Browser() as browser:
        browser.open(tmp_path / "page.html")
        for i in (3, 2, 1):
            browser.run(f"document.getElementById('p{i}').scrollIntoView({{behavior: 'instant'}})")
            browser.wait_for(f"document.querySelector('#p{i} model-viewer') !== null && {LOADED}")
            told = browser.run(
                f"(() => {{ const v = document.querySelector('#p{i} model-viewer'), d = v.getDimensions(), "
                "m = v.model.materials[0].pbrMetallicRoughness; return JSON.stringify("
                "[d.x, d.y, d.z, m.baseColorTexture !== null]) })()"
            )
            *sides, has_texture = json.loads(told)
            assert sides == pytest.approx([1, 1, 1], abs=0.05) and has_texture
        for angle, channel in (("0deg", 0), ("180deg", 2)):
            red, _, blue, _ = map(int, browser.run(MIDDLE % angle).split())
            assert (red, blue)[channel // 2] > 2 * (blue, red)[channel // 2], (angle, red, blue)
        browser.run("1")
        assert browser.errors == []
        asked = {address for address in browser.requests if not address.startswith(("data:", "blob:"))}
        assert asked == {(tmp_path / "page.html").resolve().as_uri()}
