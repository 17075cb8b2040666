"""What ``tunemv3d sample`` says of input that it cannot use and of what goes wrong; what was made stays."""

import json
import signal

import pytest
import torch
from PIL import Image
from toy_model import SPEC, MeanScene, load

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import SampleError
from tunemv3d_core.io.posed_images import PosedImages, write_object
from tunemv3d_core.slots import Prediction
from tunemv3d_modulation.pipeline import TuneMV3DPipeline

QUICK = ("--views", 2, "--steps", 2)


def no_space(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["  "], "a prompt is empty"),
        (["a chair", "--steps", 0], "steps: should be greater than or equal to 1, got 0"),
        (["a chair", "--consistency", -0.5], "K must be at least 0, not -0.5"),
        (["a chair", "--consistency", "inf"], "K must be at least 0, not inf"),
        (["a chair", "--guidance", "inf"], "guidance: should be a finite number, got Infinity"),
        (["a chair", "--elevation", "nan"], "an elevation is not a finite number of degrees"),
        (["a chair", "--device", "cuda:99"], "device 'cuda:99' cannot be used here"),
        (["a chair", "--device", "gpu"], "device 'gpu' cannot be used here"),
        (["a chair", "--views", 0], "an orbit needs at least one view"),
        (["a chair", "--scheduler", "dmp"], "no scheduler 'dmp'"),
        (["a chair", "--scheduler", "ddim", "--steps", 5000], "cannot take 5000 steps"),
        ([], "no prompt: say what object to make"),
        (["--prompts", "missing.txt"], "--prompts missing.txt: cannot be read"),
        (["a chair", "--seeds", "3-1"], "--seeds 3-1: numbers such as"),
        (["a chair", "--seeds", "0-99999999999999"], "--seeds 0-99999999999999: more than 10,000"),
        (["a chair", "--seeds", "0-9000,0-1000"], "more than 10,000"),
        (["a \udcff chair"], "the prompt 'a \\udcff chair' holds bytes that are no text in UTF-8"),
        (["a chair", "--views", 3, "--cameras", "x"], "--views and --cameras: give one of them"),
        (["a chair", "--cameras", "x.json"], "--cameras x.json: a transforms.json is expected"),
        (["a chair", "--video-format", "gif"], "a video is webp or mp4, not 'gif'"),
    ],
)
def test_bad_input_is_one_message_and_leaves_nothing(command, tmp_path, arguments, message):
    code, out, err = command(*arguments, "--out", tmp_path / "new")
    assert code == 2 and message in err and "Traceback" not in err and not out
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_a_file_is_told_before_sampling(command, tmp_path):
    (tmp_path / "taken").write_text("")
    for out in (tmp_path / "taken", tmp_path / "taken" / "deeper"):
        code, _, err = command("a chair", "--out", out)
        assert code == 2 and f"{tmp_path / 'taken'} is a file" in err


def test_ctrl_c_while_writing_leaves_nothing_half_written(command, tmp_path, monkeypatch):
    monkeypatch.setattr("tunemv3d_core.io.sample_files.write_json", lambda *_: signal.raise_signal(signal.SIGINT))
    assert command("a chair", "--out", tmp_path, "--views", 2, "--steps", 1)[0] == 130
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_message_and_leaves_nothing_half_written(command, tmp_path, monkeypatch):
    monkeypatch.setattr("tunemv3d_core.io.sample_files.write_json", no_space)
    code, _, err = command("a chair", "--out", tmp_path, "--views", 2, "--steps", 1)
    assert code == 2 and "could not be written" in err and "No space left" in err
    assert not list(tmp_path.iterdir())


def test_a_step_that_gives_nan_ends_its_object_and_the_others_go_on(command, tmp_path, monkeypatch):
    predict, calls = MultiviewDiffusion.predict, []

    def sometimes(self, *given):
        calls.append(given)
        made = predict(self, *given)
        bad = made.modulated.clone()
        bad[:, 1] = torch.nan
        return Prediction(bad) if len(calls) == 2 else made

    monkeypatch.setattr(MultiviewDiffusion, "predict", sometimes)
    code, out, err = command("a stool", "a bench", "--views", 2, "--steps", 3, "--out", tmp_path)
    assert code == 1 and "'a stool', seed 0: view 1 after step 2 of 3: numbers that are not finite" in err
    assert {f.name for f in tmp_path.iterdir()} == {"a-bench"} and out.split() == [f"{tmp_path}/a-bench/grid.png"]
    assert len(calls) == 2 + 3, "the first object ends at once"


def test_nothing_was_made_where_every_object_fails(command, tmp_path, monkeypatch):
    call = TuneMV3DPipeline.__call__

    def spoilt(self, *args, **options):
        output = call(self, *args, **options)
        output.images[0, 1] = torch.nan
        return output

    monkeypatch.setattr(TuneMV3DPipeline, "__call__", spoilt)
    code, _, err = command("a stool", *QUICK, "--out", tmp_path)
    assert code == 2 and "view 1: numbers that are not finite" in err and not list(tmp_path.iterdir())


def test_a_prompt_that_is_cut_is_told_once_before_it_is_sampled(command, tmp_path):
    code, out, err = command("chair " * 90 + "red", *QUICK, "--out", tmp_path, "--json")
    assert code == 0 and err.count("is cut before 'chair chair") == 1
    assert "red'" in json.loads(out)[0]["notes"][0]


@pytest.mark.parametrize("size", [(40, 32), (30, 32)])
def test_a_picture_that_is_not_square_is_padded_and_that_is_told(command, tmp_path, size):
    Image.new("RGB", size, "red").save(tmp_path / "front.png")
    asked = ("a chair", *QUICK, "--image", tmp_path / "front.png", "--as-is", "--out", tmp_path / "s", "--json")
    code, out, err = command(*asked)
    told = f"the picture of view 0 is {size[0]} x {size[1]}: white is put beside it"
    assert code == 0 and told in err and json.loads(out)[0]["notes"] == [told]


def test_of_a_moving_picture_the_first_frame_is_taken_and_that_is_told(command, tmp_path):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / "turn.gif", save_all=True, append_images=frames[1:])
    asked = ("a chair", *QUICK, "--image", tmp_path / "turn.gif", "--as-is", "--out", tmp_path / "s", "--json")
    code, out, err = command(*asked)
    told = "the picture of view 0 moves: the first of its 3 frames is taken"
    assert code == 0 and told in err and json.loads(out)[0]["notes"] == [told]
    view = Image.open(tmp_path / "s/a-chair/views/000.png").convert("RGB").getpixel((4, 16))
    assert view[0] > 200 and max(view[1:]) < 50


def test_given_pictures_are_checked_once_before_sampling(command, tmp_path):
    Image.new("F", (32, 32), 0.5).save(tmp_path / "real.tif")
    red = Image.new("RGB", (32, 32), "white")
    red.paste("red", (8, 8, 24, 24))
    red.save(tmp_path / "red.png")
    asked = ("a chair", *QUICK, "--seeds", "0-2", "--out", tmp_path / "s", "--image")
    for image, told in (
        (tmp_path / "real.tif", "a picture of floating-point numbers"),
        (f"5={tmp_path / 'red.png'}", "known view 5 has no camera: there are 2"),
    ):
        code, _, err = command(*asked, image)
        assert code == 2 and err.count(told) == 1 and not (tmp_path / "s").exists()


def spoil_end(data: bytes) -> bytes:
    return data[: len(data) // 2]


def spoil_chunk(data: bytes) -> bytes:
    return data[:16] + b"\xff" * 8 + data[24:]


@pytest.mark.parametrize("harm", [spoil_end, spoil_chunk, lambda _: b"", lambda _: b"<svg/>"])
def test_a_picture_that_cannot_be_read_is_told_before_sampling(command, tmp_path, harm):
    Image.effect_noise((64, 64), 50).save(tmp_path / "front.png")
    (tmp_path / "front.png").write_bytes(harm((tmp_path / "front.png").read_bytes()))
    code, _, err = command("a chair", "--image", tmp_path / "front.png", "--out", tmp_path / "s")
    assert code == 2 and "front.png: cannot be read as a picture" in err and "Traceback" not in err
    assert not (tmp_path / "s").exists()


def test_cameras_inside_the_object_are_told_with_their_file(command, tmp_path):
    cameras = Cameras.cat([Cameras.orbit(1), Cameras.look_at(torch.tensor([[0.5, 0.0, 0.0]]))])
    write_object(tmp_path, PosedImages("any", cameras, (32, 32), ("",), ("a.png", "b.png")))
    code, _, err = command("a stool", "--cameras", tmp_path / "transforms.json", "--out", tmp_path / "s")
    assert code == 2 and "transforms.json: camera 1 lies inside the object's unit sphere: move it" in err


@pytest.mark.parametrize("option", ["--strip", "--video"])
def test_a_model_without_a_field_has_no_shape_to_show(command, folders, tmp_path, monkeypatch, option):
    plain = TuneMV3DPipeline.from_model(MultiviewDiffusion(load(folders["mini"])), SPEC)
    monkeypatch.setattr(TuneMV3DPipeline, "from_pretrained", lambda *_, **__: plain)
    code, _, err = command("a stool", *QUICK, "--out", tmp_path, option)
    assert code == 2 and "no field in this checkpoint" in err and not list(tmp_path.iterdir())
    assert command("a stool", *QUICK, "--out", tmp_path)[0] == 0
    assert not (tmp_path / "a-stool/depth").exists()


@pytest.mark.parametrize("full_for", ["strip.png", "strip.webp", "manifest.json"])
def test_where_only_the_strip_finds_no_room_the_object_stays(command, tmp_path, monkeypatch, full_for):
    save = Image.Image.save

    def until_full(self, path, *given, **options):
        save(self, path, *given, **options)
        if full_for in str(path):
            no_space()

    monkeypatch.setattr(Image.Image, "save", until_full)
    if full_for == "manifest.json":
        monkeypatch.setattr("tunemv3d_core.io.samples.write_json", no_space)
    code, out, err = command("a stool", *QUICK, "--out", tmp_path, "--strip")
    assert code == 1 and "could not be written" in err and "No space left" in err and "Traceback" not in err
    assert out.split() == [f"{tmp_path}/a-stool/grid.png"]
    assert (tmp_path / "a-stool/manifest.json").is_file() and not list(tmp_path.rglob("*part*"))
    assert not (tmp_path / "a-stool" / full_for).exists() or full_for == "manifest.json"


def test_an_ffmpeg_that_fails_is_told_with_its_words_and_the_object_stays(command, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    # Writes half a file, then fails.
    script = '#!/bin/sh\nfor last; do :; done\nhead -c 100 > "$last"\necho "no encoder here" >&2\nexit 1\n'
    (tmp_path / "bin/ffmpeg").write_text(script)
    (tmp_path / "bin/ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    out = tmp_path / "s"
    code, _, err = command("a stool", *QUICK, "--out", out, "--video", "--video-format", "mp4")
    assert code == 1 and "turntable.mp4: could not be written: ffmpeg failed: no encoder here" in err
    assert (out / "a-stool/grid.png").is_file() and not list(out.rglob("*.mp4"))


def test_an_mp4_without_ffmpeg_is_told_before_sampling(command, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = command("a stool", "--out", tmp_path / "s", "--video", "--video-format", "mp4")
    assert code == 2 and "an mp4 needs ffmpeg, which is not on the PATH: install it, or take webp" in err
    assert not (tmp_path / "s").exists()


def test_a_mesh_of_a_field_without_a_surface_is_refused_before_sampling(command, tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("sampled")

    monkeypatch.setattr("tunemv3d_core.generation.build_mesher", lambda name: None)
    monkeypatch.setattr(TuneMV3DPipeline, "__call__", never)
    code, _, err = command("a stool", *QUICK, "--out", tmp_path, "--mesh")
    assert code == 2 and "has no surface, so there is nothing to mesh: leave out --mesh" in err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def with_surface(monkeypatch):
    """Gives the toy's scenes a surface."""
    monkeypatch.setattr(MeanScene, "signed_distance", lambda *_: None, raising=False)


def test_a_mesh_that_fails_leaves_the_views_and_the_other_objects(command, tmp_path, monkeypatch, with_surface):
    def fail(*_):
        raise SampleError("no surface: the shape's signed distance is positive everywhere")

    monkeypatch.setattr("tunemv3d_core.generation.build_mesher", lambda name: fail)
    code, _, err = command("a stool", "a bench", *QUICK, "--out", tmp_path, "--mesh")
    assert code == 1 and err.count("no surface: the shape's signed distance is positive everywhere") == 2
    assert {f.name for f in tmp_path.iterdir()} == {"a-stool", "a-bench"}


def test_a_folder_that_may_not_be_written_is_told_before_sampling(command, tmp_path, monkeypatch):
    monkeypatch.setattr("tunemv3d_core.io.sample_files.os.access", lambda *_: False)
    code, _, err = command("a stool", "--out", tmp_path / "deep/er")
    assert code == 2 and f"{tmp_path} is not writable; choose another folder" in err


def test_what_is_told_of_a_cut_prompt_is_not_warned_of_too(command, tmp_path, recwarn):
    assert command("chair " * 90, *QUICK, "--out", tmp_path)[0] == 0
    assert not [warning for warning in recwarn if "text encoder" in str(warning.message)]
