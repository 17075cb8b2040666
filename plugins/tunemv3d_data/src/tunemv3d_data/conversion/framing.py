"""One set of intrinsics for all pictures of an object: pictures are cropped, padded and scaled, never rotated.

The plane is that at depth 1 in front of a camera: x and y there are a pixel's offsets from the principal point over
the focal length. All cameras of an object are made to see the same rectangle of it, which makes their intrinsics equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.layouts.views import Bytes, Floats

_MARGIN = 1.05
_SMALLEST_SHARE = 0.2


@dataclass(frozen=True)
class Seen:
    """Outline and ground of one picture, as framing needs them.

    Attributes:
        size: (h, w).
        intrinsics: fx, fy, cx, cy as fractions.
        box: left, top, right, bottom edges of the silhouette in pixels; None where the picture is empty.
    """

    size: tuple[int, int]
    intrinsics: Floats
    box: tuple[int, int, int, int] | None

    @staticmethod
    def of(rgba: Bytes, intrinsics: Floats) -> "Seen":
        """Look at one picture ``h w 4``."""
        rows, columns = (np.flatnonzero(rgba[..., 3].any(axis)) for axis in (1, 0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if len(rows) else None
        return Seen((rgba.shape[0], rgba.shape[1]), np.asarray(intrinsics, dtype=np.float64), box)

    def plane(self, edges: Sequence[float]) -> Floats:
        """Convert left, top, right, bottom from pixels to the plane."""
        (h, w), (fx, fy, cx, cy) = self.size, self.intrinsics
        return np.asarray((np.asarray(edges) / [w, h, w, h] - [cx, cy, cx, cy]) / [fx, fy, fx, fy])

    def pixels(self, window: Floats) -> Floats:
        """Convert left, top, right, bottom from the plane to pixels."""
        (h, w), (fx, fy, cx, cy) = self.size, self.intrinsics
        return np.asarray((window * [fx, fy, fx, fy] + [cx, cy, cx, cy]) * [w, h, w, h])


@dataclass(frozen=True)
class Frame:
    """The rectangle that all pictures of an object show.

    Attributes:
        window: left, top, right, bottom in the plane.
        size: (h, w) in pixels.
    """

    window: Floats
    size: tuple[int, int]

    @property
    def intrinsics(self) -> Floats:
        """fx, fy, cx, cy as fractions."""
        left, top, right, bottom = self.window
        return np.array([1 / (right - left), 1 / (bottom - top), -left / (right - left), -top / (bottom - top)])

    def cut(self, rgba: Bytes, intrinsics: Floats) -> Bytes:
        """Cut one picture as this frame shows it; transparent where the picture ends."""
        edges = Seen.of(rgba, intrinsics).pixels(self.window)
        edges = np.where(np.abs(edges - edges.round()) < 1e-3, edges.round(), edges)
        h, w = rgba.shape[:2]
        low = np.maximum(-np.floor(edges[:2]), 0).astype(int)
        high = np.maximum(np.ceil(edges[2:]) - [w, h], 0).astype(int)
        padded = np.pad(rgba, ((low[1], high[1]), (low[0], high[0]), (0, 0)))
        box = tuple(float(edge) for edge in edges + np.tile(low, 2))
        size = (self.size[1], self.size[0])
        image = Image.fromarray(padded).resize(size, Image.Resampling.BILINEAR, box=box)  # type: ignore[arg-type]
        return np.asarray(image)


def common_frame(views: Sequence[Seen], asked: tuple[int, int] | None = None) -> Frame:
    """Find the frame for all pictures of an object.

    Where size and intrinsics are the same for all, it is the picture itself, padded to the shape that is asked for.
    Where they differ, it is the rectangle of that shape around the principal point that holds every silhouette.

    Args:
        views: all pictures.
        asked: (h, w) in pixels; None makes squares of the pictures' own resolution.

    Raises:
        DatasetError: nothing is seen, an object cut by a border that the frame passes, or one that appears too small
            in some view because a camera stands far nearer or has a far wider lens in another.
    """
    first = views[0]
    same = all(view.size == first.size and np.allclose(view.intrinsics, first.intrinsics, atol=1e-6) for view in views)
    frame = _padded(first, asked) if same else _around_silhouettes(views, asked)
    for index, view in enumerate(views):
        _check_whole(index, view, frame)
    return frame


def _padded(view: Seen, asked: tuple[int, int] | None) -> Frame:
    h, w = view.size
    aspect = asked[1] / asked[0] if asked else 1.0
    high, wide = max(float(h), w / aspect), max(float(w), h * aspect)
    left, top = (w - wide) / 2, (h - high) / 2
    return Frame(view.plane((left, top, left + wide, top + high)), asked or (max(h, w), max(h, w)))


def _around_silhouettes(views: Sequence[Seen], asked: tuple[int, int] | None) -> Frame:
    aspect = asked[1] / asked[0] if asked else 1.0
    # Half the height of a frame of that shape which holds the silhouette, on the plane.
    reach = [np.abs(view.plane(view.box) / [aspect, 1, aspect, 1]).max() for view in views if view.box is not None]
    if not reach:
        raise DatasetError("no picture shows anything")
    half = _MARGIN * max(reach)
    if (share := min(reach) / half) < _SMALLEST_SHARE:
        raise DatasetError(
            f"with one focal length for all views the object would fill {share:.0%} of some picture; "
            "use views of one lens and one distance"
        )
    own = np.median([2 * half * view.intrinsics[0] * view.size[1] for view in views])
    side = int(min(round(own), max(max(view.size) for view in views)))
    window = np.array([-half * aspect, -half, half * aspect, half])
    return Frame(window, asked or (side, side))


def _check_whole(index: int, view: Seen, frame: Frame) -> None:
    """Refuse padding beside an object that the picture's border cuts: it would end there in the air."""
    if view.box is None:
        return
    (h, w), edges = view.size, view.pixels(frame.window)
    cut = np.array([view.box[0] == 0, view.box[1] == 0, view.box[2] == w, view.box[3] == h])
    passed = np.array([edges[0] < -0.5, edges[1] < -0.5, edges[2] > w + 0.5, edges[3] > h + 0.5])
    if (cut & passed).any():
        raise DatasetError(f"view {index} shows the object cut by the picture's border, where padding is needed")
