"""Notes: of what kind they are, and that nobody misses them."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import read_json, write_json
from tunemv3d_core.io.posed_images import read_manifest, write_manifest
from tunemv3d_core.io.shards import parse_index
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.commands import app
from tunemv3d_data.layouts import ours
from tunemv3d_data.notes import Note, collect, note, notes_of
from tunemv3d_data.rendering.executors import Here
from tunemv3d_data.rendering.job import run_job
from tunemv3d_data.rendering.settings import JobShard, RenderJob
from tunemv3d_data.sources.reading import read_sources


def test_notes_are_collected_once_each_with_their_kind_and_others_logs_as_other() -> None:
    with collect() as heard:
        for _ in range(2):
            note("missing texture", "100%s wood.png is missing")
        note("no normals", "part 3 has no normals")
        logging.getLogger("trimesh").warning("face %d\nis odd", 4)
        logging.getLogger("trimesh").info("all is well")
    note("other", "too late")
    assert heard == [
        Note("missing texture", "100%s wood.png is missing"),
        Note("no normals", "part 3 has no normals"),
        Note("other", "face 4"),
    ]


def test_notes_are_warnings_for_callers_in_python(caplog: pytest.LogCaptureFixture) -> None:
    note("missing file", "chair.mtl is missing")
    assert caplog.record_tuples == [("tunemv3d_data.notes", logging.WARNING, "chair.mtl is missing")]


def test_notes_survive_json_and_those_of_older_datasets_are_read() -> None:
    kept = [Note("untextured", "seat"), Note("other", "what")]
    assert notes_of({"notes": [each.to_json() for each in kept]}) == tuple(kept)
    assert notes_of({"warnings": ["wood.png is missing"]}) == (Note("other", "wood.png is missing"),)
    assert notes_of({}) == ()


def test_notes_that_somebody_spoilt_are_still_one_printable_line() -> None:
    spoilt = [{"kind": "\x1b[31m", "text": "a\x1b]0;b\nc"}, 5, {"text": "x" * 10**6}]
    first, second = notes_of({"notes": spoilt, "warnings": 7})
    assert (
        first == Note("other", "a\N{REPLACEMENT CHARACTER}]0;b") and second.kind == "other" and len(second.text) == 300
    )


def chairs_without_wood(folder: Path) -> Path:
    """Three sheets: one whole, two that name a texture that is not there (and one of these an opacity map, too)."""
    folder.mkdir()
    for name, maps in (("whole", ""), ("bare", "map_Kd wood.png\n"), ("barer", "map_Kd wood.png\nmap_d glass.png\n")):
        (folder / f"{name}.mtl").write_text(f"newmtl m\nKd 0.2 0.4 0.6\n{maps}")
        corners = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0.3\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        faces = "f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n"
        (folder / f"{name}.obj").write_text(f"mtllib {name}.mtl\n{corners}usemtl m\n{faces}")
    names = "".join(f"{name}.obj,chair\n" for name in ("whole", "bare", "barer"))
    (folder / "metadata.csv").write_text(f"file,name\n{names}")  # without, a note would say that they tell nothing
    return folder


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and output of a command; anything but a message for people is raised."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "tunemv3d_data.rendering.executors.Processes", lambda *_: Here()
        )  # starting a worker takes seconds
        outcome = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return outcome.exit_code, outcome.stdout


QUICK = ("--views", 2, "--resolution", 16, "--renderer", "embree")
COUNTS = {"missing texture": {"objects": 2, "notes": 3}}


def counts(notes: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    return {kind: {key: entry[key] for key in ("objects", "notes")} for kind, entry in notes.items()}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    code, said = run("render", chairs_without_wood(folder / "meshes"), "--out", folder / "out", *QUICK)
    assert code == 0
    (row,) = [line for line in said.splitlines() if "missing texture" in line]
    assert [cell.strip() for cell in row.strip("│").split("│")][:3] == ["missing texture", "2", "3"]
    assert "bare: wood.png is missing" in row and str(folder / "out" / "report.json") in said
    return folder


def test_a_render_counts_notes_in_the_terminal_in_json_and_in_the_report(rendered: Path) -> None:
    report = read_json(rendered / "out" / "report.json")
    assert counts(report["notes"]) == COUNTS
    assert {entry["id"]: len(entry["notes"]) for entry in report["objects"]} == {"bare": 1, "barer": 2, "whole": 0}
    assert {note["kind"] for entry in report["objects"] for note in entry["notes"]} == {"missing texture"}
    code, said = run("render", rendered / "meshes", "--out", rendered / "out", *QUICK, "--json")  # all is kept
    told = json.loads(said)
    assert code == 0 and told["counts"]["kept"] == 3 and counts(told["notes"]) == COUNTS
    assert told["report"] == str(rendered / "out" / "report.json")


def test_variants_do_not_count_again_and_an_interrupted_job_counts_all(tmp_path: Path) -> None:
    meshes, out = chairs_without_wood(tmp_path / "meshes"), tmp_path / "out"
    (tmp_path / "bare.txt").write_text("bare")
    run("render", meshes, "--out", out, *QUICK, "--variants", 2, "--select", tmp_path / "bare.txt")
    assert counts(read_json(out / "report.json")["notes"]) == {"missing texture": {"objects": 1, "notes": 1}}
    _, said = run("render", meshes, "--out", out, *QUICK, "--variants", 2, "--json")
    assert json.loads(said)["counts"]["kept"] == 3 and counts(json.loads(said)["notes"]) == COUNTS


def test_the_report_of_an_interrupted_job_counts_what_is_there_and_the_next_one_all(tmp_path: Path) -> None:
    sources = read_sources(chairs_without_wood(tmp_path / "meshes"))
    job = RenderJob(tmp_path / "out", views=2, size=(16, 16))

    def interrupt(finished: int, of: int) -> None:
        if finished == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job, sources, progress=interrupt)
    assert counts(read_json(job.out / "report.json")["notes"]) == {"missing texture": {"objects": 1, "notes": 1}}
    assert counts(run_job(job, sources).notes.to_json()) == COUNTS
    assert counts(run_job(job, sources, shard=JobShard(2, 3)).notes.to_json()) == COUNTS  # other shards' count, too


def test_a_dataset_of_before_there_were_kinds_goes_on(tmp_path: Path) -> None:
    meshes, out = chairs_without_wood(tmp_path / "meshes"), tmp_path / "out"
    run("render", meshes, "--out", out, *QUICK)
    record = read_json(out / "objects" / "bare" / "transforms.json")
    notes = record.pop("notes")
    write_json(out / "objects" / "bare" / "transforms.json", {**record, "warnings": [notes[0]["text"]]})
    code, said = run("render", meshes, "--out", out, *QUICK, "--json")
    older = {"other": {"objects": 1, "notes": 1}, "missing texture": {"objects": 1, "notes": 2}}
    assert code == 0 and counts(json.loads(said)["notes"]) == older


def test_strict_leaves_objects_with_notes_out_and_lists_them(tmp_path: Path) -> None:
    meshes, out = chairs_without_wood(tmp_path / "meshes"), tmp_path / "out"
    code, said = run("render", meshes, "--out", out, *QUICK, "--strict")
    assert code == 1 and list(read_manifest(out)) == ["whole"] and "1 rendered, 0 kept, 2 refused" in said
    assert "refused barer: missing texture: wood.png is missing, or lies outside the source, and 1 more" in said
    assert read_json(out / "report.json")["causes"] == {"missing texture": 2}
    Image.new("RGB", (4, 4), (200, 10, 10)).save(meshes / "wood.png")
    code, _ = run("render", meshes, "--out", out, *QUICK, "--strict")  # mended: tried again
    assert code == 1 and list(read_manifest(out)) == ["bare", "whole"]
    with pytest.raises(DatasetError, match="strict True, not False"):
        run("render", meshes, "--out", out, *QUICK)


def test_conversion_keeps_counts_and_refuses_notes(rendered: Path, tmp_path: Path) -> None:
    out = tmp_path / "converted"
    code, said = run("convert", rendered / "out", "--out", out)
    assert code == 0 and "missing texture" in said and str(out / "report.json") in said and "3 converted" in said
    assert counts(read_json(out / "report.json")["notes"]) == COUNTS
    code, said = run("convert", rendered / "out", "--out", out, "--json")  # all is kept
    assert code == 0 and counts(json.loads(said)["notes"]) == COUNTS
    code, said = run("convert", rendered / "out", "--out", tmp_path / "strict", "--strict")
    assert code == 1 and list(read_manifest(tmp_path / "strict")) == ["whole"]
    assert "refused bare: missing texture: wood.png is missing, or lies outside the source\n" in said
    report = read_json(tmp_path / "strict" / "report.json")
    assert (report["converted"], report["refused"], report["notes"]) == (1, 2, {})
    assert {entry["id"]: entry["status"] for entry in report["objects"]} == {
        **{"bare": "refused", "barer": "refused", "whole": "converted"}
    }
    with pytest.raises(DatasetError, match="use another --out"):
        run("convert", rendered / "out", "--out", out, "--strict")


def test_packing_counts_notes_and_leaves_them_out(rendered: Path, tmp_path: Path) -> None:
    code, said = run("pack", rendered / "out", "--out", tmp_path / "all")
    assert code == 0 and "missing texture" in said and str(rendered / "out" / "report.json") in said
    code, said = run("pack", rendered / "out", "--out", tmp_path / "strict", "--strict", "--json")
    told = json.loads(said)
    assert code == 1 and counts(told["notes"]) == COUNTS and told["objects"] == 1
    assert [entry["id"] for entry in told["left_out"]] == ["bare", "barer"]
    index = parse_index(json.loads((tmp_path / "strict" / "shards.json").read_text()), "here")
    assert [packed.id for packed in index] == ["whole"]


def test_a_dataset_of_notes_alone_is_not_packed_strictly(rendered: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "objects").mkdir(parents=True)
    shutil.copytree(rendered / "out" / "objects" / "bare", tmp_path / "in" / "objects" / "bare")
    write_manifest(tmp_path / "in", "in", {"bare": "train"})
    with pytest.raises(DatasetError, match="every object has notes"):
        run("pack", tmp_path / "in", "--out", tmp_path / "out", "--strict")
    assert not (tmp_path / "out").exists()


def test_pages_show_notes_by_kind_and_by_object(rendered: Path, tmp_path: Path) -> None:
    code, _ = run("show", rendered / "out", "--out", tmp_path / "pages")
    index = (tmp_path / "pages" / "index.html").read_text(encoding="utf-8")
    assert code == 0 and "<td>missing texture</td><td>2</td><td>3</td>" in index and "report.json" in index
    page = (tmp_path / "pages" / "objects" / "barer" / "index.html").read_text(encoding="utf-8")
    assert "missing texture: glass.png is missing, or lies outside the source" in page
    assert "<h2>Notes</h2>" not in (tmp_path / "pages" / "objects" / "whole" / "index.html").read_text(encoding="utf-8")


def test_the_doctor_finds_notes_and_harmless_ones_do_not_set_the_exit_code(rendered: Path, tmp_path: Path) -> None:
    code, said = run("check", rendered / "out", "--out", tmp_path / "c", "--workers", 1, "--json")
    found = [finding for finding in json.loads(said)["found"] if finding["check"] == "missing-texture"]
    assert code == 1 and [(f["object"], f["level"]) for f in found] == [("bare", "warning"), ("barer", "warning")]
    assert "wood.png" in found[1]["text"] and found[1]["numbers"] == {"notes": 2}
    (tmp_path / "in" / "objects").mkdir(parents=True)
    chair = "blend-swap-cc-0-chair"
    shutil.copytree(find_asset("chairs") / "objects" / chair, tmp_path / "in" / "objects" / chair)
    write_manifest(tmp_path / "in", "in", {chair: "train"})
    record = tmp_path / "in" / "objects" / chair / "transforms.json"
    write_json(record, {**read_json(record), "notes": [{"kind": "texture scaled down", "text": "wood.png"}]})
    code, said = run("check", tmp_path / "in", "--out", tmp_path / "c", "--workers", 1)
    assert code == 0 and "texture-scaled-down" in said and "0 errors, 0 warnings, 1 notes" in said


def test_what_is_noted_while_a_capture_is_first_read_is_in_its_record(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ours.read

    def noting(folder: Path) -> Any:
        note("camera", "its matrices scale")
        return read(folder)

    monkeypatch.setattr(ours, "read", noting)
    run("convert", rendered / "out", "--out", tmp_path / "out")
    notes = read_json(tmp_path / "out" / "report.json")["notes"]
    assert counts(notes) == {**COUNTS, "camera": {"objects": 3, "notes": 3}}
