"""The doctor and the pages see other people's datasets by their layouts: sound ones are sound, faults are found."""

import json
from pathlib import Path

import numpy as np
import pytest
from other_layouts import WRITERS, Chair
from PIL import Image
from typer.testing import CliRunner

from tunemv3d_data.commands import app
from tunemv3d_data.doctor.examine import Round, examine
from tunemv3d_data.layouts import open_dataset


@pytest.fixture(scope="module")
def chair() -> Chair:
    return Chair()


@pytest.mark.parametrize("name", WRITERS)
def test_a_sound_dataset_of_another_layout_is_sound(name: str, chair: Chair, tmp_path: Path) -> None:
    """Captions, licences and an attribution page are not asked for; two chairs were drawn on white."""
    WRITERS[name][0](tmp_path, chair)
    result = CliRunner().invoke(app, ["check", str(tmp_path), "--out", str(tmp_path.parent / "out"), "--json"])
    report = json.loads(result.stdout)
    assert (report["layout"], report["objects"]) == (name, 1)
    wanted = ["alpha-white-fringe"] if name in ("nerfstudio", "neus") else []
    assert [finding["check"] for finding in report["found"]] == wanted and result.exit_code == len(wanted)


@pytest.mark.slow
def test_workers_open_other_layouts_too(chair: Chair, tmp_path: Path) -> None:
    for name in ("one", "two"):
        WRITERS["blender"][0](tmp_path / name, chair)
    alone = examine(Round(open_dataset(tmp_path)))
    assert [finding.check for finding in alone] == ["duplicate-object"]
    assert examine(Round(open_dataset(tmp_path)), workers=2) == alone


def test_opencv_matrices_in_a_nerfstudio_file_are_found(chair: Chair, tmp_path: Path) -> None:
    WRITERS["nerfstudio"][0](tmp_path, chair)
    path = tmp_path / "transforms.json"
    content = json.loads(path.read_text())
    for frame in content["frames"]:
        frame["transform_matrix"] = (np.array(frame["transform_matrix"]) @ np.diag([1, -1, -1, 1])).tolist()
    path.write_text(json.dumps(content))
    findings = examine(Round(open_dataset(tmp_path)))
    (finding,) = [finding for finding in findings if finding.check == "camera-convention"]
    assert "OpenCV (x right, y down, z forward) camera-to-world" in finding.text
    assert finding.advice == "tunemv3d data convert --convention opencv"


def test_exchanged_pictures_of_srn_are_found(chair: Chair, tmp_path: Path) -> None:
    WRITERS["srn"][0](tmp_path, chair)
    pictures = tmp_path / "chairs_test" / "abc" / "rgb"
    (pictures / "000005.png").rename(pictures / "x")
    (pictures / "000020.png").rename(pictures / "000005.png")
    (pictures / "x").rename(pictures / "000020.png")
    (finding,) = examine(Round(open_dataset(tmp_path)))
    assert (finding.check, finding.views) == ("picture-order", (5, 20))


@pytest.mark.slow
def test_pages_show_pictures_as_the_layout_reads_them(chair: Chair, tmp_path: Path) -> None:
    """SRN's white ground is cut away, nerfstudio's masks are its alpha."""
    for name, id_ in (("srn", "abc"), ("nerfstudio", "capture")):
        source = tmp_path / name / "capture"
        WRITERS[name][0](source, chair)
        out = tmp_path / f"{name}-pages"
        result = CliRunner().invoke(app, ["show", str(source), "--out", str(out), "--json"])
        assert result.exit_code == 0 and json.loads(result.stdout)["layout"] == name
        alpha = np.asarray(Image.open(out / "objects" / id_ / "001.webp").convert("RGBA"))[..., 3]
        want = chair.pictures[1][..., 3] >= 128
        assert ((alpha >= 128) == want).mean() > 0.98
    srn = (tmp_path / "srn-pages" / "objects" / "abc" / "index.html").read_text()
    assert "held_out" in srn and "No shape" not in srn


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_folder_of_no_layout_is_refused_with_the_layouts(command: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    result = CliRunner().invoke(app, [command, str(tmp_path)])
    assert "none of the known layouts" in str(result.exception) and "dataset.json" in str(result.exception)
