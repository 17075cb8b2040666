"""One page of all packaged models and datasets, from their cards; its small pictures are cut from the cards' own."""

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from pages.markdown import page, table
from tunemv3d_core.plugins.registry import registry

TILE = 80
"""Side of a view in an adapter's pictures, pixels (`_save` of recipe/adapters/publish.py)."""


def pages() -> dict[str, str]:
    """The page of all packaged models."""
    sections = [("Adapters", "spec.json", _adapter), ("What adapters stand on", "model_index.json", _prior)]
    sections += [("What judges them", "preprocessor_config.json", _judge), ("Datasets", "dataset.json", _dataset)]
    return {"models.md": page(_INTRODUCTION, *(_section(*told) for told in sections))}


def pictures() -> dict[str, bytes]:
    """The page's pictures, by their places below the generated pages."""
    return {f"models/{name}.webp": _webp(tiles) for name, folder in assets().items() if (tiles := _tiles(folder))}


def assets() -> dict[str, Path]:
    """Installed assets by name."""
    return {record.name: Path(registry().load(record)) for record in registry().records("asset")}


def figures(card: str) -> dict[str, dict[str, str]]:
    """The first table of a card's figures: by the first cell of each row, which is K, then by column."""
    table_ = _below(card, "Figures").partition("\n|")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table_.splitlines()]
    return {line[0]: dict(zip(cells[0][1:], line[1:], strict=True)) for line in cells[2:]}


def _section(title: str, has: str, row: Callable[[str, Path], list[str]]) -> str:
    """A table of the assets that have a file of this name."""
    rows = [row(name, folder) for name, folder in assets().items() if (folder / has).is_file()]
    return page(f"## {title}", table(["", "name", "what it knows, and what not", "figures"], rows))


def _adapter(name: str, folder: Path) -> list[str]:
    card = _card(folder)
    strength = _json(folder / "spec.json")["sample"]["consistency"]
    told = [f"{key} {value}" for key, value in figures(card)[f"{strength:g}"].items()]
    base = _head(card, "base_model")
    facts = [f"on [{base}](cards/{base}.md)", f"[spec](specs.md) `{name}`"]
    picture = f"four views of what {name} makes of its first prompt"
    return _row(name, folder, picture, facts, [f"At its own K = {strength:g}:", *told])


def _prior(name: str, folder: Path) -> list[str]:
    told = _json(folder / "figures.json")
    own = told["figures"]
    lines = [f"named colour {own['prior']['named_colour']:.0%}", f"autoencoder {own['autoencoder']['psnr']:.1f} dB"]
    parameters = sum(told["parameters"].values())
    return _row(
        name, folder, f"the first prompt of {name} with four seeds", [f"{parameters / 1e6:.1f} M weights"], lines
    )


def _judge(name: str, folder: Path) -> list[str]:
    told = _json(folder / "figures.json")
    shares = [f"{key} {value:.1%}" for key, value in told["held_out"]["chairs by object"].items() if key != "asked"]
    lines = ["Held-out chairs, found again by:", *shares]
    return _row(name, folder, "", [f"{told['parameters'] / 1e6:.2f} M weights"], lines)


def _dataset(name: str, folder: Path) -> list[str]:
    objects = _json(folder / "dataset.json")["objects"]
    records = [_json(folder / "objects" / each["id"] / "transforms.json") for each in objects]
    held_out = sum(each["split"] == "held_out" for each in objects)
    views = sum(len(record["frames"]) for record in records)
    licences = Counter(record["licence"] for record in records).most_common()
    counted = ", ".join(f"{licence} ({count})" for licence, count in licences)
    words = f"`tunemv3d data show {name}` shows all of it. {counted}; `ATTRIBUTION.md` in it names the creators."
    told = "<br>".join([f"{len(objects)} objects", f"{held_out} of them held out", f"{views:,} views"])
    return [_picture(name, f"the first four objects of {name}"), f"**{name}**<br>{_size(folder)}", words, told]


def _row(name: str, folder: Path, picture: str, facts: list[str], told: list[str]) -> list[str]:
    card = _card(folder)
    whose = [f"**[{name}](cards/{name}.md)**", *facts, f"{_size(folder)}, {_head(card, 'license').upper()}"]
    limits = " ".join(_below(card, "Limits").split())
    lines = "<br>".join(f'<span class="figure">{line}</span>' for line in told)
    return [_picture(name, picture) if picture else "", "<br>".join(whose), limits, lines]


def _picture(name: str, words: str) -> str:
    return f"![{words}](models/{name}.webp)"


def _tiles(folder: Path) -> list[Image.Image]:
    """Four pictures of an asset; none where it makes none."""
    if (folder / "sweep.webp").is_file():
        strengths = [first for first in figures(_card(folder)) if first[0].isdigit()]
        at = strengths.index(f"{_json(folder / 'spec.json')['sample']['consistency']:g}")
        sheet = _opened(folder / "sweep.webp")
        # Two prompts stand side by side; above a prompt's strips is its title, before each a label.
        left, top = sheet.width / 2 - 8 * TILE, sheet.height / 2 - len(strengths) * TILE + at * TILE
        return [sheet.crop(_box(left + TILE * i, top, TILE)) for i in range(4)]
    if (folder / "prompts.webp").is_file():
        sheet = _opened(folder / "prompts.webp")
        side = sheet.width // 8
        top = sheet.height / 4 - 2 * side
        return [sheet.crop(_box(side * x, top + side * y, side)) for y in (0, 1) for x in (0, 1)]
    found = _json(folder / "dataset.json")["objects"] if (folder / "dataset.json").is_file() else []
    return [_opened(folder / "objects" / each["id"] / "000.webp") for each in found[:4]]


def _webp(tiles: list[Image.Image]) -> bytes:
    """Four tiles, two by two."""
    sheet = Image.new("RGB", (4 * TILE, 4 * TILE), "white")
    for place, tile in enumerate(tiles):
        small = tile.resize((2 * TILE, 2 * TILE), Image.Resampling.LANCZOS)
        sheet.paste(small, (place % 2 * 2 * TILE, place // 2 * 2 * TILE))
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=80)
    return buffer.getvalue()


def _opened(path: Path) -> Image.Image:
    """A picture on white."""
    with Image.open(path) as picture:
        drawn = picture.convert("RGBA")
    ground = Image.new("RGBA", drawn.size, "white")
    ground.alpha_composite(drawn)
    return ground.convert("RGB")


def _box(left: float, top: float, side: int) -> tuple[int, int, int, int]:
    return round(left), round(top), round(left) + side, round(top) + side


def _card(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def _head(card: str, key: str) -> str:
    """A value of a card's front matter."""
    return next(line.partition(": ")[2] for line in card.splitlines() if line.startswith(f"{key}: "))


def _below(card: str, title: str) -> str:
    return card.partition(f"## {title}\n")[2].partition("\n## ")[0].partition("\n![")[0].strip()


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _size(folder: Path) -> str:
    return f"{sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()) / 1e6:.1f} MB"


_INTRODUCTION = """# Models

All that is packaged, small enough for a CPU. The figures are those of each one's card, which has them for every K;
[how to read them](../how-to-read-the-figures.md). Larger ones are tuned on
[your own objects](../your-own-objects.md)."""
