"""Licences have one name each, and travel with the objects."""

import json
from pathlib import Path

import pytest
import trimesh
from typer.testing import CliRunner

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.posed_images import read_manifest, read_object
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.commands import app
from tunemv3d_data.licences import address, matches, spdx
from tunemv3d_data.rendering.executors import Here
from tunemv3d_data.rendering.job import RenderJob, run_job
from tunemv3d_data.sources.reading import read_sources


@pytest.mark.parametrize(
    ("words", "name"),
    [
        *(("by", "CC-BY-4.0"), ("by-nc", "CC-BY-NC-4.0"), ("by-nc-sa", "CC-BY-NC-SA-4.0"), ("by-sa", "CC-BY-SA-4.0")),
        *(("by-nd", "CC-BY-ND-4.0"), ("by-nc-nd", "CC-BY-NC-ND-4.0"), ("cc0", "CC0-1.0")),
        *(("CC Attribution", "CC-BY-4.0"), ("CC Attribution-NonCommercial-ShareAlike", "CC-BY-NC-SA-4.0")),
        *(("CC0 Public Domain", "CC0-1.0"), ("CC Attribution-NoDerivs", "CC-BY-ND-4.0")),
        ("Creative Commons Attribution 3.0 license", "CC-BY-3.0"),
        ("Creative Commons Attribution 3.0 United States license  Copyright 2008 Reallusion", "CC-BY-3.0-US"),
        ("http://creativecommons.org/licenses/by-sa/3.0/", "CC-BY-SA-3.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        *(("CC-BY-3.0-US", "CC-BY-3.0-US"), ("CC0-1.0", "CC0-1.0"), ("mit", "MIT"), ("", "")),
        *(
            ("CC-BY 4.0", "CC-BY-4.0"),
            ("Creative Commons Zero v1.0 Universal", "CC0-1.0"),
            ("cc by-sa 3.0 de", "CC-BY-SA-3.0-DE"),
        ),
        *(
            ("https://creativecommons.org/licenses/by/3.0/igo/", "CC-BY-3.0-IGO"),
            ("CC BY 4.0 International", "CC-BY-4.0"),
        ),
        *(
            ("The MIT License", "MIT"),
            ("apache license, version 2.0", "Apache-2.0"),
            ("isc", "ISC"),
            ("GPLv3", "GPL-3.0-only"),
        ),
        *(
            ("GNU LGPL v2.1 or later", "LGPL-2.1-or-later"),
            ("BSD 3-Clause License", "BSD-3-Clause"),
            ("wtfpl", "WTFPL"),
        ),
        *(("mit or apache-2.0", "MIT OR Apache-2.0"), ("LicenseRef-mine", "LicenseRef-mine"), ("Permit", "Permit")),
        *(("Free Standard", "Free Standard"), ("made by me", "made by me"), ("Editorial", "Editorial")),
    ],
)
def test_licences_by_their_spdx_names(words: str, name: str) -> None:
    assert spdx(words) == name and spdx(name) == name


def test_wanted_licences_are_families_or_versions() -> None:
    there = ["CC0-1.0", "CC-BY-3.0", "CC-BY-3.0-US", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "MIT", ""]
    wanted = {
        "cc-by": ["CC-BY-3.0", "CC-BY-3.0-US", "CC-BY-4.0"],
        "CC-BY-4.0": ["CC-BY-4.0"],
        "cc-by-3.0": ["CC-BY-3.0", "CC-BY-3.0-US"],
        **{"CC BY 4.0": ["CC-BY-4.0"], "creative commons attribution 3.0": ["CC-BY-3.0", "CC-BY-3.0-US"]},
        **{"cc0": ["CC0-1.0"], "mit": ["MIT"], "cc": [], "by": [], "": []},
    }
    assert {want: [name for name in there if matches(name, [want])] for want in wanted} == wanted


def test_addresses_are_those_of_creative_commons() -> None:
    assert address("CC-BY-3.0-US") == "https://creativecommons.org/licenses/by/3.0/us/"
    assert address("CC-BY-NC-SA-4.0") == "https://creativecommons.org/licenses/by-nc-sa/4.0/"
    assert address("made by me") == ""


def test_attributions_of_a_real_dataset_say_what_its_page_says(tmp_path: Path) -> None:
    chairs = find_asset("chairs")
    page = tmp_path / "page.md"
    outcome = CliRunner().invoke(app, ["attributions", str(chairs), "--out", str(page), "--json"])
    assert outcome.exit_code == 0
    assert json.loads(outcome.stdout)["licences"] == {"CC0-1.0": 20, "CC-BY-3.0": 41, "CC-BY-3.0-US": 6}
    rows = [[line for line in text.splitlines() if line.startswith("| ") and "licence" not in line]
            for text in (page.read_text(), (chairs / "ATTRIBUTION.md").read_text())]  # fmt: skip
    assert rows[0] == rows[1] and len(rows[0]) == 68
    assert "https://creativecommons.org/licenses/by/3.0/us/" in page.read_text()


def test_objects_without_a_licence_are_findings_and_stand_in_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "meshes").mkdir()
    for name in ("box", "ball"):
        trimesh.creation.icosphere(1).export(tmp_path / "meshes" / f"{name}.ply")
    (tmp_path / "meshes" / "metadata.csv").write_text("id,licence,source\nball,by-sa,my shelf\n")
    run_job(RenderJob(tmp_path / "out", views=2, size=(16, 16)), read_sources(tmp_path / "meshes"))
    outcome = CliRunner().invoke(app, ["attributions", str(tmp_path / "out")])
    assert outcome.exit_code == 1 and "no licence stated: box" in outcome.stdout
    assert "| box |  | not stated |" in (tmp_path / "out" / "ATTRIBUTION.md").read_text()
    ball = next(e for e in read_json(tmp_path / "out" / "dataset.json")["objects"] if e["id"] == "ball")
    assert (ball["licence"], ball["source"]) == ("CC-BY-SA-4.0", "my shelf: ball")


def shelf(folder: Path) -> Path:
    """Four meshes: one states its licence and creator, three state none."""
    folder.mkdir()
    for number, name in enumerate(("ball", "box", "cup", "dish")):
        trimesh.creation.box((1, 1 + number, 2)).export(folder / f"{name}.ply")
    (folder / "metadata.csv").write_text("id,licence,creator\nball,cc0,Ada\n")
    return folder


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and output of a command; anything but a message for people is raised."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "tunemv3d_data.rendering.executors.Processes", lambda *_: Here()
        )  # starting a worker takes seconds
        outcome = CliRunner().invoke(app, [*map(str, arguments)])
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return outcome.exit_code, outcome.output


def licences(out: Path) -> dict[str, tuple[str, str]]:
    """Licence and creator by id, from the records; the manifest must say the same."""
    records = [read_object(out / "objects" / id_) for id_ in read_manifest(out)]
    listed = {entry["id"]: entry["licence"] for entry in read_json(out / "dataset.json")["objects"]}
    assert listed == {record.id: record.licence for record in records}
    return {record.id: (record.licence, record.creator) for record in records}


QUICK = ("--views", 2, "--resolution", 16, "--renderer", "embree")
STATED = ("--state-licence", "CC-BY 4.0", "--state-creator", "Grace")
MINE = ("CC-BY-4.0", "Grace")


def test_one_option_states_the_licence_of_all_that_state_none(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said = run("render", shelf(tmp_path / "meshes"), "--out", out, *QUICK, *STATED)
    assert code == 0 and "CC-BY-4.0 stated for 3 objects" in said
    assert licences(out) == {"ball": ("CC0-1.0", "Ada"), "box": MINE, "cup": MINE, "dish": MINE}
    page = (out / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert page.endswith(
        "- CC-BY-4.0, 3 objects: https://creativecommons.org/licenses/by/4.0/\n"
        "- CC0-1.0, 1 object: https://creativecommons.org/publicdomain/zero/1.0/\n"
    )
    code, said = run("attributions", out)
    assert code == 0 and said.count("CC-BY-4.0") == 1 and "3 CC-BY-4.0, 1 CC0-1.0" in said
    run("show", out, "--out", tmp_path / "pages")
    index = (tmp_path / "pages" / "index.html").read_text(encoding="utf-8")
    assert "<td>CC-BY-4.0</td><td>3</td>" in index and "<td>CC0-1.0</td><td>1</td>" in index


def test_a_stated_licence_can_be_filtered_by(tmp_path: Path) -> None:
    meshes = shelf(tmp_path / "meshes")
    code, said = run("render", meshes, "--out", tmp_path / "a", *QUICK, *STATED, "--licence", "cc-by")
    assert code == 0 and set(licences(tmp_path / "a")) == {"box", "cup", "dish"} and "1 CC0-1.0" in said
    with pytest.raises(DatasetError, match=r"not stated.*--state-licence"):
        run("render", meshes, "--out", tmp_path / "b", *QUICK, "--licence", "cc-by")


def test_a_finished_dataset_is_told_its_licence(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("render", shelf(tmp_path / "meshes"), "--out", out, *QUICK)
    before = (out / "objects" / "ball" / "transforms.json").read_bytes()
    code, said = run("check", out, "--out", tmp_path / "c", "--workers", 1, "--json")
    advice = [f["advice"] for f in json.loads(said[said.index("{") :])["found"] if f["check"] == "licence-missing"]
    assert len(advice) == 3 and "--state-licence" in advice[0]
    code, said = run("attributions", out, *STATED)
    assert code == 0 and "3 CC-BY-4.0, 1 CC0-1.0" in said
    assert licences(out) == {"ball": ("CC0-1.0", "Ada"), "box": MINE, "cup": MINE, "dish": MINE}
    assert (out / "objects" / "ball" / "transforms.json").read_bytes() == before
    again = tmp_path / "again"
    run("render", tmp_path / "meshes", "--out", again, *QUICK, *STATED)  # stated at once: the same files
    for id_ in ("ball", "box", "cup", "dish"):
        stated, rendered = (folder / "objects" / id_ / "transforms.json" for folder in (out, again))
        assert stated.read_bytes() == rendered.read_bytes()
    code, said = run("render", tmp_path / "meshes", "--out", out, *QUICK, "--json")  # and goes on
    assert code == 0 and licences(out)["box"] == MINE


def test_conversion_states_and_filters(tmp_path: Path) -> None:
    source = tmp_path / "source"
    run("render", shelf(tmp_path / "meshes"), "--out", source, *QUICK)
    code, said = run("convert", source, "--out", tmp_path / "all", *STATED)
    assert code == 0 and licences(tmp_path / "all")["box"] == MINE
    assert licences(tmp_path / "all")["ball"] == ("CC0-1.0", "Ada")
    code, said = run("convert", source, "--out", tmp_path / "free", "--licence", "cc0")
    assert code == 0 and set(licences(tmp_path / "free")) == {"ball"} and "3 left out" in said
    with pytest.raises(DatasetError, match=r"--licence ShapeNet terms.*--state-licence"):
        run("convert", source, "--out", tmp_path / "none", "--licence", "ShapeNet terms")
