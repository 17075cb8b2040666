"""What each picture shows: from the folders in which its commands ran to its frames."""

import json
from pathlib import Path

from drawing import GAP, INK, MARGIN, Panel, frames, mesh_views, row, stacked, views
from PIL import Image

from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.viz.pictures import on_white

TURN, HELD = 24, 8
"""Frames of the mesh's one turn in the first picture; in so many of them nothing is denoised, but shown finished."""
WIDTH = 800


def front(folders: list[Path]) -> list[Image.Image]:
    """Draw the frozen model's views, the tuned ones, the shape appearing from noise, and the mesh turning."""
    (frozen,), (tuned,) = (sorted((folder / "samples").iterdir()) for folder in folders)
    about = json.loads((tuned / "manifest.json").read_text("utf-8"))
    side = (WIDTH - 2 * MARGIN) // 8
    large = (WIDTH - 2 * MARGIN - 2 * GAP) // 3
    panel, y = Panel(WIDTH, 2 * side + large + 3 * 26 + 2 * GAP + 2 * MARGIN), MARGIN
    for sample, text in (
        (frozen, f"K = 0: the frozen 2D model draws “{about['prompt']}” eight times"),
        (tuned, f"K = {about['consistency']:g}: the same noise, tuned on 3D objects: eight views of one chair"),
    ):
        panel.write(MARGIN, y, text)
        for i, view in enumerate(views(sample)):
            panel.paste(MARGIN + i * side, y + 26, view, (side, side))
        y += 26 + side + GAP
    columns = [MARGIN + i * (large + GAP) for i in range(3)]
    for x, text in zip(
        columns, ("one of the views, from noise", "the shape seen in all views", "the mesh"), strict=True
    ):
        panel.write(x, y, text)
    steps, turning = frames(tuned / "strip.webp"), mesh_views(tuned / "object.glb", TURN, large)
    made = []
    for i in range(TURN):
        step = steps[-1] if i < HELD else steps[(i - HELD) * len(steps) // (TURN - HELD)]
        square = step.width
        # It begins with what comes out, which is all that pages without motion show.
        noisy = views(tuned)[0] if i < HELD else step.crop((0, 0, square, square))
        for x, picture in zip(columns, (noisy, step.crop((0, square, square, 2 * square)), turning[i]), strict=True):
            panel.paste(x, y + 26, picture, (large, large))
        made.append(panel.picture.copy())
    return made


def sheet(folders: list[Path]) -> list[Image.Image]:
    """Take the sheet that the last command wrote."""
    (sample,) = sorted((folders[-1] / "samples").iterdir())
    return [Image.open(sample / "grid.png")]


def written(name: str):
    """Return what takes the picture or film ``name``, which the command wrote."""
    return lambda folders: frames(next(folders[0].glob(name)))


def dataset(folders: list[Path]) -> list[Image.Image]:
    """Draw four views of the first three chairs of the packaged dataset."""
    objects = sorted((find_asset("chairs") / "objects").iterdir())[:3]
    rows = []
    for folder in objects:
        files = sorted(folder.glob("[0-9]*.webp"))
        rows.append(row([on_white(Image.open(file).convert("RGBA")) for file in files[:: len(files) // 4][:4]], 120))
    return [stacked(rows)]


def mesh(folders: list[Path]) -> list[Image.Image]:
    """Draw a sampled mesh's texture above, its normals below."""
    (sample,) = sorted((folders[-1] / "samples").iterdir())
    file = sample / "object.glb"
    return [stacked([row(mesh_views(file, 4, 240, kind=kind), 120) for kind in ("rgba", "normals")])]


def field(folders: list[Path]) -> list[Image.Image]:
    """Draw the slots of a model, the field's in colour."""
    panel, y, high, wide = Panel(480, 112), MARGIN, 80, 96
    slots = ("view\nencoder", "your\nfield", "feature\nlifter", "injector")
    for i, name in enumerate(slots):
        x = MARGIN + i * 118
        mine = name.startswith("your")
        panel.box((x, y, x + wide, y + high), name, "#0969da" if mine else "#f6f8fa", "white" if mine else INK)
        if i < len(slots) - 1:
            panel.arrow(x + wide, y + high // 2, x + 118)
    return [panel.picture]


def viewer(folders: list[Path]) -> list[Image.Image]:
    """Open the live viewer, let it sample, and take a picture of its page.

    Raises:
        TuneMV3DError: there is no Chromium, or no viser.
    """
    from screen import viewer_page

    return [viewer_page("chairs-mini")]
