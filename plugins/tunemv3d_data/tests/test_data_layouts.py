"""Every layout is read in its own convention: a real chair, written out by formulas, comes back in place."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from other_layouts import CHAIR, POINTS, WRITERS, Chair, save, write_nerfstudio, write_srn, write_zero123

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.posed_images import PosedImages, read_object
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.layouts import Collection, open_dataset
from tunemv3d_data.layouts.syncdreamer import read_meta, target_poses
from tunemv3d_data.layouts.views import without_white_ground
from tunemv3d_data.layouts.world import World


@pytest.fixture(scope="module")
def chair() -> Chair:
    return Chair()


@pytest.fixture(scope="module", params=WRITERS)
def layout(request: pytest.FixtureRequest, chair: Chair, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    WRITERS[request.param][0](folder, chair)
    return request.param, folder


def zoom_of(name: str) -> np.ndarray:
    """Focal lengths that the writers gave the 24 views, over the chair's own 1.3."""
    return {"zero123": np.full(24, 1.09375 / 1.3), "trellis": 1 - 0.01 * np.arange(24)}.get(name, np.ones(24))


def factor_of(cameras: Cameras, chair: Chair) -> float:
    """Our world units in one of the chair's, from the distances between eyes."""
    eyes = cameras.origins.double().numpy()
    return float(np.linalg.norm(eyes[5] - eyes[0]) / np.linalg.norm(chair.eye[5] - chair.eye[0]))


def test_points_are_seen_at_the_same_pixels(layout: tuple[str, Path], chair: Chair) -> None:
    """Up to the world's scale, and for estimated worlds its centre: z is up, the front at -y, the object within 0.9."""
    name, folder = layout
    collection = open_dataset(folder)
    assert collection.layout == name and len(collection.ids) == 1
    cameras = collection.record(collection.ids[0]).cameras
    factor, pose = factor_of(cameras, chair), cameras.camera_to_world.double().numpy()
    known = WRITERS[name][1]
    if known is None:
        assert 0.8 < factor <= 1.2  # the armchair reaches 0.9 in its own world, too
        centre = (pose[:, :3, 3] - factor * chair.eye).mean(0)
        assert np.abs(centre).max() < 1e-5
    else:
        assert factor == pytest.approx(known, rel=1e-5)
    assert np.abs(pose[:, :3, :3] - np.stack([chair.right, chair.down, chair.forward], axis=2)).max() < 1e-5
    offset = (POINTS * factor)[None] - pose[:, None, :3, 3]
    in_camera = np.einsum("npc,nci->npi", offset, pose[:, :3, :3])
    fx, fy, cx, cy = cameras.intrinsics.double().numpy().T[..., None]
    x = in_camera[..., 0] / in_camera[..., 2] * fx + cx
    y = in_camera[..., 1] / in_camera[..., 2] * fy + cy
    expected = (chair.pixels() - 0.5) * zoom_of(name)[:, None, None] + 0.5
    assert np.abs(np.stack([x, y], axis=-1) - expected).max() < 1e-4


def test_the_visual_hull_fills_the_silhouettes(layout: tuple[str, Path], chair: Chair) -> None:
    """Points that all silhouettes contain: a wrong axis leaves none, a wrong focal length or half a turn too few."""
    collection = open_dataset(layout[1])
    cameras = collection.record(collection.ids[0]).cameras
    alphas = [collection.picture(collection.ids[0], view)[..., 3] > 127 for view in range(cameras.shape[0])]
    line = np.linspace(-0.9, 0.9, 72) * factor_of(cameras, chair)
    points = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
    for view, alpha in enumerate(alphas):
        points = points[seen(cameras, view, points, grown(alpha))[0]]
    for view, alpha in enumerate(alphas):
        _, x, y = seen(cameras, view, points, alpha)
        covered = np.zeros_like(alpha)
        covered[y, x] = True
        side = len(alpha) // 64
        for _ in range(side + 1):
            covered = grown(covered)
        assert (covered & alpha).sum() > 0.96 * alpha.sum()


def seen(cameras: Cameras, view: int, points: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, ...]:
    pose = cameras.camera_to_world[view].double().numpy()
    fx, fy, cx, cy = cameras.intrinsics[view].double().numpy()
    in_camera = (points - pose[:3, 3]) @ pose[:3, :3]
    h, w = alpha.shape
    x = np.floor((in_camera[:, 0] / in_camera[:, 2] * fx + cx) * w).astype(int).clip(0, w - 1)
    y = np.floor((in_camera[:, 1] / in_camera[:, 2] * fy + cy) * h).astype(int).clip(0, h - 1)
    return alpha[y, x], x, y


def grown(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    return padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:] | mask


def test_a_stated_world_comes_before_an_estimated_one(chair: Chair, tmp_path: Path) -> None:
    write_nerfstudio(tmp_path, chair)
    world = World(scale=0.25, centre=(5.0, -1.0, 2.0), up="y")
    record = open_dataset(tmp_path, world=world).record(tmp_path.name)
    assert factor_of(record.cameras, chair) == pytest.approx(0.75, rel=1e-5)
    turned = open_dataset(tmp_path, world=World(up="z")).record(tmp_path.name).cameras.origins
    assert turned[:, 1].mean().abs() > 0.5  # the ring that stood around z now stands around y


def test_cameras_on_one_side_still_know_what_is_up(chair: Chair, tmp_path: Path) -> None:
    """All from above on an arc: their mean up leans, their common vertical does not."""
    few = Chair(4)
    write_nerfstudio(tmp_path, few)
    cameras = open_dataset(tmp_path).record(tmp_path.name).cameras
    elevation = cameras.camera_to_world[:, 2, 2].numpy()
    assert np.abs(elevation - chair.forward[:4, 2]).max() < 1e-5


def test_our_own_layout_comes_back_as_it_is() -> None:
    chairs = open_dataset(find_asset("chairs"))
    record, own = chairs.record(CHAIR), read_object(find_asset("chairs") / "objects" / CHAIR)
    assert chairs.layout == "tunemv3d" and record.captions == own.captions and record.creator == own.creator
    assert np.array_equal(record.cameras.camera_to_world, own.cameras.camera_to_world)
    assert record.extra["split"] in ("train", "held_out") and len(chairs.ids) == 67


def test_white_ground_is_cut_from_outside_only() -> None:
    """A white seat inside a dark frame stays; white that touches the border goes; nearly white is the object."""
    picture = np.full((9, 9, 3), 255, dtype=np.uint8)
    picture[2:7, 2:7] = 10
    picture[4, 4] = 255
    picture[8, 0] = 254
    alpha = without_white_ground(picture)
    assert alpha[4, 4] == 255 and alpha[2, 2] == 255 and alpha[8, 0] == 255
    assert (alpha == 0).sum() == 81 - 25 - 1
    assert not without_white_ground(np.full((5, 7, 3), 255, np.uint8)).any()
    assert without_white_ground(np.zeros((5, 7, 3), np.uint8)).all()


def test_target_views_of_syncdreamer_stand_as_its_script_places_them(chair: Chair, tmp_path: Path) -> None:
    """Cameras by look-at in float64, azimuth 2 pi i / 16 from +x, elevation 30 degrees, distance 1.5."""
    for index, pose in enumerate(target_poses()):
        azimuth = 2 * np.pi * index / 16
        eye = 1.5 * np.array([np.cos(azimuth) * np.cos(np.pi / 6), np.sin(azimuth) * np.cos(np.pi / 6), 0.5])
        assert np.allclose(pose[:3, 3], eye) and np.allclose(pose[:3, 2], -eye / 1.5)
        assert pose[2, 0] == 0 and pose[2, 1] < 0 and np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    for index in range(16):
        save(tmp_path / "uid" / f"{index:03d}.png", chair.pictures[index])
    collection = open_dataset(tmp_path)
    assert collection.layout == "syncdreamer"
    record = collection.record("uid")
    assert float(record.cameras.intrinsics[0, 0]) == pytest.approx(0.5 / np.tan(np.radians(49.1343) / 2), rel=1e-5)


class Hostile:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.write_text, (self.target, "owned"))


class Evaluated:
    def __reduce__(self) -> tuple:
        return (eval, ("__import__('os').system('true')",))


def test_a_hostile_pickle_runs_nothing(tmp_path: Path) -> None:
    target, meta = tmp_path / "owned.txt", tmp_path / "meta.pkl"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        inside = np.array([Hostile(target)], dtype=object)
        for hostile in (Hostile(target), [np.eye(3), Hostile(target)], inside, Evaluated()):
            meta.write_bytes(pickle.dumps(hostile, protocol))
            with pytest.raises(DatasetError, match=r"meta\.pkl: asks to run|damaged"):
                read_meta(meta)
            assert not target.exists()
    pickle.loads(pickle.dumps(Hostile(target)))
    assert target.exists()  # the same pickle does harm where pickle.load reads it


def test_a_pickle_of_other_things_or_half_a_pickle_is_one_message(tmp_path: Path) -> None:
    meta = tmp_path / "meta.pkl"
    for content in ([1, 2, 3, 4, 5], {"K": np.eye(3)}, [np.eye(3)] * 4, [np.array(["a"])] * 5, None):
        meta.write_bytes(pickle.dumps(content))
        with pytest.raises(DatasetError, match="expected K, azimuths"):
            read_meta(meta)
    whole = pickle.dumps([np.eye(3, dtype=np.float32)] * 5)
    for content in (whole[:40], b"", whole.replace(b"f4", b"f9")):
        meta.write_bytes(content)
        with pytest.raises(DatasetError, match=r"meta\.pkl"):
            read_meta(meta)
    meta.write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(DatasetError, match="larger"):
        read_meta(meta)


def test_pickles_of_old_and_new_numpy_are_read(tmp_path: Path) -> None:
    meta = tmp_path / "meta.pkl"
    arrays = [np.arange(9, dtype=np.float32).reshape(3, 3), *[np.arange(4.0)] * 3, np.ones((4, 3, 4))]
    for protocol in range(3, pickle.HIGHEST_PROTOCOL + 1):
        meta.write_bytes(pickle.dumps(arrays, protocol))
        assert all(np.array_equal(a, b) for a, b in zip(read_meta(meta), arrays, strict=True))
    meta.write_bytes(pickle.dumps(arrays, 3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert all(np.array_equal(a, b) for a, b in zip(read_meta(meta), arrays, strict=True))


def edit(path: Path, **change: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}), encoding="utf-8")


def record_of(folder: Path) -> PosedImages:
    collection: Collection = open_dataset(folder)
    return collection.record(collection.ids[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k1": 0.1}, "distorted .k1 = 0.1.*--undistort"),
        ({"camera_model": "OPENCV_FISHEYE"}, "is fisheye.*--undistort"),
        ({"frames": []}, "at least one"),
        ({"frames": [{"file_path": "a.png", "w": 4, "h": 4}]}, "fl_x"),
        ({"frames": [{"file_path": "a.png", "w": 4, "h": 4, "fl_x": 4}]}, "4 x 4 finite numbers"),
    ],
)
def test_what_cannot_be_read_is_said(chair: Chair, tmp_path: Path, change: dict, message: str) -> None:
    write_nerfstudio(tmp_path, chair)
    edit(tmp_path / "transforms.json", **change)
    with pytest.raises(DatasetError, match=message):
        record_of(tmp_path)


def test_masks_are_the_alpha_and_must_fit(chair: Chair, tmp_path: Path) -> None:
    write_nerfstudio(tmp_path, chair)
    collection = open_dataset(tmp_path)
    assert np.array_equal(collection.picture(tmp_path.name, 1)[..., 3], chair.pictures[1][..., 3])
    save(tmp_path / "masks" / "frame_00001.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(DatasetError, match=r"frame_00001\.png: a mask of \(5, 5\) for a picture of \(128, 128\)"):
        collection.picture(tmp_path.name, 1)
    frames = json.loads((tmp_path / "transforms.json").read_text())["frames"]
    del frames[2]["mask_path"]
    edit(tmp_path / "transforms.json", frames=frames)
    with pytest.raises(DatasetError, match="23 of 24 frames have a mask_path"):
        record_of(tmp_path)


def test_missing_and_damaged_files_are_named(chair: Chair, tmp_path: Path) -> None:
    write_srn(tmp_path, chair)
    folder = tmp_path / "chairs_test" / "abc"
    assert record_of(tmp_path).extra["split"] == "held_out"
    (folder / "rgb" / "000003.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"000003\.png.*damaged"):
        open_dataset(tmp_path).picture("abc", 3)
    (folder / "pose" / "000002.txt").unlink()
    with pytest.raises(DatasetError, match=r"000002\.txt"):
        record_of(tmp_path)
    write_zero123(tmp_path / "z", chair)
    (tmp_path / "z" / "uid" / "004.npy").write_bytes(pickle.dumps(np.eye(4)))
    with pytest.raises(DatasetError, match=r"004\.npy"):
        record_of(tmp_path / "z")


def test_unknown_folders_and_layouts_are_refused_with_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none of the known layouts.*zero123: .*000\.npy"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="no layout 'zero'; choose auto, tunemv3d"):
        open_dataset(tmp_path, "zero")
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(DatasetError, match="no objects of the layout srn"):
        open_dataset(tmp_path, "srn")
