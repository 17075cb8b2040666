"""What a person sees of a run while it goes on: the preview's rows, TensorBoard's picture, the folder's page."""

import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_stand_ins as tiny
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import spec_id
from tunemv3d_core.io.checkpoint import load_checkpoint
from tunemv3d_core.io.generated import GeneratedBy
from tunemv3d_core.io.xmp import read_packet
from tunemv3d_core.types import Rendering
from tunemv3d_train.page import write_page
from tunemv3d_train.preview import LINE, Preview, write_rows
from tunemv3d_train.runs import RunFolder
from tunemv3d_train.trainer import train


class Links(HTMLParser):
    def __init__(self, page: Path) -> None:
        super().__init__()
        self.named: list[str] = []
        self.refreshes = self.polylines = 0
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.named += [value for key in ("src", "href") if (value := given.get(key)) and not value.startswith("data:")]
        self.refreshes += given.get("http-equiv") == "refresh"
        self.polylines += tag == "polyline"


def test_rows_hold_the_pictures_that_they_were_given_in_order(tmp_path: Path) -> None:
    rows = {f"row {i}": torch.rand(2, 3, 3, 8, 6) for i in range(3)}
    write_rows(tmp_path / "sheet.png", ["one", "two"], rows, GeneratedBy("toy"))
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * (LINE + 3 * (8 + LINE)), 18, 3)
    for b in range(2):
        for r, pictures in enumerate(rows.values()):
            for n in range(3):
                top = b * (LINE + 3 * (8 + LINE)) + LINE + r * (8 + LINE) + LINE
                seen = sheet[top : top + 8, n * 6 : n * 6 + 6]
                assert np.abs(seen / 255 - pictures[b, n].permute(1, 2, 0).numpy()).max() < 0.003


@pytest.mark.parametrize("knows_normals", [True, False])
def test_the_surface_row_is_lit_from_the_camera_or_brighter_where_it_is_nearer(
    knows_normals: bool, spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_spec(spec_file)
    train(spec, tmp_path / "run")
    _, model = load_checkpoint(tmp_path / "run")

    def planes(scene: object, cameras: Cameras, size: tuple[int, int], normals: bool = False) -> Rendering:
        """A plane that faces every camera in its picture's left half, and above right one at 60 degrees, farther."""
        facing = -cameras.camera_to_world[..., :3, 2][..., None, None].expand(*cameras.shape, 3, *size).clone()
        side = cameras.camera_to_world[..., :3, 0][..., None, None]
        h, w = size[0] // 2, size[1] // 2
        facing[..., :h, w:] = 0.5 * facing[..., :h, w:] + 0.75**0.5 * side
        opacity, depth = torch.ones(*cameras.shape, *size), torch.full((*cameras.shape, *size), 2.0)
        opacity[..., h:, w:], depth[..., :h, w:] = 0, 3.0
        # A slit as wide as one of the picture's pixels.
        opacity[..., h:, w - 1] = 0
        return Rendering(
            opacity[:, :, None].expand(-1, -1, 3, -1, -1), opacity, depth, facing if knows_normals else None
        )

    draw = Preview(model, ["a disc"], Cameras.orbit(4), (8, 8), spec.sample, seed=0, by=GeneratedBy("toy"))

    def render(scene: object, cameras: Cameras, size: Any, pixels: Any = None, normals: bool = False) -> Rendering:
        seen = planes(scene, cameras, size)
        if pixels is None:
            return seen
        h, w = size
        at = (pixels[..., 1] * h).long() * w + (pixels[..., 0] * w).long()

        def pick(z: Any) -> Any:
            flat = z.flatten(-2)
            return flat.gather(-1, at if flat.ndim == 3 else at[:, :, None].expand(*flat.shape[:-1], -1))

        normals_there = None if seen.normals is None else pick(seen.normals)
        return Rendering(pick(seen.values), pick(seen.opacity), pick(seen.depth), normals_there)

    monkeypatch.setattr(tiny.TinyScene, "render", render)
    draw(tmp_path / "sheet.png", 1)
    top = LINE + 2 * (16 + LINE) + LINE
    surface = np.asarray(Image.open(tmp_path / "sheet.png"))[top:]
    assert surface.shape == (16, 64, 3)
    # Lambert's cosine of 60 degrees over an ambient quarter; or the farthest of near_bright.
    right = 255 * (0.25 + 0.75 * 0.5) if knows_normals else 255 * 0.2
    for x in range(0, 64, 16):
        assert (surface[:, x : x + 7] == 255).all() and (surface[:8, x + 7] == 255).all()
        assert not surface[8:, x + 7 : x + 16].any()
        assert np.abs(surface[:8, x + 8 : x + 16] - right).max() < 1


def test_a_run_shows_its_previews_in_tensorboard_and_in_a_page_that_links_to_what_is_there(
    spec_file: Path, tmp_path: Path
) -> None:
    spec = load_spec(spec_file, ["train.preview_every=3"])
    outcome = train(spec, tmp_path / "run")
    with Image.open(tmp_path / "run/previews/step-000003.png") as picture:
        told = read_packet(picture.info["xmp"])
    assert told["Iptc4xmpExt:DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert (told["tunemv3d:Checkpoint"], told["tunemv3d:SpecId"]) == (f"{spec.name}/step-000003", spec_id(spec))
    read = EventAccumulator(str(tmp_path / "run/tensorboard"), size_guidance={"images": 0})
    read.Reload()
    shown = read.Images("preview")
    assert [event.step for event in shown] == [3, 6]
    assert outcome.preview is not None
    with Image.open(io.BytesIO(shown[-1].encoded_image_string)) as there, Image.open(outcome.preview) as here:
        assert there.size == here.size == (shown[-1].width, shown[-1].height)
        assert np.array_equal(np.asarray(there), np.asarray(here))
    page = Links(tmp_path / "run/index.html")
    assert page.named[-2:] == ["previews/step-000006.png", "previews/step-000003.png"]
    assert all((tmp_path / "run" / name).exists() for name in page.named)
    assert page.polylines > 5 and not page.refreshes
    write_page(RunFolder(tmp_path / "run", spec), done=3)
    assert Links(tmp_path / "run/index.html").refreshes == 1


def test_a_plain_model_has_no_surface_row(offered: Path, tmp_path: Path) -> None:
    file = tiny.write_spec(tmp_path / "plain.json", tiny.write_dataset(tmp_path / "discs"), field=False)
    content = json.loads(file.read_text())
    content["optimizer"]["parts"] = {}
    file.write_text(json.dumps(content))
    spec = load_spec(file)
    outcome = train(spec, tmp_path / "run")
    assert outcome.preview is not None
    with Image.open(outcome.preview) as picture:
        assert picture.height == 2 * (LINE + 2 * (tiny.SIZE + LINE))
