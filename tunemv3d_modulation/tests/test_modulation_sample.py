import json
import re
import shutil
from importlib.metadata import version

import numpy as np
import pytest
import torch
from PIL import Image
from toy_model import SPEC

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import spec_id
from tunemv3d_core.io.depth_normals import read_depth, read_normals
from tunemv3d_core.io.generated import GeneratedBy
from tunemv3d_core.io.posed_images import PosedImages, read_object, write_object
from tunemv3d_core.io.samples import read_sample
from tunemv3d_core.ranks import Ranks
from tunemv3d_core.viz.animation import write_animation
from tunemv3d_core.viz.pictures import GROUND
from tunemv3d_modulation.pipeline import TuneMV3DPipeline


def test_views_maps_cameras_scene_and_manifest_are_written_for_each_prompt(command, tmp_path):
    code, out, _ = command(
        "a red chair", "a stool!", "--out", tmp_path, "--views", 3, "--seed", 7, "--consistency", 1.5, "--json"
    )
    manifests = json.loads(out)
    assert code == 0 and [m["prompt"] for m in manifests] == ["a red chair", "a stool!"]
    folder = tmp_path / "a-red-chair-seed7"
    assert {f.name for f in tmp_path.iterdir()} == {"a-red-chair-seed7", "a-stool-seed7"}
    assert {**json.loads((folder / "manifest.json").read_text()), "folder": str(folder)} == manifests[0]
    wanted = {"seed": 7, "consistency": 1.5, "num_inference_steps": 3, "guidance_scale": 2.0}
    wanted |= {"scheduler": "DPMSolverMultistepScheduler", "data": {"licences": {"CC0-1.0": 3}}}
    assert wanted.items() <= manifests[0].items() and manifests[0]["spec_id"] == spec_id(SPEC)
    assert manifests[0]["versions"]["torch"] == version("torch")
    record = read_object(folder)
    torch.testing.assert_close(record.cameras.camera_to_world, Cameras.orbit(3, elevation=20.0).camera_to_world)
    assert record.files == ("views/000.png", "views/001.png", "views/002.png")
    pictures = [Image.open(folder / file) for file in record.files]
    assert {(p.mode, p.size) for p in pictures} == {("RGBA", (32, 32))}
    shown = Image.alpha_composite(Image.new("RGBA", (32, 32), "white"), pictures[1]).convert("RGB")
    drawn = np.asarray(Image.open(folder / "grid.png").crop((32, 0, 64, 32))).astype(int)
    assert np.abs(drawn - np.asarray(shown)).max() <= 255 * GROUND
    # The toy's scene is seen on the left half, from 2 to 3 away, with normals of zero.
    depth = read_depth(folder / record.depth_files[0])
    assert not depth[:, 16:].any() and depth[0, 0] == 2 and depth[-1, 0] == 3
    assert not read_normals(folder / record.normal_files[0]).any()
    sampled = read_sample(folder)
    assert sampled.latents.shape == (3, 4, 8, 8) and sampled.prompt == "a red chair"
    torch.testing.assert_close(sampled.cameras.camera_to_world, record.cameras.camera_to_world)


def test_other_options_of_components_are_handed_on_and_told(command, tmp_path, monkeypatch):
    load, asked = TuneMV3DPipeline.from_pretrained, []
    monkeypatch.setattr(
        TuneMV3DPipeline, "from_pretrained", lambda *_, **given: asked.append(given["options"]) or load()
    )
    code, _, _ = command("a red chair", "--out", tmp_path, "--views", 2, "--set", "model.field.a=1")
    manifest = json.loads((tmp_path / "a-red-chair/manifest.json").read_text())
    assert code == 0 and asked == [("model.field.a=1",)] and manifest["options"] == ["model.field.a=1"]


def test_a_written_scene_is_the_scene_that_was_sampled(folders, command, tmp_path):
    command("a red chair", "--out", tmp_path, "--views", 2)
    pipe = TuneMV3DPipeline.from_pretrained("toy")
    sampled = read_sample(tmp_path / "a-red-chair")
    wanted = pipe("a red chair", Cameras.orbit(2)).scene
    torch.testing.assert_close(sampled.scene(pipe.model).mean, wanted.mean)


def test_every_prompt_of_a_file_with_every_seed(command, tmp_path):
    (tmp_path / "words.txt").write_text("a stool\n\n# not this\na bench\n")
    code, out, _ = command(
        "--prompts",
        tmp_path / "words.txt",
        "--seeds",
        "0-1,5",
        "--views",
        2,
        "--steps",
        1,
        "--out",
        tmp_path / "s",
        "--json",
    )
    assert code == 0
    assert [(m["prompt"], m["seed"]) for m in json.loads(out)] == [
        (p, s) for p in ("a stool", "a bench") for s in (0, 1, 5)
    ]


def test_a_prompt_that_is_there_twice_is_made_once_and_a_files_mark_is_no_part_of_it(command, tmp_path):
    (tmp_path / "words.txt").write_text("a stool\r\n  # not this\r\na stool \r\n", encoding="utf-8-sig")
    asked = ("--prompts", tmp_path / "words.txt", "--views", 2, "--steps", 1, "--seeds", "3,3")
    code, out, err = command("a stool", *asked, "--out", tmp_path / "s", "--json")
    assert code == 0 and [(m["prompt"], m["seed"]) for m in json.loads(out)] == [("a stool", 3)]
    assert "it is made once" in err
    (tmp_path / "words.txt").write_text("a stool", encoding="utf-16")
    code, _, err = command(*asked, "--out", tmp_path / "t")
    assert code == 2 and "words.txt: cannot be read" in err and "save it as UTF-8" in err


def test_what_a_killed_command_left_and_another_at_work_are_in_nobodys_way(command, tmp_path):
    """Folders of parts, as another process has them while it writes."""
    (tmp_path / "a-stool.part/views").mkdir(parents=True)
    (tmp_path / "a-stool-2.part").mkdir()
    code, out, err = command("a stool", "--views", 2, "--steps", 1, "--out", tmp_path)
    assert code == 0 and out.split() == [f"{tmp_path}/a-stool-3/grid.png"], err
    assert {f.name for f in tmp_path.iterdir()} == {"a-stool.part", "a-stool-2.part", "a-stool-3"}
    assert (tmp_path / "a-stool.part/views").is_dir()


def test_names_of_folders_fit_where_letters_take_four_bytes(command, tmp_path):
    code, _, err = command("\U00010330" * 70, "--views", 2, "--steps", 1, "--seed", 4294967295, "--out", tmp_path)
    (folder,) = tmp_path.iterdir()
    assert code == 0 and folder.name.endswith("-seed4294967295"), err


def test_cameras_of_a_file(command, tmp_path):
    cameras = Cameras.orbit(2, elevation=50.0, distance=3.5)
    write_object(tmp_path, PosedImages("any", cameras, (32, 32), ("",), ("a.png", "b.png")))
    code, _, _ = command("a stool", "--cameras", tmp_path / "transforms.json", "--steps", 1, "--out", tmp_path / "s")
    found = read_object(tmp_path / "s" / "a-stool").cameras
    assert code == 0
    torch.testing.assert_close(found.camera_to_world, cameras.camera_to_world)


def test_the_shape_appearing_and_a_turntable(command, tmp_path):
    code, out, err = command("a stool", "--views", 2, "--out", tmp_path, "--strip", "--video", "--json")
    assert code == 0, err
    folder, files = tmp_path / "a-stool", json.loads(out)[0]["files"]
    assert Image.open(folder / files["strip"]).size == (3 * 32, 64), "a column a step"
    assert Image.open(folder / files["strip_animation"]).size == (32, 64)
    assert Image.open(folder / files["turntable"]).size == (64, 32)


def test_every_file_says_that_it_was_generated_and_given_pictures_do_not(command, tmp_path):
    Image.new("RGB", (32, 32), "white").save(tmp_path / "front.png")
    picture = tmp_path / "front.png"
    given = ("--image", f"1={picture}", "--as-is", "--strip", "--video")
    code, out, err = command("a stool", "--views", 2, "--out", tmp_path / "out", *given, "--json")
    assert code == 0, err
    (manifest,), folder = json.loads(out), tmp_path / "out/a-stool"
    kinds = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".png", ".webp"):
            with Image.open(file) as made:
                found = re.search(rb"digitalsourcetype/(\w+)", made.info.get("xmp", b""))
            kinds[file.relative_to(folder).as_posix()] = found[1].decode() if found else ""
    composite = {"grid.png", "views/001.png"}
    assert {name for name, kind in kinds.items() if kind == "compositeWithTrainedAlgorithmicMedia"} == composite
    assert {name for name, kind in kinds.items() if not kind} == {"given/001.png"}
    assert {"strip.png", "strip.webp", "turntable.webp", "views/000.png", "depth/001.png"} <= kinds.keys()
    assert manifest["images"] == ["1=front.png"]


def test_an_animation_has_its_frames(tmp_path):
    frames = [Image.new("RGB", (8, 6), (60 * i, 0, 0)) for i in range(4)]
    write_animation(tmp_path / "x.webp", frames, GeneratedBy("toy"), milliseconds=40)
    moving = Image.open(tmp_path / "x.webp")
    assert (moving.n_frames, moving.size) == (4, (8, 6))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg here")
def test_a_turntable_as_mp4(command, tmp_path):
    assert command("a stool", "--views", 2, "--out", tmp_path, "--video", "--video-format", "mp4")[0] == 0
    assert (tmp_path / "a-stool" / "turntable.mp4").read_bytes()[4:8] == b"ftyp"


def test_the_same_seed_gives_the_same_pictures_and_nothing_is_overwritten(command, tmp_path):
    for _ in range(2):
        assert command("a red chair", "--out", tmp_path, "--views", 2, "--steps", 1)[0] == 0
    first, second = ((tmp_path / name / "grid.png").read_bytes() for name in ("a-red-chair", "a-red-chair-2"))
    assert first == second


def test_two_processes_make_the_objects_of_one(command, tmp_path, monkeypatch):
    words = ["a stool", "a Stool", "a bench", "a lamp", "--seeds", "0,3", "--views", 2, "--steps", 1]

    def files(folder):
        found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        clocked = re.compile(rb'"(seconds|date)": [^\n]*')
        return {name: clocked.sub(b"", content) for name, content in found.items()}

    code, told, _ = command(*words, "--out", tmp_path / "one", "--json")
    assert code == 0
    joined, failed = [], []
    # They run here one after the other, the first last.
    monkeypatch.setattr(Ranks, "joined", lambda self, items: joined.extend(items) or list(joined))
    monkeypatch.setattr(Ranks, "total", lambda self, count: failed.append(count) or sum(failed))
    for rank in (1, 0):
        monkeypatch.setattr(Ranks, "launched", lambda rank=rank: Ranks(rank, 2, rank))
        code, out, err = command(*words, "--out", tmp_path / "two", "--json")
        assert code == 0 and bool(out.strip()) == (rank == 0), err
    assert [m["prompt"] for m in json.loads(out)] == [m["prompt"] for m in json.loads(told)]
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert one.keys() == two.keys() and len({name.split("/")[0] for name in one}) == 8
    assert [name for name in one if one[name] != two[name]] == []
