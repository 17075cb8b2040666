"""Converted datasets train: one set of intrinsics, the same pixels, what is broken listed, nothing done twice."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.posed_images import read_manifest, read_object
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.captions.csv_table import read_captions
from tunemv3d_data.commands import app
from tunemv3d_data.conversion.convert import Conversion, convert
from tunemv3d_data.conversion.framing import Seen, common_frame
from tunemv3d_data.layouts import open_dataset
from tunemv3d_data.layouts.world import World

BALL, RADIUS = np.array([0.25, -0.1, 0.3]), 0.2


def ball_picture(eye: np.ndarray, focal: float, size: tuple[int, int], centre: tuple[float, float]) -> np.ndarray:
    """A red ball, analytically, from a camera that looks at the origin; focal and centre in pixels."""
    pose = Cameras.look_at(torch.from_numpy(eye), 1.0).camera_to_world.numpy()
    h, w = size
    x, y = np.meshgrid((np.arange(4 * w) + 0.5) / 4, (np.arange(4 * h) + 0.5) / 4)
    rays = np.stack([(x - centre[0]) / focal, (y - centre[1]) / focal, np.ones_like(x)], axis=-1) @ pose[:3, :3].T
    to_ball = BALL - eye
    along = (rays @ to_ball) / np.linalg.norm(rays, axis=-1)
    hit = along**2 > to_ball @ to_ball - RADIUS**2
    alpha = hit.reshape(h, 4, w, 4).mean((1, 3))
    rgba = np.zeros((h, w, 4), dtype=np.uint8)
    rgba[..., 0], rgba[..., 3] = np.where(alpha > 0, 200, 0), np.round(alpha * 255)
    return rgba


def capture(folder: Path, lenses: list[tuple[float, tuple[int, int], tuple[float, float]]], **more: object) -> Path:
    """A nerfstudio capture of the ball: one (focal, (h, w), (cx, cy)) a frame, in pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = []
    for index, (focal, size, centre) in enumerate(lenses):
        angle = 2 * np.pi * index / len(lenses)
        eye = np.array([3 * np.sin(angle), -3 * np.cos(angle), 0.8])
        Image.fromarray(ball_picture(eye, focal, size, centre)).save(folder / f"{index}.png")
        pose = Cameras.look_at(torch.from_numpy(eye), 1.0).camera_to_world.numpy() * [1, -1, -1, 1]
        lens = {"fl_x": focal, "fl_y": focal, "cx": centre[0], "cy": centre[1], "h": size[0], "w": size[1]}
        frames.append({"file_path": f"{index}.png", "transform_matrix": pose.tolist(), **lens})
    (folder / "transforms.json").write_text(json.dumps({"frames": frames, **more}))
    return folder


SAME = [(100.0, (96, 96), (48.0, 48.0))] * 6
WIDE = [(100.0, (64, 96), (50.0, 30.0))] * 6
DIFFERENT = [(100.0, (96, 96), (48.0, 48.0)), (60.0, (72, 80), (45.0, 33.0)), (130.0, (128, 128), (60.0, 66.0))] * 2


@pytest.mark.parametrize("size", [None, (64, 96), (96, 64)], ids=["square", "3:2", "2:3"])
@pytest.mark.parametrize("lenses", [SAME, WIDE, DIFFERENT], ids=["same", "wide", "different"])
def test_the_ball_stays_where_the_common_cameras_project_it(
    tmp_path: Path, lenses: list, size: tuple[int, int] | None
) -> None:
    """Its alpha's middle of mass is that of an analytic picture from the written camera."""
    source = open_dataset(capture(tmp_path / "ball", lenses))
    assert [r.status for r in convert(source, Conversion(tmp_path / "out", size))] == ["converted"]
    record = read_object(tmp_path / "out" / "objects" / "ball")
    h, w = record.size
    assert record.size == size or (size is None and h == w)
    fx, fy = record.cameras.intrinsics[0, :2].tolist()
    assert fx * w == pytest.approx(fy * h)
    # Into the capture's world: the eyes' distances give the scale, their middle the centre.
    eyes = record.cameras.origins.double().numpy()
    factor = np.linalg.norm(eyes[1] - eyes[0]) / np.linalg.norm(eye_of(1) - eye_of(0))
    centre = eyes.mean(0) - factor * np.array([0, 0, 0.8])
    ball = torch.from_numpy(BALL * factor + centre).float()
    assert np.linalg.norm(ball) + RADIUS * factor == pytest.approx(0.9, abs=0.03)
    pixels, depth = record.cameras.project(ball[None].expand(6, 1, 3))
    for view, file in enumerate(record.files):
        rgba = np.asarray(Image.open(tmp_path / "out" / "objects" / "ball" / file))
        assert rgba.shape == (h, w, 4)
        mass = rgba[..., 3] / 255
        middle = np.array([(mass.sum(0) @ (np.arange(w) + 0.5)) / w, (mass.sum(1) @ (np.arange(h) + 0.5)) / h])
        middle /= mass.sum()
        # The outline of a ball is an ellipse whose middle lies a little outside the centre's projection.
        assert np.abs(middle - pixels[view, 0].numpy()).max() < 0.006
        focal = record.cameras.intrinsics[0, 0].item() * w
        expected = np.pi * (RADIUS * factor * focal / depth[view, 0].item()) ** 2
        assert mass.sum() == pytest.approx(expected, rel=0.05)


def eye_of(index: int) -> np.ndarray:
    angle = 2 * np.pi * index / 6
    return np.array([3 * np.sin(angle), -3 * np.cos(angle), 0.8])


def test_equal_intrinsics_keep_every_pixel(tmp_path: Path) -> None:
    """Square pictures come back byte for byte where they show something; wide ones are padded, not scaled."""
    for name, lenses in (("square", SAME), ("wide", WIDE)):
        folder = capture(tmp_path / name, lenses)
        convert(open_dataset(folder), Conversion(tmp_path / "out" / name))
        for view in range(6):
            before = np.asarray(Image.open(folder / f"{view}.png"))
            after = np.asarray(Image.open(tmp_path / "out" / name / "objects" / name / f"{view:03d}.webp"))
            top = (after.shape[0] - before.shape[0]) // 2
            assert after.shape == (96, 96, 4)
            assert np.array_equal(after[top : top + before.shape[0]], before)
            assert after[..., 3].sum() == before[..., 3].sum()


def test_resolution_halves_the_picture_by_area(tmp_path: Path) -> None:
    folder = capture(tmp_path / "ball", SAME)
    convert(open_dataset(folder), Conversion(tmp_path / "out", size=(48, 48)))
    record = read_object(tmp_path / "out" / "objects" / "ball")
    assert record.size == (48, 48) and record.cameras.intrinsics[0, 0].item() == pytest.approx(100 / 96)
    half = np.asarray(Image.open(tmp_path / "out" / "objects" / "ball" / "002.webp"))
    whole = np.asarray(Image.open(folder / "2.png"))
    assert half[..., 3].sum() == pytest.approx(whole[..., 3].sum() / 4, rel=0.01)
    assert (half[half[..., 3] > 100][:, 0] >= 198).all()  # colours are not darkened by the transparent ground


def test_frames_that_would_cut_or_shrink_are_refused() -> None:
    """The object touches the border of one view, and another lens asks for more than it shows."""
    lens = np.array([1.0, 1.0, 0.5, 0.5])
    whole, cut = Seen((64, 64), lens, (10, 10, 50, 50)), Seen((64, 64), lens * [1.5, 1.5, 1, 1], (0, 20, 40, 40))
    with pytest.raises(DatasetError, match="view 1 shows the object cut"):
        common_frame([whole, cut])
    tiny = Seen((64, 64), lens * [0.9, 0.9, 1, 1], (30, 30, 34, 34))
    with pytest.raises(DatasetError, match="would fill 10%"):
        common_frame([whole, tiny])
    assert common_frame([cut, cut]).size == (64, 64)  # the same lens for all: nothing is padded


def three_objects(folder: Path) -> Path:
    """Two balls and one capture with lens distortion."""
    capture(folder / "a", SAME)
    capture(folder / "bent", SAME, k1=0.05)
    capture(folder / "c", DIFFERENT)
    return folder


def test_one_broken_object_is_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    source = three_objects(tmp_path / "in")
    (source / "c" / "4.png").write_bytes(b"damaged")
    results = convert(open_dataset(source), Conversion(tmp_path / "out"))
    assert [(r.id, r.status) for r in results] == [("a", "converted"), ("bent", "refused"), ("c", "refused")]
    assert "distorted (k1 = 0.05)" in results[1].note and "4.png" in results[2].note
    assert read_manifest(tmp_path / "out") == {"a": "train"}
    kept = tmp_path / "out" / "objects" / "a" / "000.webp"
    kept.write_bytes(b"untouched")
    capture(source / "c", DIFFERENT)
    again = convert(open_dataset(source), Conversion(tmp_path / "out"))
    assert [r.status for r in again] == ["kept", "refused", "converted"] and kept.read_bytes() == b"untouched"
    assert read_manifest(tmp_path / "out") == {"a": "train", "c": "train"}
    with pytest.raises(DatasetError, match="use another --out"):
        convert(open_dataset(source), Conversion(tmp_path / "out", size=(32, 32)))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.txt").write_text("x")
    with pytest.raises(DatasetError, match="not a dataset"):
        convert(open_dataset(source), Conversion(tmp_path / "photos"))


def test_an_interrupted_conversion_goes_on_with_the_same_result(tmp_path: Path) -> None:
    source = open_dataset(three_objects(tmp_path / "in"))

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, Conversion(tmp_path / "out"), interrupt)
    assert read_manifest(tmp_path / "out") == {"a": "train"}
    convert(source, Conversion(tmp_path / "out"))
    convert(source, Conversion(tmp_path / "once" / "out"))
    files = {p.relative_to(tmp_path / "out"): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    once = tmp_path / "once" / "out"
    assert files == {p.relative_to(once): p.read_bytes() for p in once.rglob("*") if p.is_file()}


def test_a_stated_world_is_known_again(tmp_path: Path) -> None:
    source = open_dataset(capture(tmp_path / "ball", SAME), world=World(scale=0.5, centre=(0.0, 0.0, 0.3)))
    for status in ("converted", "kept"):
        assert [result.status for result in convert(source, Conversion(tmp_path / "out", (64, 96)))] == [status]


def test_captions_and_licence_are_those_stated_or_seen(tmp_path: Path) -> None:
    source = three_objects(tmp_path / "in")
    table = tmp_path / "captions.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "caption"], ["a", "a ball, red"], ["a", "a sphere"]])
    job = Conversion(tmp_path / "out", licence="CC BY 4.0", captions=read_captions(table))
    convert(open_dataset(source), job)
    a, c = (read_object(tmp_path / "out" / "objects" / id_) for id_ in "ac")
    assert a.captions == ("a ball, red", "a sphere") and c.captions == ("a red object",)
    assert a.licence == "CC-BY-4.0" and a.source == "in: a"
    page = tmp_path / "out" / "ATTRIBUTION.md"
    assert "| a |  | CC-BY-4.0 | in: a |" in (before := page.read_text())
    assert read_json(tmp_path / "out" / "dataset.json")["objects"][0]["licence"] == "CC-BY-4.0"
    CliRunner().invoke(app, ["attributions", str(tmp_path / "out")])
    assert page.read_text() == before
    outcome = CliRunner().invoke(app, ["convert", str(source), "--out", str(tmp_path / "o"), "--captions", str(table)])
    assert "captions for 1 of 3 objects; 0 of its 1 ids are of no object here" in outcome.stderr
    table.write_text("a,a ball, red\n")
    with pytest.raises(DatasetError, match=r"captions\.csv:1"):
        read_captions(table)


def test_objects_of_an_opt_out_list_are_left_out(tmp_path: Path) -> None:
    source, listed = three_objects(tmp_path / "in"), tmp_path / "list.txt"
    listed.write_text("a\n", encoding="utf-8")
    given = ["convert", str(source), "--out", str(tmp_path / "o"), "--opt-out", str(listed), "--json"]
    results = json.loads(CliRunner().invoke(app, given).stdout)["results"]
    assert [(each["id"], each["note"]) for each in results if each["status"] == "left out"] == [
        ("a", "the opt-out list has 'a'")
    ]
    assert not (tmp_path / "o/objects/a").exists() and (tmp_path / "o/objects/c").exists()


def test_pictures_without_any_ground_are_refused(tmp_path: Path) -> None:
    folder = capture(tmp_path / "photos", SAME)
    for path in folder.glob("*.png"):
        Image.open(path).convert("RGB").save(path)
    results = convert(open_dataset(folder), Conversion(tmp_path / "out"))
    assert results[0].status == "refused" and "masks" in results[0].note


def test_an_id_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "in"
    shutil.copytree(find_asset("chairs") / "objects" / "blend-swap-cc-0-chair", source / "escaped")
    (source / "objects").mkdir()
    manifest = {"format": "tunemv3d-multiview/1", "name": "in", "objects": [{"id": "../escaped", "split": "train"}]}
    (source / "dataset.json").write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match="no folder's name"):
        convert(open_dataset(source), Conversion(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_packaged_chairs_convert_to_themselves(tmp_path: Path) -> None:
    """Through the command: our layout in, the same cameras, captions, splits and pixels out."""
    source = tmp_path / "two"
    (source / "objects").mkdir(parents=True)
    manifest = read_json(find_asset("chairs") / "dataset.json")
    manifest["objects"] = [{**entry, "split": "held_out"} for entry in manifest["objects"][:2]]
    (source / "dataset.json").write_text(json.dumps(manifest))
    for entry in manifest["objects"]:
        shutil.copytree(find_asset("chairs") / "objects" / entry["id"], source / "objects" / entry["id"])
    outcome = CliRunner().invoke(app, ["convert", str(source), "--out", str(tmp_path / "out"), "--json"])
    assert outcome.exit_code == 0, outcome.output
    assert {entry["status"] for entry in json.loads(outcome.stdout)["results"]} == {"converted"}
    assert read_manifest(tmp_path / "out") == {entry["id"]: "held_out" for entry in manifest["objects"]}
    for entry in manifest["objects"]:
        before, after = (read_object(folder / "objects" / entry["id"]) for folder in (source, tmp_path / "out"))
        assert after.captions == before.captions and after.creator == before.creator
        assert torch.allclose(after.cameras.camera_to_world, before.cameras.camera_to_world, atol=1e-6)
        assert torch.allclose(after.cameras.intrinsics, before.cameras.intrinsics, atol=1e-6)
        for file in before.files:
            pixels = [np.asarray(Image.open(f / "objects" / entry["id"] / file)) for f in (source, tmp_path / "out")]
            assert np.array_equal(*pixels)


def test_the_command_has_the_exit_codes_of_the_design(tmp_path: Path) -> None:
    source = three_objects(tmp_path / "in")
    arguments = ["convert", str(source), "--out", str(tmp_path / "out")]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 1 and "refused bent: " in outcome.stdout and "2 converted" in outcome.stdout
    for wrong in (["--up", "w"], ["--centre", "1,2"], ["--layout", "srm"], ["--captions", "nothing.csv"]):
        outcome = CliRunner().invoke(app, ["convert", str(source), "--out", str(tmp_path / "none"), *wrong])
        assert isinstance(outcome.exception, DatasetError) and wrong[1] in str(outcome.exception)
        assert not (tmp_path / "none").exists()
