import json
import signal

import pytest
import torch
from PIL import Image
from toy_model import SPEC, moved_model

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.console import run
from tunemv3d_core.posed_images import read_object
from tunemv3d_core.spec import spec_id
from tunemv3d_modulation.pipeline import TuneMV3DPipeline
from tunemv3d_modulation.sample import sample


@pytest.fixture
def command(folders, monkeypatch, capsys):
    """Runs ``sample`` on a toy checkpoint; gives exit code, standard output and standard error."""
    pipe = TuneMV3DPipeline(moved_model(folders["mini"]), SPEC)
    monkeypatch.setattr(TuneMV3DPipeline, "from_pretrained", lambda *_: pipe)

    def go(*arguments):
        with pytest.raises(SystemExit) as end:
            run(sample, ["toy", *map(str, arguments)])
        return end.value.code or 0, *capsys.readouterr()

    return go


def test_views_cameras_and_manifest_are_written_for_each_prompt(command, tmp_path):
    code, out, _ = command(
        "a red chair", "a stool!", "--out", tmp_path, "--views", 3, "--seed", 7, "--consistency", 1.5, "--json"
    )
    manifests = json.loads(out)
    assert code == 0 and [m["prompt"] for m in manifests] == ["a red chair", "a stool!"]
    folder = tmp_path / "a-red-chair"
    assert {f.name for f in tmp_path.iterdir()} == {"a-red-chair", "a-stool"}
    assert json.loads((folder / "manifest.json").read_text()) == manifests[0]
    wanted = {"seed": 7, "consistency": 1.5, "num_inference_steps": 3, "guidance_scale": 2.0, "scheduler": "dpm++"}
    assert wanted.items() <= manifests[0].items() and manifests[0]["spec_id"] == spec_id(SPEC)
    assert manifests[0]["versions"]["torch"] == torch.__version__
    record = read_object(folder)
    torch.testing.assert_close(record.cameras.camera_to_world, Cameras.orbit(3, elevation=20.0).camera_to_world)
    assert record.files == ("views/000.png", "views/001.png", "views/002.png")
    pictures = [Image.open(folder / file) for file in record.files]
    assert {(p.mode, p.size) for p in pictures} == {("RGB", (32, 32))}
    assert Image.open(folder / "grid.png").crop((32, 0, 64, 32)).tobytes() == pictures[1].tobytes()


def test_the_same_seed_gives_the_same_pictures_and_nothing_is_overwritten(command, tmp_path):
    for _ in range(2):
        assert command("a red chair", "--out", tmp_path, "--views", 2, "--steps", 1)[0] == 0
    first, second = ((tmp_path / name / "grid.png").read_bytes() for name in ("a-red-chair", "a-red-chair-2"))
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["  "], "a prompt is empty"),
        (["a chair", "--steps", 0], "steps must be at least 1, not 0"),
        (["a chair", "--consistency", -0.5], "K must be at least 0, not -0.5"),
        (["a chair", "--consistency", "inf"], "K must be at least 0, not inf"),
        (["a chair", "--guidance", "inf"], "guidance must be at least 0, not inf"),
        (["a chair", "--elevation", "nan"], "an elevation is not a finite number of degrees"),
        (["a chair", "--device", "cuda:99"], "device 'cuda:99' cannot be used here"),
        (["a chair", "--device", "gpu"], "device 'gpu' cannot be used here"),
        (["a chair", "--views", 0], "an orbit needs at least one view"),
        (["a chair", "--scheduler", "dmp"], "no scheduler 'dmp'"),
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
    monkeypatch.setattr("tunemv3d_core.posed_images.write_json", lambda *_: signal.raise_signal(signal.SIGINT))
    assert command("a chair", "--out", tmp_path, "--views", 2, "--steps", 1)[0] == 130
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_message_and_leaves_nothing_half_written(command, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tunemv3d_core.posed_images.write_json", full)
    code, _, err = command("a chair", "--out", tmp_path, "--views", 2, "--steps", 1)
    assert code == 2 and "could not be written" in err and "No space left" in err
    assert not list(tmp_path.iterdir())
