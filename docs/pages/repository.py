"""Pages that are files of the repository: benchmarks, the packages' pages, cards of packaged models, the changelog."""

import os
import re
from pathlib import Path

from pages.markdown import page, toctree

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
_FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def pages() -> dict[str, str]:
    """The pages, their links led to where each thing is in the site."""
    sources = _sources()
    texts = {name: _page(name, source, sources) for name, source in sources.items()}
    for folder, title in (("packages", "Packages"), ("cards", "Model cards")):
        listed = [name.removeprefix(f"{folder}/") for name in sources if name.startswith(folder)]
        texts[f"{folder}/index.md"] = page(f"# {title}", toctree(listed))
    return texts | {"gallery.md": _gallery()}


def _sources() -> dict[str, Path]:
    """Files of the repository by the pages that they become."""
    packages = [*sorted(ROOT.glob("tunemv3d_*/README.md")), *sorted(ROOT.glob("plugins/*/README.md"))]
    cards = sorted(ROOT.glob("plugins/*/src/*/assets/*/README.md"))
    return {
        "benchmarks.md": ROOT / "benchmarks" / "README.md",
        "changelog.md": ROOT / "CHANGELOG.md",
        "contributing.md": ROOT / "CONTRIBUTING.md",
        **{f"packages/{path.parent.name}.md": path for path in packages},
        **{f"cards/{path.parent.name}.md": path for path in cards},
    }


def _page(name: str, source: Path, sources: dict[str, Path]) -> str:
    """A file's text; a link to something that is no page of the site becomes its words."""
    here = ROOT / "docs" / "generated" / name
    homes = {path: ROOT / "docs" / "generated" / page_ for page_, path in sources.items()}

    def led(match: re.Match[str]) -> str:
        picture, words, target, anchor = match.groups(default="")
        if "://" in target:
            return match[0]
        file = (source.parent / target).resolve()
        home = file if picture else homes.get(file)
        return words if home is None else f"{picture}[{words}]({os.path.relpath(home, here.parent)}{anchor})"

    return _LINK.sub(led, _FRONT.sub("", source.read_text(encoding="utf-8")))


def _gallery() -> str:
    if (ROOT / "docs" / "gallery.html.gz").is_file():
        return page("# Gallery", _GALLERY)
    return page("# Gallery", _NO_GALLERY)


_GALLERY = """Six prompts with their first seed, sampled by the packaged adapters; nothing is left out. The meshes turn.
<a href="../gallery.html">The same on a page of its own</a>.

<iframe class="gallery" src="../gallery.html" title="Gallery: sampled objects, their views and meshes"></iframe>

[Who made the objects that were learned from](cards/index.md) stands on the models' cards;
`plugins/tunemv3d_mini/recipe/gallery` makes the page anew."""

_NO_GALLERY = """This copy of the documentation has no gallery. A page of your own samples is made by:

    tunemv3d sample chairs-mini "a red office chair" --strip --video --mesh --out samples
    tunemv3d report samples --out gallery.html

The [cards of the packaged models](cards/index.md) show every prompt that was measured."""
