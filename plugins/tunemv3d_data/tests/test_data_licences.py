"""Licences have one name each, and travel with the objects."""

import json
from pathlib import Path

import pytest
import trimesh
from typer.testing import CliRunner

from tunemv3d_core.io.posed_images import read_json
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.commands import app
from tunemv3d_data.licences import address, matches, spdx
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
