"""The render job survives what real folders hold, and its files are what the layout says."""

import json
import logging
import shutil
import tracemalloc
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from job_stand_ins import boxes, meshes_folder, pictures
from PIL import Image

from tunemv3d_core.errors import ComponentError, DatasetError
from tunemv3d_core.io.depth_normals import read_depth, read_normals
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.posed_images import read_manifest, read_object
from tunemv3d_data.meshes.mesh import Mesh, load_mesh
from tunemv3d_data.objects import SourceObject
from tunemv3d_data.renderers.embree import EmbreeRenderer
from tunemv3d_data.rendering import job as job_module
from tunemv3d_data.rendering.job import run_job
from tunemv3d_data.rendering.settings import JobShard, OutputError, RenderJob
from tunemv3d_data.rendering.viewpoints import Rig, viewpoints
from tunemv3d_data.sources.reading import read_sources


def test_job_reports_broken_meshes_resumes_and_repeats_its_bytes(tmp_path: Path) -> None:
    sources = read_sources(meshes_folder(tmp_path / "meshes"))
    job = RenderJob(tmp_path / "out", views=3, size=(24, 24), variants=1, held_out=frozenset({"box"}))
    report = run_job(job, sources)
    assert [(r.id, r.status) for r in report.results] == [
        ("box", "rendered"),
        ("broken", "failed"),
        ("red-ball", "rendered"),
        ("red-ball-v1", "rendered"),
    ]
    assert "broken.glb" in report.of("failed")[0].reason
    assert read_manifest(job.out) == {"box": "held_out", "red-ball": "train", "red-ball-v1": "train"}
    first = pictures(job.out)
    kept = job.out / "objects" / "box" / "000.webp"
    kept.write_bytes(b"untouched")
    (job.out / "objects" / "red-ball" / "transforms.json").unlink()
    again = run_job(job, sources)
    assert [r.status for r in again.results] == ["kept", "failed", "rendered", "kept"]
    assert kept.read_bytes() == b"untouched"
    other = RenderJob(tmp_path / "other", views=3, size=(24, 24), variants=1, held_out=frozenset({"box"}))
    run_job(other, sources)
    second = pictures(other.out)
    assert {k: v for k, v in first.items() if "dataset" not in k} == {
        k: v for k, v in second.items() if "dataset" not in k
    }


def test_written_objects_hold_the_cameras_and_the_pictures(tmp_path: Path) -> None:
    sources = read_sources(meshes_folder(tmp_path / "meshes"))
    run_job(RenderJob(tmp_path / "out", views=4, size=(32, 32)), sources)
    record = read_object(tmp_path / "out" / "objects" / "box")
    expected = viewpoints("box", 4)
    assert torch.allclose(record.cameras.camera_to_world, expected.camera_to_world, atol=1e-6)
    assert torch.allclose(record.cameras.intrinsics, expected.intrinsics, atol=1e-6)
    image = np.asarray(Image.open(tmp_path / "out" / "objects" / "box" / record.files[1]))
    rendered = list(EmbreeRenderer()(load_mesh(sources[0]), expected, (32, 32)))[1]["rgba"]
    assert np.array_equal(image, rendered) and record.captions


def test_a_folder_with_other_settings_is_refused(tmp_path: Path) -> None:
    sources = read_sources(meshes_folder(tmp_path / "meshes"))[:1]
    run_job(RenderJob(tmp_path / "out", views=2, size=(16, 16)), sources)
    with pytest.raises(DatasetError, match="--out"):
        run_job(RenderJob(tmp_path / "out", views=3, size=(16, 16)), sources)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.txt").write_text("x")
    with pytest.raises(DatasetError, match="not a dataset"):
        run_job(RenderJob(tmp_path / "photos"), sources)


def test_rods_are_refused(tmp_path: Path) -> None:
    (tmp_path / "meshes").mkdir()
    trimesh.creation.box((0.01, 3, 0.01)).export(tmp_path / "meshes" / "rod.stl")
    report = run_job(RenderJob(tmp_path / "out", views=2, size=(32, 32)), read_sources(tmp_path / "meshes"))
    assert report.results[0].status == "refused" and "2%" in report.results[0].reason


def test_an_unknown_renderer_and_a_full_disk_are_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = read_sources(meshes_folder(tmp_path / "meshes"))[:1]
    with pytest.raises(ComponentError, match="embree"):
        run_job(RenderJob(tmp_path / "out", renderer="embre"), sources)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tunemv3d_data.rendering.pictures.save_image", full)
    with pytest.raises(DatasetError, match="No space left"):
        run_job(RenderJob(tmp_path / "out", views=2, size=(16, 16)), sources)
    monkeypatch.undo()
    assert run_job(RenderJob(tmp_path / "out", views=2, size=(16, 16)), sources).results[0].status == "rendered"


def test_depth_normals_and_facts_lie_beside_the_pictures(tmp_path: Path) -> None:
    source = SourceObject(**{**vars(read_sources(meshes_folder(tmp_path / "meshes"))[0]), "given": ("my own box",)})
    job = RenderJob(tmp_path / "out", views=3, size=(24, 24), variants=1)
    assert [r.status for r in run_job(job, [source]).results] == ["rendered", "rendered"]
    record = read_object(job.folder("box"))
    assert record.depth_files == ("000.depth.png", "001.depth.png", "002.depth.png")
    assert record.normal_files == ("000.normal.png", "001.normal.png", "002.normal.png")
    views = EmbreeRenderer()(load_mesh(source), viewpoints("box", 3), (24, 24))
    for view, depth, normals in zip(views, record.depth_files, record.normal_files, strict=True):
        assert np.abs(read_depth(job.folder("box") / depth) - view["depth"]).max() <= 0.0005001
        assert np.abs(read_normals(job.folder("box") / normals) - view["normals"]).max() < 0.01
    assert record.captions[0] == "my own box" and "box" in record.captions[1]
    assert "my own box" not in read_object(job.folder("box-v1")).captions, "a variant has other colours"
    assert record.extra["renderer"] == "embree" and len(record.extra["source_sha256"]) == 64
    kinds = {path.suffix for path in job.folder("box").iterdir()}
    plain = RenderJob(tmp_path / "plain", views=3, size=(24, 24), geometry=False)
    run_job(plain, [source])
    assert kinds == {".webp", ".png", ".json"}
    assert {path.suffix for path in plain.folder("box").iterdir()} == {".webp", ".json"}
    assert read_object(plain.folder("box")).depth_files == ()


@pytest.mark.parametrize("suffix", ["obj", "glb", "stl"])
def test_the_way_from_the_mesh_file_to_the_world_is_recorded(tmp_path: Path, suffix: str) -> None:
    """Read back by trimesh, the file's own corners lie where the pictures show them, a variant's too."""
    (tmp_path / "meshes").mkdir()
    wedge = trimesh.convex.convex_hull([[10, 0, 3], [14, 0, 3], [10, 2, 3], [10, 0, 8]])
    placed = trimesh.Scene()
    placed.add_geometry(wedge, transform=trimesh.transformations.rotation_matrix(0.4, [1, 2, 3]))
    (placed if suffix == "glb" else wedge).export(tmp_path / "meshes" / f"wedge.{suffix}")
    source = read_sources(tmp_path / "meshes")[0]
    job = RenderJob(tmp_path / "out", views=2, size=(32, 32), variants=1)
    run_job(job, [source])
    corners = trimesh.load(source.path, force="mesh").vertices
    for name in ("wedge", "wedge-v1"):
        record = read_object(job.folder(name))
        matrix = np.array(record.extra["mesh_to_world"])
        moved = corners @ matrix[:3, :3].T + matrix[:3, 3]
        assert np.linalg.norm(moved, axis=1).max() == pytest.approx(0.9, abs=1e-5)
        depth = read_depth(job.folder(name) / record.depth_files[0])
        pixels = (np.argwhere(depth > 0)[:, ::-1] + 0.5) / 32
        rays = record.cameras[0].rays((0, 0), torch.from_numpy(pixels).float())
        seen = rays.origins + torch.from_numpy(depth[depth > 0])[:, None] * rays.directions
        hull = trimesh.convex.convex_hull(moved)
        beyond = np.einsum("pfx,fx->pf", seen.numpy()[:, None] - hull.triangles_center, hull.face_normals).max(1)
        # Depth is that of a point within the pixel, which is 0.065 wide.
        assert len(beyond) > 20 and np.abs(beyond).max() < 0.065


def test_a_background_is_what_compositing_gives_and_leaves_the_mask_to_the_depth(tmp_path: Path) -> None:
    source = read_sources(meshes_folder(tmp_path / "meshes"))[0]
    job = RenderJob(tmp_path / "out", views=2, size=(32, 32), background="#336699")
    run_job(job, [source])
    rgba = next(EmbreeRenderer()(load_mesh(source), viewpoints("box", 2), (32, 32)))["rgba"].astype(np.float64)
    expected = rgba[..., :3] * rgba[..., 3:] / 255 + np.array([0x33, 0x66, 0x99]) * (1 - rgba[..., 3:] / 255)
    with Image.open(job.folder("box") / "000.webp") as image:
        pixels = np.asarray(image.convert("RGBA"))
    assert np.abs(pixels[..., :3] - expected).max() <= 0.51 and (pixels[..., 3] == 255).all()
    mask = read_depth(job.folder("box") / "000.depth.png") > 0
    assert np.array_equal(mask, rgba[..., 3] > 0)


def test_options_that_cannot_work_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="mask"):
        RenderJob(tmp_path / "out", background="white", geometry=False)
    with pytest.raises(DatasetError, match="transparent, white"):
        RenderJob(tmp_path / "out", background="whyte")
    with pytest.raises(DatasetError, match=r"65\.535"):
        RenderJob(tmp_path / "out", rig=Rig(distance=70))
    for text in ("4/4", "1", "-1/3", "a/b", "1/0"):
        with pytest.raises(DatasetError, match="--shard"):
            JobShard.parse(text)
    assert not (tmp_path / "out").exists()


def test_light_and_cameras_are_those_asked_for(tmp_path: Path) -> None:
    source = read_sources(meshes_folder(tmp_path / "meshes"))[0]
    rig = Rig(pattern="rings", ring=0, elevations=(30, 40), distance=4.0, field_of_view=30)
    for light in ("studio", "flat", "random"):
        run_job(RenderJob(tmp_path / light, views=2, size=(32, 32), rig=rig, light=light), [source])
    record = read_object(tmp_path / "flat" / "objects" / "box")
    eyes = record.cameras.origins
    assert torch.allclose(eyes.norm(dim=-1), torch.full((2,), 4.0), atol=1e-5)
    assert ((torch.rad2deg(torch.asin(eyes[:, 2] / 4)) - 35).abs() < 5).all()
    assert record.cameras.intrinsics[0, 0].item() == pytest.approx(0.5 / np.tan(np.radians(15)))
    first = {light: (tmp_path / light / "objects" / "box" / "000.webp").read_bytes() for light in ("studio", "random")}
    assert first["studio"] != first["random"]
    assert read_json(tmp_path / "flat" / "dataset.json")["settings"]["cameras"]["distance"] == 4.0


HOSTILE = (
    "../../x",
    "/etc/x",
    "",
    ".",
    "..",
    "a" * 300,
    "a\\b",
    "a/b",
    "nul\0",
    "C:x",
    "line\nbreak",
    ".hidden",
    "box ",
)


def test_hostile_ids_write_nothing_outside(tmp_path: Path) -> None:
    (box,) = boxes(tmp_path / "meshes", 1)
    accents = [unicodedata.normalize(form, "chaise-étroite-椅子") for form in ("NFC", "NFD")]
    ids = (*HOSTILE, "Box", "bOX", "box-v1", *accents)
    before = set(tmp_path.rglob("*"))
    job = RenderJob(tmp_path / "a" / "out", views=2, size=(16, 16), variants=1)
    report = run_job(job, [SourceObject(id_, box.path) for id_ in ids])
    rendered = [result.id for result in report.of("rendered")]
    assert rendered == ["Box", "Box-v1", accents[0], f"{accents[0]}-v1"]
    assert {result.id for result in report.of("refused")} == {*HOSTILE, "bOX", "box-v1", accents[1]}
    outside = {p for p in set(tmp_path.rglob("*")) - before if job.out not in p.parents} - {job.out, job.out.parent}
    assert not outside
    assert sorted(path.name for path in (job.out / "objects").iterdir()) == sorted(rendered)
    assert {entry["id"] for entry in read_json(job.out / "report.json")["objects"]} == set(ids) | set(rendered)


def test_the_report_says_what_became_of_every_object(tmp_path: Path) -> None:
    sources = read_sources(meshes_folder(tmp_path / "meshes"))
    problem = SourceObject("gone", tmp_path / "gone.glb", problem="gone.glb: was never downloaded")
    thin = SourceObject("rod", tmp_path / "meshes" / "rod.stl")
    trimesh.creation.box((0.01, 3, 0.01)).export(thin.path)
    job = RenderJob(tmp_path / "out", views=2, size=(32, 32))
    run_job(job, [*sources, problem, thin])
    report = read_json(job.out / "report.json")
    assert (report["rendered"], report["refused"], report["failed"]) == (2, 2, 1)
    assert report["causes"] == {"source": 1, "too little to see": 1, "unreadable": 1}
    by_id = {entry["id"]: entry for entry in report["objects"]}
    assert [entry["id"] for entry in report["objects"]] == sorted(by_id)
    assert by_id["gone"]["reason"] == "gone.glb: was never downloaded"
    assert str(tmp_path) not in json.dumps(report), "the folders of this machine are nobody's business"
    trimesh.creation.icosphere(2).export(tmp_path / "meshes" / "broken.glb")
    run_job(job, [*sources, problem, thin])
    report = read_json(job.out / "report.json")
    assert (report["rendered"], report["failed"]) == (3, 0), "a mesh that was mended is rendered"


def test_what_is_logged_about_a_mesh_is_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(source: SourceObject) -> Mesh:
        for _ in range(2):
            logging.getLogger("tunemv3d_data.meshes").warning("%s is missing\nat line 3", "wood.png")
        logging.getLogger("tunemv3d_data.meshes").info("all is well")
        return load_mesh(source)

    monkeypatch.setattr("tunemv3d_data.rendering.one_object.load_mesh", load)
    job = RenderJob(tmp_path / "out", views=2, size=(16, 16))
    run_job(job, boxes(tmp_path / "meshes", 1))
    (entry,) = read_json(job.out / "report.json")["objects"]
    assert (entry["id"], entry["status"]) == ("box-00", "rendered")
    logged = [note for note in entry["notes"] if note["kind"] == "other"]  # beside them, that it has no name
    assert logged == [{"kind": "other", "text": "wood.png is missing"}]


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        run_job(RenderJob(tmp_path / "file" / "out", views=2), boxes(tmp_path / "meshes", 1))


@pytest.mark.slow
def test_many_views_are_not_held_in_memory(tmp_path: Path) -> None:
    """At 8 times as many views the job keeps no more than the fixed number that captions need."""
    (source,) = boxes(tmp_path / "meshes", 1)
    peaks = []
    for views in (24, 192):
        tracemalloc.start()
        run_job(RenderJob(tmp_path / str(views), views=views, size=(128, 128), geometry=False), [source])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_a_job_whose_folder_another_removes_before_it_is_locked_takes_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, seen = job_module._locked, []

    def late(scratch: Path) -> object:
        """The first time, another run that tidies up comes first."""
        seen.append(scratch)
        if len(seen) == 1:
            shutil.rmtree(scratch.parent)
            return None
        return locked(scratch)

    monkeypatch.setattr(job_module, "_locked", late)
    report = run_job(RenderJob(tmp_path / "out", views=2, size=(16, 16)), boxes(tmp_path / "meshes", 1))
    assert [result.status for result in report.results] == ["rendered"]
    assert len(set(seen)) == len(seen) == 2
    assert (tmp_path / "out/dataset.json").is_file() and not (tmp_path / "out/.unfinished").exists()


def test_a_job_that_was_killed_at_its_very_beginning_starts_again(tmp_path: Path) -> None:
    sources = boxes(tmp_path / "meshes", 1)
    job = RenderJob(out=tmp_path / "out", views=2, size=(16, 16))
    (tmp_path / "out/objects").mkdir(parents=True)
    (tmp_path / "out/.unfinished/0-of-1-0").mkdir(parents=True)
    assert run_job(job, sources).counts()["rendered"] == 1
    (tmp_path / "other/objects/mine").mkdir(parents=True)
    with pytest.raises(DatasetError, match="not empty and not a dataset"):
        run_job(replace(job, out=tmp_path / "other"), sources)
