"""The measures on shapes whose answer is known."""

import math

import numpy as np
import pytest
import torch
from eval_toys import boxes_seen, chair, painted, sphere_seen, toy_model

from tunemv3d_core.cameras import Cameras, Rays, intersect_sphere, sphere_points
from tunemv3d_core.types import Text
from tunemv3d_eval.metrics.hull_recall import NEVER, _needed_by_some, hull_recall, hull_recalls
from tunemv3d_eval.metrics.leave_one_out import leave_one_out, psnr
from tunemv3d_eval.metrics.opacity_iou import opacity_iou
from tunemv3d_eval.metrics.pose_agreement import pose_agreement
from tunemv3d_eval.metrics.silhouettes import silhouettes

RING = Cameras.orbit(8, elevation=20)


def scattered(n: int) -> Cameras:
    generator = torch.Generator().manual_seed(0)
    azimuths = (torch.rand(n, generator=generator) * 6.28).tolist()
    return Cameras.look_at(sphere_points(azimuths, torch.linspace(-0.2, 1.0, n).tolist()) * 2.7)


@pytest.mark.parametrize("cameras", [RING, scattered(8)], ids=["ring", "scattered"])
@pytest.mark.parametrize("leg", [0.08, 0.02])
def test_views_of_one_object_lie_in_each_others_hull(cameras: Cameras, leg: float) -> None:
    seen = boxes_seen(chair(leg), cameras, 128)
    assert hull_recall(seen[None], cameras[None]).item() >= 0.995


def test_views_that_contradict_each_other_do_not() -> None:
    seen = boxes_seen(chair(), RING, 64)
    turned = torch.stack([seen[3 * i % 8] for i in range(8)])
    recall = hull_recall(torch.stack([seen, turned]), RING[None].expand(2, 8))
    assert recall[0] > 0.995
    assert recall[1] < 0.8


def test_one_view_turned_by_90_degrees_lowers_the_recall() -> None:
    seen = boxes_seen(chair(), RING, 64)
    one_wrong = seen.clone()
    one_wrong[0] = seen[2]
    assert hull_recall(one_wrong[None], RING[None]).item() < hull_recall(seen[None], RING[None]).item() - 0.02


@pytest.mark.slow
def test_the_share_is_that_of_a_loop_over_points_at_every_tolerance() -> None:
    seen = boxes_seen(chair(), RING, 32)
    seen[0] = seen[2]
    tolerances = (0, 2)
    recalls = hull_recalls(seen[None], RING[None], tolerances)[:, 0]
    padded = np.pad(seen.numpy(), ((0, 0), (3, 3), (3, 3)))
    for tolerance, recall in zip(tolerances, recalls.tolist(), strict=True):
        shares = []
        for view in range(8):
            hits = []
            for row, column in seen[view].nonzero().tolist():
                rays = RING[view].rays((0, 0), torch.tensor([[(column + 0.5) / 32, (row + 0.5) / 32]]))
                near, far, hit = intersect_sphere(rays)
                depths = near + (far - near) * (torch.arange(192) + 0.5) / 192
                points = rays.origins + depths[:, None] * rays.directions
                alive = np.full(192, bool(hit))
                for other in set(range(8)) - {view}:
                    x, y = ((RING[other].project(points)[0] * 32 + 0.5).long().clamp(0, 32) + 3).T.numpy()
                    reach = range(-1 - tolerance, 1 + tolerance)
                    alive &= np.any([padded[other][y + a, x + b] for a in reach for b in reach], axis=0)
                hits.append(alive.any())
            shares.append(np.mean(hits))
        assert recall == pytest.approx(np.mean(shares), abs=1e-3) and recall < 0.99
    assert recalls[0] < recalls[1]


def test_points_may_be_thrown_away_at_every_view_or_never() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(8, 33, 33, generator=generator)
    refused = torch.where(drawn < 0.65, (drawn < 0.2).byte(), NEVER).byte()
    view, places = torch.arange(8).repeat(40), torch.rand(320, 2, generator=generator)
    rays = [RING[v].rays((0, 0), place[None]) for v, place in zip(view.tolist(), places, strict=True)]
    bundle = Rays(torch.cat([r.origins for r in rays]), torch.cat([r.directions for r in rays]))
    depth = 1.7 + 2 * torch.rand(320, 40, generator=generator)
    thinned, all_looked_at = (_needed_by_some(view, bundle, depth, RING, refused, thin) for thin in (True, False))
    assert torch.equal(thinned, all_looked_at)
    assert all((thinned == k).float().mean() > 0.05 for k in (0, 1, NEVER))


def test_the_order_of_the_views_changes_nothing() -> None:
    seen, order = boxes_seen(chair(), RING, 48), torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
    seen[2] = seen[1]
    a, b = hull_recall(seen[None], RING[None]), hull_recall(seen[order][None], RING[order][None])
    torch.testing.assert_close(a, b)


def test_two_spheres_give_the_hull_of_a_cone() -> None:
    # Seen from two opposite sides, a small disc inside the cone of a large one: the small one is wholly inside the
    # hull; of the large one, the share of its pixels whose ray meets the small one's cone. In parallel light that
    # is the ratio of areas; here the cones' cross-sections at the far end of the unit sphere decide.
    cameras = Cameras.orbit(2, elevation=0, distance=50.0, focal=24.0)
    small, large = sphere_seen(0.4, cameras[:1], 128), sphere_seen(0.8, cameras[1:], 128)
    recall = hull_recall(torch.cat([small, large])[None], cameras[None]).item()
    assert recall == pytest.approx((1 + (0.4 / 0.8) ** 2) / 2, abs=0.03)


def test_hull_recall_against_a_plain_loop_in_float64() -> None:
    cameras = Cameras.orbit(3, elevation=10)
    size = 16
    seen = boxes_seen(chair(), cameras, size)
    seen[1] = seen[1].roll(2, dims=-1)
    pose, (fx, fy, cx, cy) = cameras.camera_to_world.double().numpy(), cameras.intrinsics[0].double().tolist()

    def near_foreground(view: int, point: np.ndarray) -> bool:
        x, y, z = pose[view][:3, :3].T @ (point - pose[view][:3, 3])
        u, v = (x / z * fx + cx) * size - 0.5, (y / z * fy + cy) * size - 0.5
        corners = [(r, c) for r in (math.floor(v), math.floor(v) + 1) for c in (math.floor(u), math.floor(u) + 1)]
        return any(0 <= r < size and 0 <= c < size and bool(seen[view, r, c]) for r, c in corners)

    shares = []
    for view in range(3):
        inside, pixels = 0, seen[view].nonzero().tolist()
        for row, column in pixels:
            ray = pose[view][:3, :3] @ np.array([((column + 0.5) / size - cx) / fx, ((row + 0.5) / size - cy) / fy, 1])
            points = [pose[view][:3, 3] + s * ray for s in np.linspace(1.7, 3.7, 400)]
            inside += any(
                np.linalg.norm(p) < 1 and all(near_foreground(o, p) for o in range(3) if o != view) for p in points
            )
        shares.append(inside / len(pixels))
    assert hull_recall(seen[None], cameras[None]).item() == pytest.approx(np.mean(shares), abs=0.02)


def test_empty_views_carve_everything_away() -> None:
    seen = boxes_seen(chair(), RING, 32)
    seen[0] = False
    nothing = torch.zeros_like(seen)
    recall = hull_recall(torch.stack([seen, nothing]), RING[None].expand(2, 8))
    assert recall.tolist() == [0, 0]


def test_specks_in_the_corners_do_not_count() -> None:
    seen = boxes_seen(chair(), RING, 64)
    specked = seen.clone()
    specked[:, [0, 0, -1, -1], [0, -1, 0, -1]] = True
    torch.testing.assert_close(hull_recall(specked[None], RING[None]), hull_recall(seen[None], RING[None]))


def test_silhouettes_are_what_differs_from_white() -> None:
    seen = boxes_seen(chair(), RING, 32)
    haze = painted(seen) - 0.09 * torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(silhouettes(haze[None])[0], seen)
    assert silhouettes(torch.full((1, 1, 3, 2, 2), 0.88)).all()


def _latents(size: int = 48) -> torch.Tensor:
    return painted(boxes_seen(chair(), RING, size))[None].expand(2, -1, -1, -1, -1)


def _text() -> Text:
    return Text(torch.zeros(2, 2, 4))


def test_leave_one_out_of_a_field_that_knows_the_object_is_high() -> None:
    assert (leave_one_out(toy_model("chair"), _latents(), _text(), RING[None].expand(2, 8)) > 60).all()


def test_leave_one_out_of_an_empty_field_is_the_pictures_distance_from_white() -> None:
    latents = _latents()
    rgb = (latents[0].double().numpy() + 1) / 2
    expected = np.mean([-10 * np.log10(np.mean((view - 1) ** 2)) for view in rgb])
    result = leave_one_out(toy_model("empty"), latents, _text(), RING[None].expand(2, 8))
    assert result.tolist() == pytest.approx([expected] * 2, abs=1e-3)


def test_leave_one_out_never_shows_the_field_the_view_that_it_asks_for() -> None:
    # The toy field copies the nearest view that it was given. Views are grey, 0.1 brighter from each to the next in
    # the ring; were a view among those fused, the field would return it itself, at far more than 40 dB.
    levels = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.3, 0.2, 0.1])
    latents = (levels * 2 - 1)[None, :, None, None, None].expand(2, 8, 3, 8, 8)
    result = leave_one_out(toy_model("nearest", 8), latents, _text(), RING[None].expand(2, 8))
    assert result.tolist() == pytest.approx([20.0] * 2, abs=0.1)


def test_psnr_is_that_of_pictures_in_zero_to_one() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 4, 3, 8, 8, generator=generator)
    expected = -10 * np.log10(((a - b).double().numpy() ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(psnr(a * 2 - 1, b * 2 - 1).numpy(), expected, rtol=1e-5)


def test_opacity_iou_against_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    opacity = torch.rand(2, 3, 8, 8, generator=generator)
    masks = torch.rand(2, 3, 32, 32, generator=generator) > 0.5
    cells = masks.double().numpy().reshape(2, 3, 8, 4, 8, 4).mean((3, 5)) > 0.5
    field = opacity.numpy() > 0.5
    expected = ((cells & field).sum((2, 3)) / (cells | field).sum((2, 3))).mean(1)
    np.testing.assert_allclose(opacity_iou(opacity, masks).numpy(), expected, rtol=1e-6)


def test_pose_agreement_tells_views_that_follow_their_camera() -> None:
    seen = boxes_seen(chair(), RING, 64)
    opacity = boxes_seen(chair(), RING, 32).float()
    swapped = seen[[1, 0, 2, 3, 4, 5, 6, 7]]
    empty = torch.zeros_like(opacity)
    agreement = pose_agreement(torch.stack([opacity, opacity, empty]), torch.stack([seen, swapped, seen]))
    assert agreement.tolist() == [1.0, 0.75, 0.0]


def test_pose_agreement_lets_symmetric_objects_tie() -> None:
    seen, opacity = sphere_seen(0.6, RING, 64), sphere_seen(0.6, RING, 32).float()
    assert pose_agreement(opacity[None], seen.roll(3, 0)[None]).item() == 1.0


def test_a_round_blob_agrees_with_no_pose() -> None:
    seen, blob = boxes_seen(chair(), RING, 64), sphere_seen(0.25, RING, 32).float()
    assert pose_agreement(blob[None], seen[None]).item() == 0.0


def test_a_tolerance_forgives_that_many_pixels_and_no_more() -> None:
    """One view's sphere is 6 pixels smaller in radius: the others stick out of its cone by as much."""
    seen = torch.stack([sphere_seen(0.6, RING[i : i + 1], 128)[0] for i in range(8)])
    radius = float(seen[0].sum() / math.pi) ** 0.5
    seen[4] = sphere_seen(0.6 * (radius - 6) / radius, RING[4:5], 128)[0]
    none, two, seven = (hull_recall(seen[None], RING[None], tolerance=t).item() for t in (0, 2, 7))
    assert none < two < 0.999
    assert seven == pytest.approx(1.0, abs=1e-3)
