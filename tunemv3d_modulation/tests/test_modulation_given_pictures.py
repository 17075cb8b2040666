"""Pictures that are given to a model: discs and bars of known place and size, on grounds of all kinds."""

import json
import sys
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.viz.pictures import GIVEN, read_picture
from tunemv3d_modulation.cut_out import cut_out
from tunemv3d_modulation.given_pictures import LOWER, SHARE, cut_objects, frame_objects

RED = (200, 30, 40)


def disc(ground, centre=(100, 100), radius=60, size=(200, 200), mode="RGB"):
    picture = Image.new(mode, size, ground)
    x, y = centre
    ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), fill=RED)
    return picture


def prepared(picture, size=(64, 64), model=""):
    """The picture as it goes into the model, H W 3 in [0, 1], and what was said."""
    cut, notes = cut_objects({0: picture}, model)
    framed, more = frame_objects(cut, size)
    return read_picture(framed[0], size).movedim(0, -1).numpy(), notes + more


def box_of(pixels):
    """Where a picture is not white, in shares of its sides: middle and larger side of the object."""
    shown = pixels.min(-1) < 0.8
    y, x = np.nonzero(shown)
    height, width = shown.shape
    middle = ((x.min() + x.max() + 1) / 2 / width - 0.5, (y.min() + y.max() + 1) / 2 / height - 0.5)
    return middle, max(x.max() + 1 - x.min(), y.max() + 1 - y.min()) / min(shown.shape)


@pytest.mark.parametrize("ground", ["white", "black", "#808080", "#2040c0"])
@pytest.mark.parametrize(("centre", "radius", "size"), [((60, 50), 20, (200, 200)), ((250, 40), 35, (300, 90))])
def test_a_small_object_off_the_middle_comes_into_the_usual_place(ground, centre, radius, size):
    pixels, notes = prepared(disc(ground, centre, radius, size))
    middle, share = box_of(pixels)
    assert middle == pytest.approx((0, LOWER), abs=0.03) and share == pytest.approx(SHARE, abs=0.05)
    assert pixels[0, 0] == pytest.approx(1), "the ground is white"
    assert pixels[34, 32] == pytest.approx(np.array(RED) / 255, abs=0.01)
    assert any("plain ground" in note for note in notes) and any("moved to the middle and scaled" in n for n in notes)
    darkest_rim = pixels[(pixels.max(-1) < 0.75)]
    assert len(darkest_rim) == 0, "no black or grey rim is left of the ground"


def test_a_picture_like_those_of_training_stays_as_it_is():
    picture = disc("white", (100, 106), 78)
    pixels, _ = prepared(picture)
    np.testing.assert_array_equal(pixels, read_picture(picture, (64, 64)).movedim(0, -1).numpy())


def test_transparency_is_taken_as_it_is():
    picture = disc((0, 0, 0, 0), (40, 150), 25, mode="RGBA")
    pixels, notes = prepared(picture)
    middle, share = box_of(pixels)
    assert middle == pytest.approx((0, LOWER), abs=0.03) and share == pytest.approx(SHARE, abs=0.05)
    assert not any("ground" in note for note in notes)


def test_views_that_are_not_square_keep_the_objects_proportions():
    pixels, _ = prepared(disc("white", (60, 50), 20), size=(48, 96))
    y, x = np.nonzero(pixels.min(-1) < 0.8)
    assert x.max() - x.min() == pytest.approx(y.max() - y.min(), abs=2)
    assert box_of(pixels)[1] == pytest.approx(SHARE, abs=0.05)


def test_the_ground_goes_where_it_shows_through_and_dark_parts_stay():
    """A hole of the ground's colour, and a part that is nearly as dark."""
    picture = disc("black", radius=80)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((80, 80, 120, 120), fill="black")
    draw.ellipse((60, 130, 80, 150), fill=(10, 10, 10))
    cut, done = cut_out(picture.convert("RGBA"))
    assert cut.getpixel((100, 100))[3] == 0 and cut.getpixel((2, 2))[3] == 0
    assert cut.getpixel((70, 140)) == (10, 10, 10, 255)
    assert done == "its plain ground (black) was removed, also where it shows through the object"


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (Image.new("RGB", (64, 64), "white"), "the picture of view 0: it shows nothing: it is all white"),
        (Image.new("RGB", (64, 64), "black"), "it is all black"),
        (Image.new("RGBA", (64, 64), (0, 0, 0, 0)), "it shows nothing: it is transparent all over"),
        (Image.effect_noise((8, 8), 90).convert("RGB"), "it has a background"),
        (disc("white", (4, 4), 3, (8, 8)), "the object has 7 x 7 pixels, and 16 are needed"),
        (disc("white", (100, 100), 5), "the object has 11 x 11 pixels, and 16 are needed"),
        (Image.effect_noise((64, 64), 90).convert("RGB"), "it has a background.*--cut-out u2net .pip install.*--as-is"),
    ],
)
def test_what_shows_no_object_is_refused_with_the_way_out(picture, said):
    with pytest.raises(TuneMV3DError, match=said):
        prepared(picture)


def test_an_object_of_fewer_pixels_than_a_large_view_can_use_is_refused():
    with pytest.raises(TuneMV3DError, match="the object has 21 x 21 pixels, and 32 are needed"):
        prepared(disc("white", (100, 100), 10), size=(512, 512))


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (disc("white", (100, 180), 60), "touches the edge (bottom)"),
        (disc("white", (10, 10), 60), "touches the edge (left, top)"),
        (Image.fromarray(np.minimum(*(disc("white", (x, 100), 30) for x in (50, 150)))), "it shows 2 things"),
        (disc("white", (20, 20), 12, (40, 40)), "is enlarged 1.6 times, and blurred"),
    ],
)
def test_what_looks_wrong_is_told(picture, said):
    assert any(said in note for note in prepared(picture)[1])


def test_a_speck_is_no_second_thing_and_a_whole_object_touches_nothing():
    picture = disc("white", radius=70)
    picture.putpixel((3, 3), (0, 0, 0))
    assert not any("things" in note or "touches" in note for note in prepared(picture)[1])


class FakeRembg(SimpleNamespace):
    """rembg's interface; its model takes what is red for the object."""

    asked: ClassVar[list] = []

    @classmethod
    def new_session(cls, name, **options):
        if name == "nothing":
            raise ValueError("No session class found for model 'nothing'")
        cls.asked.append((name, options))
        return SimpleNamespace(is_local=lambda: name != "cloud")

    @staticmethod
    def remove(picture, session):
        pixels = np.asarray(picture).astype(int)
        alpha = (pixels[..., 0] > pixels[..., 1] + 100) * 255
        return Image.fromarray(np.dstack([pixels, alpha]).astype(np.uint8))


def test_a_model_removes_a_background(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "rembg", FakeRembg)
    noise = Image.effect_noise((200, 200), 90).convert("RGB")
    noise.paste(disc("white", (50, 50), 30), mask=disc(0, (50, 50), 30).convert("L").point(lambda v: 255 * (v > 0)))
    pixels, notes = prepared(noise, model="u2net")
    assert pixels[0, 0] == pytest.approx(1) and box_of(pixels)[1] == pytest.approx(SHARE, abs=0.05)
    assert "the picture of view 0: its background was removed by u2net" in notes
    file = tmp_path / "mine.onnx"
    with pytest.raises(TuneMV3DError, match=r"mine\.onnx: no such file"):
        prepared(noise, model=str(file))
    file.touch()
    prepared(noise, model=str(file))
    assert FakeRembg.asked[-1] == ("u2net_custom", {"model_path": str(file)})
    with pytest.raises(TuneMV3DError, match="cannot be loaded: No session class found"):
        prepared(noise, model="nothing")
    with pytest.raises(TuneMV3DError, match="sends the picture to a service"):
        prepared(noise, model="cloud")
    with pytest.raises(TuneMV3DError, match="u2net finds no object"):
        prepared(Image.new("RGB", (64, 64), "blue"), model="u2net")


def test_offline_no_model_is_downloaded(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "rembg", FakeRembg)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(TuneMV3DError, match="HF_HUB_OFFLINE is set, and the model is not on this disk"):
        prepared(disc("white"), model="u2net")
    (tmp_path / "u2net.onnx").touch()
    assert any("removed by u2net" in note for note in prepared(disc("white"), model="u2net")[1])


def test_without_rembg_a_model_is_refused_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(TuneMV3DError, match=r"needs rembg.*pip install 'tunemv3d-modulation\[cut-out\]'"):
        prepared(disc("white"), model="u2net")


def test_the_picture_as_it_went_in_is_kept_and_framed_in_the_sheet(command, tmp_path):
    disc("black", (60, 50), 20).save(tmp_path / "front.png")
    asked = ("a chair", "--views", 3, "--steps", 2, "--image", f"1={tmp_path / 'front.png'}", "--out", tmp_path / "s")
    code, out, err = command(*asked, "--json")
    assert code == 0 and "plain ground (black) was removed" in err
    (manifest,) = json.loads(out)
    assert manifest["files"]["given"] == ["given/001.png"]
    assert any("moved to the middle" in note for note in manifest["notes"])
    kept = np.asarray(Image.open(tmp_path / "s/a-chair/given/001.png")) / 255
    wanted, _ = prepared(disc("black", (60, 50), 20), size=(32, 32))
    np.testing.assert_allclose(kept, wanted, atol=0.004)
    sheet = np.asarray(Image.open(tmp_path / "s/a-chair/grid.png"))[:32] / 255
    np.testing.assert_allclose(sheet[0, 32:64], np.broadcast_to(GIVEN, (32, 3)), atol=0.004)
    assert not np.allclose(sheet[0, :32], GIVEN, atol=0.1)


def test_as_is_changes_nothing(command, tmp_path):
    disc("black", (60, 50), 20).resize((32, 32)).save(tmp_path / "front.png")
    asked = ("a chair", "--views", 2, "--steps", 2, "--image", tmp_path / "front.png", "--out", tmp_path / "s")
    assert command(*asked, "--as-is")[0] == 0
    kept = np.asarray(Image.open(tmp_path / "s/a-chair/given/000.png"))
    np.testing.assert_array_equal(kept, np.asarray(Image.open(tmp_path / "front.png")))
    code, _, err = command(*asked, "--as-is", "--cut-out", "u2net")
    assert code == 2 and "--as-is and --cut-out: give one of them" in err


def test_a_mesher_alone_asks_for_a_mesh(command, tmp_path):
    code, _, err = command("a chair", "--views", 2, "--steps", 2, "--mesher", "marching-cube", "--out", tmp_path / "s")
    assert code == 2 and "no component 'marching-cube'" in err and not (tmp_path / "s").exists()
