"""The pages on disk: ``index.html``, ``contact.webp`` and ``objects/<id>/index.html`` with its pictures."""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from tunemv3d_core.errors import DatasetError, TuneMV3DError
from tunemv3d_core.io.posed_images import PosedImages, read_manifest
from tunemv3d_data.doctor.views import ObjectViews, open_views
from tunemv3d_data.layouts import OURS, Collection
from tunemv3d_data.pages.cloud import cloud
from tunemv3d_data.pages.summary import licences_section, notes_list, notes_section

_LARGEST, _CONTACT, _ACROSS = 320, 96, 16
"""Pixels of a view on a page, of an object on the contact sheet, and objects in its row."""


def write_pages(
    source: Collection, ids: Sequence[str], out: Path, done: Callable[[], object] = lambda: None
) -> dict[str, str]:
    """Write a contact sheet and a page per object.

    Args:
        source: the dataset.
        ids: the objects to show.
        out: folder for the pages.
        done: called after every object.

    Returns:
        What is wrong with objects that could not be shown, by id.

    Raises:
        DatasetError: the pages cannot be written, or there is no object that can be shown.
    """
    splits = read_manifest(source.path) if source.layout == OURS else {}
    faults: dict[str, str] = {}
    shown: dict[str, PosedImages] = {}
    tiles: list[Image.Image] = []
    for id_ in ids:
        target, nav = out / "objects" / id_, _nav(ids, id_)
        try:
            views = open_views(source, id_)
            splits.setdefault(id_, str(views.record.extra.get("split", "train")))
            page = object_page(views, splits[id_], nav)
            tiles.append(_write_pictures(views, target))
            shown[id_] = views.record
        except OSError as error:
            raise DatasetError(f"{out}: the pages cannot be written: {error}") from None
        except TuneMV3DError as error:
            faults[id_] = str(error)
            page = _page(id_, f"{nav}\n<h1>{escape(id_)}</h1>\n<p>{escape(str(error))}</p>")
        target.mkdir(parents=True, exist_ok=True)
        (target / "index.html").write_text(page, encoding="utf-8", newline="\n")
        done()
    if not shown:
        raise DatasetError(
            f"{source.path}: no object can be shown; the first: {next(iter(faults.values()), 'none is chosen')}"
        )
    contact_sheet(tiles).save(out / "contact.webp", quality=85)
    (out / "index.html").write_text(index_page(source.path, shown, splits), encoding="utf-8", newline="\n")
    return faults


def index_page(path: Path, records: dict[str, PosedImages], splits: dict[str, str]) -> str:
    """Write all objects as cards, with a search over names, captions and licences, and the notes on them."""
    name, report = path.resolve().name, path / "report.json"
    cards = "".join(_card(id_, record, splits[id_]) for id_, record in records.items())
    held_out = sum(splits[id_] == "held_out" for id_ in records)
    views = sum(record.views for record in records.values())
    body = f"""<h1>{escape(name)}</h1>
<p class="soft">{len(records)} objects, {held_out} of them held out; {views} views.
<a href="contact.webp">Contact sheet</a></p>
{notes_section(records.values(), f"{name}/report.json" if report.exists() else "")}
<input type="search" placeholder="Search names, captions, licences" aria-label="Search">
<div class="cards">{cards}</div>
{licences_section(records.values())}
<script>{_SEARCH}</script>"""
    return _page(name, body)


def object_page(views: ObjectViews, split: str, nav: str) -> str:
    """Write one object: its cameras in 3D, captions, credits and all views."""
    record = views.record
    captions = "".join(f"<li>{escape(caption)}</li>" for caption in record.captions) or "<li class='soft'>none</li>"
    h, w = record.size
    facts = {
        "licence": record.licence, "creator": record.creator, "source": record.source, "split": split,
        "views": f"{record.views}, {w} x {h} pixels", **_simple(record.extra),
    }  # fmt: skip
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value) or 'none'}</dd>" for key, value in facts.items())
    scene = scene_of(views)
    missing = "" if scene["points"] else " No shape: silhouettes and cameras do not agree; see tunemv3d data check."
    figures = "".join(_figure(index, *angles) for index, angles in enumerate(_angles(views)))
    embedded = json.dumps(scene, separators=(",", ":")).replace("<", "\\u003c")
    body = f"""{nav}
<h1>{escape(record.id)}</h1>
<div class="top"><div><canvas id="orbit" tabindex="0" role="img" aria-label="The cameras around the object"></canvas>
<p class="soft">Drag or arrow keys to turn, wheel, pinch or + and - to zoom, tap a camera or a view to find the other.
The circle is the unit sphere's.{missing}</p></div>
<div><h2>Captions</h2><ul>{captions}</ul><h2>About</h2><dl>{rows}</dl>{notes_list(record)}</div></div>
<h2>Views <span class="soft">number · azimuth / elevation</span></h2>
<div class="views">{figures}</div>
<script type="application/json" id="scene">{embedded}</script>
<script>{_resource("orbit.js")}</script>"""
    return _page(record.id, body)


def scene_of(views: ObjectViews) -> dict[str, object]:
    """Build the scene that ``orbit.js`` draws: cameras, coloured points, and the sphere that holds both."""
    shape = cloud(views)
    cameras = [
        {
            "at": _short(pose[:3, 3]),
            **{axis: _short(pose[:3, column]) for column, axis in enumerate(("right", "down", "forward"))},
            "lens": _short(lens),
        }
        for pose, lens in zip(views.poses, views.intrinsics, strict=True)
    ]
    points = [
        [*_short(point), "#{:02x}{:02x}{:02x}".format(*colour)]
        for point, colour in zip(shape.points, shape.colours, strict=True)
    ]
    origins = views.poses[:, :3, 3]
    middle = (origins.max(0) + origins.min(0)) / 2 if len(origins) > 1 else np.zeros(3)
    radius = max(1.0, float(np.linalg.norm(origins - middle, axis=1).max()))
    return {
        "cameras": cameras,
        "points": points,
        "cell": round(shape.spacing, 4),
        "middle": _short(middle),
        "radius": round(radius, 4),
    }


def contact_sheet(tiles: Sequence[Image.Image]) -> Image.Image:
    """Draw all objects on one picture, white behind them, row by row."""
    across = min(_ACROSS, math.ceil(math.sqrt(len(tiles) * 1.5)))
    down = math.ceil(len(tiles) / across)
    sheet = Image.new("RGB", (across * _CONTACT, down * _CONTACT), (255, 255, 255))
    for place, tile in enumerate(tiles):
        x, y = place % across * _CONTACT, place // across * _CONTACT
        sheet.paste(tile, (x + (_CONTACT - tile.width) // 2, y + (_CONTACT - tile.height) // 2), tile)
    return sheet


def _write_pictures(views: ObjectViews, folder: Path) -> Image.Image:
    """Write an object's views, and return the first one small."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, (file, picture) in enumerate(zip(views.record.files, views.pictures, strict=True)):
        source, target = views.folder / file, folder / f"{index:03d}.webp"
        if views.source is None and max(picture.size) <= _LARGEST and source.suffix.lower() == ".webp":
            shutil.copyfile(source, target)
        else:
            image = Image.fromarray(picture.rgba)
            image.thumbnail((_LARGEST, _LARGEST))
            image.save(target, quality=80)
    first = Image.fromarray(views.pictures[0].rgba)
    first.thumbnail((_CONTACT, _CONTACT))
    return first


def _card(id_: str, record: PosedImages, split: str) -> str:
    caption = record.captions[0] if record.captions else ""
    words = " ".join((id_, *record.captions, record.licence, record.creator, split)).lower()
    address = f"objects/{quote(id_)}"
    notes = ", ".join(note for note in (record.licence, "held out" if split == "held_out" else "") if note)
    return f"""<a class="card" href="{address}/index.html" data-words="{escape(words)}">
<img src="{address}/000.webp" loading="lazy" alt="{escape(caption)}">
<div>{escape(caption) or escape(id_)}<small>{escape(id_)}</small><small>{escape(notes)}</small></div></a>"""


def _figure(index: int, azimuth: float, elevation: float) -> str:
    where = f"{index} · {azimuth:.0f}° / {elevation:.0f}°"
    title = f"azimuth {azimuth:.0f}, elevation {elevation:.0f} degrees"
    picture = f'<img src="{index:03d}.webp" loading="lazy" alt="view {index}, {title}">'
    return f"""<figure title="{title}"><button type="button" aria-pressed="false">{picture}</button>
<figcaption>{where}</figcaption></figure>"""


def _angles(views: ObjectViews) -> Iterator[tuple[float, float]]:
    """Azimuth (0 is in front, at -y) and elevation of every camera, degrees."""
    for x, y, z in views.poses[:, :3, 3]:
        yield math.degrees(math.atan2(x, -y)) % 360, math.degrees(math.atan2(z, math.hypot(x, y)))


def _simple(extra: dict[str, object]) -> dict[str, str]:
    kept = {key: value for key, value in extra.items() if isinstance(value, (str, int, float)) and key != "split"}
    return {key.replace("_", " "): str(value) for key, value in kept.items()}


def _nav(ids: Sequence[str], id_: str) -> str:
    place = ids.index(id_)
    before, after = ids[place - 1] if place else None, ids[place + 1] if place + 1 < len(ids) else None
    links = f'<a href="../../index.html">All objects</a>{_link("Previous", before)}{_link("Next", after)}'
    return f"<nav>{links}</nav>"


def _link(word: str, id_: str | None) -> str:
    return f'<span class="away">{word}</span>' if id_ is None else f'<a href="../{quote(id_)}/index.html">{word}</a>'


def _short(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]


def _resource(name: str) -> str:
    return files("tunemv3d_data.pages").joinpath(name).read_text(encoding="utf-8")


_SEARCH = """
const cards = [...document.querySelectorAll(".card")];
document.querySelector("input").addEventListener("input", (e) => {
  const words = e.target.value.toLowerCase().split(/\\s+/);
  cards.forEach((card) => { card.hidden = !words.every((word) => card.dataset.words.includes(word)); });
});
"""


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{_resource("style.css")}</style></head>
<body>
{body}
</body></html>
"""
