"""Put together what commands wrote, on a ground of their own, so that it stands on light and on dark pages."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageSequence

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.viz.pictures import on_white

GROUND, INK, LINE = "white", "#1f2328", "#d0d7de"
MARGIN, GAP, LETTERS = 16, 8, 17


class Panel:
    """A white panel with a thin frame, on which rows of pictures are pasted below lines of text."""

    def __init__(self, width: int, height: int) -> None:
        self.picture = Image.new("RGB", (width, height), GROUND)
        self._draw = ImageDraw.Draw(self.picture)
        self._draw.rounded_rectangle((0, 0, width - 1, height - 1), 10, outline=LINE)

    def write(self, x: int, y: int, text: str, letters: int = LETTERS, ink: str = INK) -> None:
        """Write a line of text whose upper left corner is (x, y)."""
        self._draw.text((x, y), text, ink, ImageFont.load_default(letters))

    def paste(self, x: int, y: int, picture: Image.Image, size: tuple[int, int]) -> None:
        """Paste a picture, scaled to (width, height)."""
        self.picture.paste(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS), (x, y))

    def box(self, corners: tuple[int, int, int, int], text: str, fill: str, ink: str = INK) -> None:
        """Draw a rounded box (left, top, right, bottom) with a text in its middle."""
        self._draw.rounded_rectangle(corners, 8, fill=fill, outline=INK)
        middle = ((corners[0] + corners[2]) / 2, (corners[1] + corners[3]) / 2)
        font = ImageFont.load_default(LETTERS + 5)
        self._draw.multiline_text(middle, text, ink, font, anchor="mm", align="center")

    def arrow(self, x: int, y: int, to: int) -> None:
        """Draw an arrow to the right, from (x, y) to (``to``, y)."""
        self._draw.line((x, y, to, y), INK, 2)
        self._draw.polygon([(to, y), (to - 8, y - 5), (to - 8, y + 5)], INK)


def views(sample: Path) -> list[Image.Image]:
    """Return a sampled object's views, from the first row of its sheet."""
    sheet = Image.open(sample / "grid.png").convert("RGB")
    count = len(list((sample / "views").iterdir()))
    side = sheet.width // count
    return [sheet.crop((i * side, 0, (i + 1) * side, side)) for i in range(count)]


def frames(file: Path) -> list[Image.Image]:
    """Return the frames of a moving picture."""
    return [frame.convert("RGB") for frame in ImageSequence.Iterator(Image.open(file))]


def mesh_views(file: Path, count: int, size: int, elevation: float = 20, kind: str = "rgba") -> list[Image.Image]:
    """Render a mesh from ``count`` cameras around it, on white: squares of ``size`` pixels.

    Args:
        file: GLB.
        count: number of cameras.
        size: pixels.
        elevation: degrees.
        kind: "rgba" for its texture, "normals" for its bare shape.
    """
    from tunemv3d_data.meshes.mesh import load_mesh
    from tunemv3d_data.objects import SourceObject
    from tunemv3d_data.renderers.embree import EmbreeRenderer

    mesh = load_mesh(SourceObject(file.stem, file))
    rendered = EmbreeRenderer(3)(mesh, Cameras.orbit(count, elevation=elevation), (size, size))
    pictures = []
    for view in rendered:
        rgba = view["rgba"].copy()
        if kind == "normals":
            rgba[..., :3] = (view["normals"] * 0.5 + 0.5) * 255
        pictures.append(on_white(Image.fromarray(rgba)))
    return pictures


def row(pictures: Sequence[Image.Image], side: int) -> Image.Image:
    """Put square pictures in a row, each ``side`` pixels wide."""
    line = Image.new("RGB", (side * len(pictures), side), GROUND)
    for i, picture in enumerate(pictures):
        line.paste(picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), (i * side, 0))
    return line


def stacked(lines: Sequence[Image.Image]) -> Image.Image:
    """Put pictures of one width below each other."""
    whole = Image.new("RGB", (lines[0].width, sum(line.height for line in lines)), GROUND)
    top = 0
    for line in lines:
        whole.paste(line, (0, top))
        top += line.height
    return whole
