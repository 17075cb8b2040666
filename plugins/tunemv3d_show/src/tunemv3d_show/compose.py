"""Puts a report together and writes it, object by object, so that hundreds of them need little memory."""

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.atomic import atomic_file
from tunemv3d_core.io.file_names import without_paths
from tunemv3d_core.viz.curves import chart
from tunemv3d_show.compact import TOLD
from tunemv3d_show.gather import FIGURES, OPTIONS, Gathered, Sampled, Source, shown_option
from tunemv3d_show.media import Medium, media_of, still, thumbnail

PAGE = Path(__file__).parent / "page"
COLOURS = 6
"""Number of runs' colours in the page's style."""

CAPTIONS = {
    "strip": "from noise to view: what the model saw, and the field's surface",
    "strip_animation": "moving",
    "turntable": "the field, all around",
}


@dataclass(frozen=True)
class Placed:
    """A medium at its place in the page, under the id of the block that holds it."""

    id: str
    medium: Medium

    def __getattr__(self, name: str) -> Any:
        return getattr(self.medium, name)

    @property
    def caption(self) -> str:
        """Below it."""
        return CAPTIONS[self.medium.kind]


def write_page(out: Path, found: Gathered, title: str, compact: bool = False) -> int:
    """Write the report whole or not at all; ``found.faults`` gets what could not be read.

    Args:
        out: the file.
        found: what it shows.
        title: its title.
        compact: whether pictures and meshes are reduced, which the page says.

    Returns:
        Its size in bytes.

    Raises:
        TuneMV3DError: it cannot be written, such as on a full disk; what was there before stays.
    """
    try:
        with atomic_file(out) as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
            for piece in _template().generate(**_content(found, title, compact)):
                file.write(piece)
        return out.stat().st_size
    except OSError as error:
        raise TuneMV3DError(
            f"--out {out}: cannot be written: {error.strerror or error}. Make room there, or choose another file"
        ) from error


def _template() -> Any:
    environment = Environment(loader=PackageLoader("tunemv3d_show", "page"), autoescape=True, trim_blocks=True)
    environment.globals["picture"] = _img
    environment.filters["named"] = _named
    return environment.get_template("report.html")


def _content(found: Gathered, title: str, compact: bool) -> dict[str, Any]:
    """Values that the template asks for; objects are read when their turn comes."""
    prompts, meshes = found.prompts(), any("mesh" in entry.files for entry in found.objects)
    counts = [(len(found.objects), "object"), (len(prompts), "prompt"), (len(found.sources), "source")]
    told = [f"{count:,} {name}{'' if count == 1 else 's'}" for count, name in counts]
    runs = [source for source in found.sources if source.curves]
    return {
        "title": title,
        "told": " · ".join([*told, date.today().isoformat()]),
        "means": _means(found),
        "reduced": TOLD if compact else "",
        "several": len(found.sources) > 1,
        "prompts": [_Prompt(name, found, compact) for name in prompts],
        "sources": [_source(index, source, found.faults, compact) for index, source in enumerate(found.sources)],
        "charts": _charts(found.sources) if runs else [],
        "differences": _differences(found.sources),
        "faults": found.faults,
        "meshes": meshes,
        "css": Markup((PAGE / "report.css").read_text(encoding="utf-8")),
        "js": Markup((PAGE / "report.js").read_text(encoding="utf-8")),
        "model_viewer": model_viewer() if meshes else "",
    }


def _means(found: Gathered) -> list[str]:
    """A line for each source and figure that was measured."""
    lines = []
    for index, source in enumerate(found.sources):
        for key, (value, count) in found.means(index).items():
            whose = f"{source.name}: " if len(found.sources) > 1 else ""
            told = FIGURES[key].format(value)
            lines.append(f"{whose}{told}, the mean of {count:,} object{'' if count == 1 else 's'}")
    return lines


class _Prompt:
    """One prompt's section; its objects are read as the template comes to them."""

    def __init__(self, name: str, found: Gathered, compact: bool) -> None:
        self.name, self._found, self._compact = name, found, compact
        self._rows = found.rows(name)

    @property
    def thumbnail(self) -> str:
        return next((small for row in self._rows for entry in row if (small := thumbnail(entry))), "")

    @property
    def rows(self) -> Iterator[list[dict[str, Any] | None]]:
        # A source that has none of the prompt at all gets no place beside the others.
        used = sorted({entry.source for row in self._rows for entry in row})
        for row in self._rows:
            by_source = {entry.source: entry for entry in row}
            yield [self._cell(by_source[index]) if index in by_source else None for index in used]

    def _cell(self, entry: Sampled) -> dict[str, Any]:
        number = self._found.objects.index(entry)
        media = [Placed(f"o{number}-{i}", medium) for i, medium in enumerate(media_of(entry, self._compact))]
        for placed in media:
            if placed.fault:
                self._found.faults.append(f"{entry.folder}: {placed.fault}")
        options = {
            told: shown_option(key, entry.manifest[key])
            for key, told in OPTIONS.items()
            if entry.manifest.get(key) not in (None, "")
        }
        notes = entry.manifest.get("notes") or []
        return {
            "source": self._found.sources[entry.source].name,
            "seed": entry.seed,
            "options": {**options, "seconds": entry.manifest.get("seconds", "?"), "folder": entry.folder.name}
            | ({"notes": "; ".join(map(str, notes))} if notes else {}),
            "media": _arranged(media),
            "figures": [FIGURES[key].format(value) for key, value in entry.figures.items()],
        }


def _arranged(media: list[Placed]) -> dict[str, Any]:
    """An object's media by their places."""
    views = [placed for placed in media if placed.kind == "view"]
    mesh = next((placed for placed in media if placed.kind == "mesh"), None)
    order = ("turntable", "strip_animation", "strip")
    # Beside a mesh the views stand in two rows, so that all figures of a band are of one height.
    across = min(8, len(views)) if mesh is None else max(1, (len(views) + 1) // 2)
    rows = -(-len(views) // across) if views else 1
    return {
        "all": [placed for placed in media if placed.data],
        "views": views,
        "across": across,
        "views_ratio": round(across / rows, 3),
        "mesh": mesh,
        "has_mesh": mesh is not None,
        "others": [placed for kind in order for placed in media if placed.kind == kind],
    }


def _img(placed: Placed) -> Markup:
    """A picture that the page's script fills."""
    moves = Markup(" data-moves=yes") if placed.kind in ("turntable", "strip_animation") else ""
    width, height = placed.size
    return Markup('<img data-media="{}"{} alt="{}" width="{}" height="{}">').format(
        placed.id, moves, placed.label, width, height
    )


def _source(index: int, source: Source, faults: list[str], compact: bool) -> dict[str, Any]:
    data = source.data
    facts = {"folder": source.folder.resolve().name, **source.options}
    if source.spec_id:
        facts["spec"] = source.spec_id[:12]
    if data.get("objects"):
        facts["training objects"] = f"{data['objects']:,}"
    if data.get("licences"):
        facts["their licences"] = ", ".join(
            f"{name or 'unknown'} ({count})" for name, count in data["licences"].items()
        )
    preview = None
    if source.preview is not None:
        label = f"{source.name}: {source.preview.name}"
        preview = Placed(f"s{index}", still("preview", label, source.preview, compact))
        if preview.fault:
            faults.append(f"{source.preview.parent}: {preview.fault}")
    return {
        "name": source.name,
        "colour": index % COLOURS + 1,
        "curves": source.curves,
        "facts": facts,
        "creators": ", ".join(sorted(filter(None, data.get("creators") or {}), key=str.lower)),
        "versions": source.versions,
        "preview": preview,
        "spec": json.dumps(without_paths(source.spec), indent=2, ensure_ascii=False) if source.spec else "",
    }


def _named(fault: str) -> str:
    """Leave only the last part of a sentence's absolute paths: the page goes to others."""
    return " ".join(without_paths(fault.split(" ")))


def _charts(sources: list[Source]) -> list[Markup]:
    """A chart a figure, training's first; runs that have it as its lines."""
    names = dict.fromkeys(name for source in sources for name in source.curves)
    drawn = []
    for name in sorted(names, key=lambda name: name.startswith(("held_out/", "trained_on/"))):
        having = [(index, source) for index, source in enumerate(sources) if name in source.curves]
        lines = {source.name: source.curves[name] for _, source in having}
        colours = [f"var(--run-{index % COLOURS + 1})" for index, _ in having]
        title = name.replace("held_out/", "held out: ").replace("trained_on/", "trained on: ")
        drawn.append(Markup(chart(title, lines, colours)))
    return drawn


def _differences(sources: list[Source]) -> list[tuple[str, list[str]]]:
    """Fields in which the specs differ, where several are known."""
    flat = [_flat(without_paths(source.spec)) if source.spec else None for source in sources]
    known = [spec for spec in flat if spec is not None]
    if len(known) < 2:
        return []
    names = sorted({name for spec in known for name in spec})
    differing = [name for name in names if len({str(spec.get(name)) for spec in known}) > 1]
    return [(name, ["?" if spec is None else str(spec.get(name, "")) for spec in flat]) for name in differing]


def _flat(block: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in block.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def model_viewer() -> str:
    """Return model-viewer as the page carries it, packed: base 64 of gzip. It asks for no other file."""
    code = gzip.decompress((PAGE / "model-viewer.min.js.gz").read_bytes()).decode()
    packed = gzip.compress(code.split("//# sourceMappingURL=")[0].encode(), mtime=0)
    return base64.b64encode(packed).decode("ascii")
