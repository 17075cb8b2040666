"""The documentation builds without a warning, agrees with what is installed, and opens without a network."""

import json
import os
import re
import runpy
import subprocess
import sys
from functools import lru_cache
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup, Tag
from show_axe import needs_axe, serious
from show_browser import Browser, needs_chromium
from typer.testing import CliRunner

from tunemv3d_core.cli.main import app
from tunemv3d_core.plugins.descriptor import COMPONENT_SLOTS, MODEL_SLOTS
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.testing import checks_of

ROOT = Path(__file__).parents[1]
COMPONENTS = [(slot, name) for slot in COMPONENT_SLOTS for name in registry().names(slot)]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    words = [
        "-E",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        str(out / "doctrees"),
        str(ROOT / "docs"),
        str(out / "html"),
    ]
    built = subprocess.run([sys.executable, "-m", "sphinx", *words], capture_output=True, text=True, timeout=1200)
    assert built.returncode == 0, built.stderr
    return out / "html"


@lru_cache(maxsize=8)
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def rows(table: Tag) -> list[list[str]]:
    return [[cell.get_text() for cell in row.find_all("td")] for row in table.find_all("tr") if row.find("td")]


def shown(name: str) -> list[dict]:
    told = CliRunner().invoke(app, ["plugins", "show", name, "--json"])
    assert told.exit_code == 0, told.output
    return json.loads(told.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("slot, name", COMPONENTS)
def test_a_components_page_agrees_with_plugins_show(site: Path, slot: str, name: str) -> None:
    told = next(entry for entry in shown(name) if entry["slot"] == slot)
    section = soup(site / f"generated/slots/{slot}.html").find("section", id=name)
    assert section is not None, f"{name} has no section"
    words = " ".join(section.get_text().split())
    assert told["summary"] in words.replace("`", "") and f"{told['distribution']} {told['version']}" in words
    tables = [rows(table) for table in section.find_all("table")]
    listed = {row[0]: row[1:] for row in tables[1]} if told["options"] else {}
    assert list(listed) == list(told["options"])
    for option, (_, default, description) in listed.items():
        entry = told["options"][option]
        plain = " ".join(entry.get("description", "").replace("`", "").split())
        assert (default == "required") == entry["required"]
        assert default in ("required", "its own") or json.loads(default) == entry["default"]
        assert description == plain


@pytest.mark.slow
def test_every_component_stands_in_the_one_table(site: Path) -> None:
    page = soup(site / "generated/components.html")
    linked = [unescape(a["href"]) for a in page.select("section table td:first-child a")]
    assert linked == [f"slots/{slot}.html#{name}" for slot, name in COMPONENTS]


@pytest.mark.slow
@pytest.mark.parametrize("slot", MODEL_SLOTS)
def test_a_slots_page_has_all_methods_of_its_protocol(site: Path, slot: str) -> None:
    import tunemv3d_core.slots as slots

    protocol = getattr(slots, slot.title().replace("_", ""))
    ids = {str(tag["id"]) for tag in soup(site / f"generated/slots/{slot}.html").find_all(id=True)}
    methods = [name for name in vars(protocol) if name == "__call__" or not name.startswith("_")]
    assert methods
    assert {f"{protocol.__module__}.{protocol.__name__}.{name}" for name in methods} <= ids


@pytest.mark.slow
def test_every_protocol_has_a_page() -> None:
    import ast

    room = Path(str(sys.modules["tunemv3d_core"].__file__)).with_name("slots")
    trees = [ast.parse(file.read_text()) for file in room.glob("*.py")]
    defined = {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    code = "from pages.slots import protocols, SLOTS; print(*(p.__name__ for s in SLOTS for p in protocols(s)))"
    assert defined == set(_pages(code).split())


@pytest.mark.slow
def test_a_new_component_gets_its_section_without_a_word_written(tmp_path: Path) -> None:
    (tmp_path / "blob.py").write_text(
        "from tunemv3d_core.plugins.descriptor import ComponentPlugin\n"
        "from tunemv3d_core.config.component_spec import ComponentSpec\n"
        "class BlobSpec(ComponentSpec):\n"
        "    wobble: float = 0.25\n"
        '    """How much it wobbles | or not."""\n'
        "BLOB = ComponentPlugin('field', 'blob', '1.0', BlobSpec, 'blob:build', 'A blob.')\n"
        "def build(spec, neighbours, context): ...\n"
    )
    info = tmp_path / "blob-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: blob\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text("[tunemv3d.field]\nblob = blob:BLOB\n")
    page = _pages("from pages.slots import component_slot; print(component_slot('field'))", tmp_path)
    section = page.partition("### blob")[2].partition("###")[0]
    assert "`blob` 2.5" in section and "`blob.build(spec, neighbours, context)`" in section
    assert r"| `wobble` | `number` | `0.25` | How much it wobbles \| or not. |" in section


def _pages(code: str, *also: Path) -> str:
    paths = os.pathsep.join(map(str, [ROOT / "docs", *also]))
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.slow
def test_the_architecture_is_drawn_from_the_imports_of_the_tree() -> None:
    drawing = runpy.run_path(str(ROOT / "docs/draw_architecture.py"))
    assert drawing["PICTURE"].read_text("utf-8") == drawing["draw"](), "stale: python docs/draw_architecture.py"


def test_the_architecture_names_files_that_exist() -> None:
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    files = {
        path.as_posix() for pattern in ("tunemv3d_*/src", "plugins/*/src") for path in ROOT.glob(f"{pattern}/**/*.py")
    }
    files |= {
        path.relative_to(ROOT).as_posix() for pattern in ("docs/*.py", "tests/*.py") for path in ROOT.glob(pattern)
    }
    named = re.findall(r"[\w/]+\.py\b", page)
    assert len(named) > 25
    assert [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)] == []


@pytest.mark.slow
def test_every_command_and_option_has_its_line(site: Path) -> None:
    for name in registry().names("command"):
        text = soup(site / f"generated/commands/tunemv3d-{name.partition('.')[0]}.html").get_text()
        asked = CliRunner().invoke(app, [*name.split("."), "--help"], env={"COLUMNS": "200"}).stdout
        options = set(re.findall(r"^│\s+\*?\s*(--[a-z-]+)", asked, flags=re.MULTILINE)) - {"--help"}
        assert asked and options <= set(re.findall(r"--[a-z-]+", text)), name


@pytest.mark.slow
def test_links_lead_somewhere_and_nothing_is_fetched(site: Path) -> None:
    pages = {path: soup(path) for path in site.rglob("*.html")}
    ids = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    faults = []
    for path, page in pages.items():
        fetched = [tag.get("src") or tag.get("href") for tag in page.select("[src], link[href]")]
        faults += [f"{path.name} fetches {address}" for address in fetched if urlsplit(str(address)).netloc]
        for link in page.select("a[href], img[src]"):
            target = urlsplit(str(link.get("href") or link.get("src")))
            if target.scheme:
                continue
            file = (path.parent / unquote(target.path)).resolve() if target.path else path
            if not file.is_file() or (target.fragment and file in ids and unquote(target.fragment) not in ids[file]):
                faults.append(f"{path.relative_to(site)} -> {target.geturl()}")
    for style in site.rglob("*.css"):
        faults += re.findall(r"(?:@import|url\()[^;)]*//[^;)]*", style.read_text(encoding="utf-8"))
    assert not faults


@pytest.mark.slow
def test_no_page_knows_where_it_was_built(site: Path) -> None:
    for path in [*site.rglob("*.html"), *site.rglob("*.js")]:
        text = path.read_text(encoding="utf-8")
        assert str(ROOT) not in text and str(Path.home()) + "/" not in text, path.name


@pytest.mark.slow
def test_the_site_stays_small(site: Path) -> None:
    sizes = {path: path.stat().st_size for path in site.rglob("*") if path.is_file()}
    gallery = sizes.pop(site / "gallery.html", 0)
    assert gallery <= 1.5e6 and sum(sizes.values()) <= 8e6


AXE_PAGES = (
    "index",
    "method",
    "how-to-read-the-figures",
    "studies/mini",
    "search",
    "generated/models",
    "generated/gallery",
)
AXE_PAGES += ("generated/slots/loss", "generated/reference/tunemv3d_core.guidance", "generated/commands/tunemv3d-data")
"""A page of every kind."""


@pytest.mark.slow
@needs_axe
def test_axe_finds_nothing_serious(site: Path) -> None:
    for scheme in ("light", "dark"):
        with Browser() as browser:
            browser.prefer(color_scheme=scheme)
            for page in AXE_PAGES:
                browser.open(site / f"{page}.html")
                # The study's tables have hundreds of rows, all written by one line of a program.
                assert serious(browser, alike="tbody tr:nth-child(n+4)") == [], (page, scheme)


@pytest.mark.slow
@needs_chromium
def test_what_scrolls_by_itself_can_be_reached_by_the_keyboard(site: Path) -> None:
    wide = "[...document.querySelectorAll('.table-wrapper, .formula, pre')].filter(b => b.scrollWidth > b.clientWidth)"
    with Browser(width=400) as browser:
        browser.open(site / "method.html")
        browser.wait_for(f"{wide}.length > 0 && {wide}.every(box => box.tabIndex === 0)")


@pytest.mark.slow
def test_formulas_are_set_without_a_script(site: Path) -> None:
    page = soup(site / "method.html")
    (loss,) = (
        math for math in page.find_all("math", display="block") if "λ" in math.get_text() and "n'" not in str(math)
    )
    assert [part.get_text() for part in loss.find("mfrac").children] == ["1", "n"]
    assert "denoise" in loss.find("mtext").get_text() and loss.find("munderover") is not None
    assert len(page.find_all("math", display="block")) == 5
    assert not [tag["src"] for tag in page.select("script[src]") if "math" in str(tag["src"]).lower()]


@pytest.mark.slow
def test_a_wrong_formula_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text(
        "from pages.html import visit_formula, visit_formula_block\n"
        "extensions = ['myst_parser']\nmyst_enable_extensions = ['dollarmath']\nhtml_math_renderer = 'mathml'\n"
        "def setup(app):\n"
        "    app.add_html_math_renderer('mathml', (visit_formula, None), (visit_formula_block, None))\n"
    )
    (tmp_path / "index.md").write_text("# Formulas\n\n$a$ $\\nosuch b$ $\\left( c$\n")
    words = [sys.executable, "-m", "sphinx", "-qN", str(tmp_path), str(tmp_path / "out")]
    built = subprocess.run(words, env=os.environ | {"PYTHONPATH": str(ROOT / "docs")}, capture_output=True, text=True)
    assert re.findall("no formula: (.*)", built.stderr) == ["\\nosuch b", "\\left( c"]


@pytest.mark.slow
def test_the_page_of_models_has_the_figures_of_the_raw_json() -> None:
    text = _pages("from pages.models import pages; print(pages()['models.md'])")
    names = {"hull_recall": "hull recall", "hull_recall_cell": "within a latent cell", "opacity_iou": "opacity IoU"}
    names |= {"leave_one_out": "leave-one-out PSNR", "pose_agreement": "pose followed", "colour_met": "named colour"}
    for name in ("chairs-mini", "furniture-mini"):
        folder = ROOT / "plugins/tunemv3d_mini/src/tunemv3d_mini/assets" / name
        strength = json.loads((folder / "spec.json").read_text("utf-8"))["sample"]["consistency"]
        objects = json.loads((folder / "evaluate.json").read_text("utf-8"))["sampled"]["objects"]
        own = [row for row in objects if row["consistency"] == strength]
        (line,) = (line for line in text.splitlines() if f"cards/{name}.md" in line)
        assert len(own) == 20 and f"K = {strength:g}" in line and "CC-BY-4.0" in line
        for key, words in names.items():
            assert f">{words} {sum(row[key] for row in own) / len(own):.4g}<" in line, (name, key)
    asked = json.loads((folder.parent / "sd-mini/figures.json").read_text("utf-8"))["figures"]
    assert f"named colour {asked['prior']['named_colour']:.0%}" in text


def test_how_to_read_the_figures_has_the_figures_that_were_drawn() -> None:
    page = (ROOT / "docs/how-to-read-the-figures.md").read_text("utf-8")
    captions = " ".join(re.findall(r"```{figure}.*?\n\n(.*?)```", page, flags=re.DOTALL)).split()
    told = json.loads((ROOT / "docs/_static/measures/figures.json").read_text("utf-8"))
    numbers = [word.strip(".,:;") for word in captions]
    assert len(told) == 11 and not [value for value in told.values() if str(value) not in numbers]


@pytest.mark.slow
def test_hull_recall_is_drawn_as_it_is_measured() -> None:
    """The drawing's own hull and the metric's are two programs."""
    drawing = runpy.run_path(str(ROOT / "docs/draw_measures.py"))
    images, cameras = drawing["read_views"](drawing["CHAIR"])
    own = drawing["masks"](images)
    repeated = own[:1].expand_as(own)
    from tunemv3d_eval.metrics.hull_recall import hull_recall

    measured = [float(hull_recall(masks[None], cameras[None])) for masks in (own, repeated)]
    told = json.loads((ROOT / "docs/_static/measures/figures.json").read_text("utf-8"))
    assert measured == pytest.approx([told["hull recall, real"], told["hull recall, repeated"]], abs=0.006)
    drawn = drawing["_in_hull"](own, cameras)
    assert (drawn & own[0]).sum() / own[0].sum() > 0.99


def test_every_picture_of_a_page_has_an_alternative_text() -> None:
    for page in [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/*/*.md"), ROOT / "README.md"]:
        text = page.read_text("utf-8")
        figures = re.findall(r"```{(?:figure|image)} \S+\n(.*?)```", text, flags=re.DOTALL)
        assert all(re.match(r":alt: \S+ \S+", figure) for figure in figures), page
        assert not re.findall(r"!\[\]\(", text), page


def test_what_troubleshooting_quotes_is_said_somewhere() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    terms = re.findall(r"^(`.*)\n: ", text, flags=re.MULTILINE)
    sources = [path for folder in ("tunemv3d_*", "plugins/*") for path in ROOT.glob(f"{folder}/src/**/*.py")]
    said = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in sources))
    quoted = [words for term in terms for words in re.findall(r"`([^`]+)`", term)]
    assert len(quoted) > 20
    missing = [words for words in quoted if words not in said and words not in MADE_OF_PARTS]
    assert not missing


MADE_OF_PARTS = ("no component 'nues'. Did you mean 'neus'?", "the field shows no surface")
"""Messages that are put together from several; tests of their own hold them."""


ASKED = {"all slots": COMPONENT_SLOTS, "model slots": MODEL_SLOTS, "aggregators": ("aggregator",)}
"""What the kit's README calls several slots by."""


def test_the_kits_readme_claims_what_it_checks_of_every_slot() -> None:
    text = (ROOT / "tunemv3d_core/README.md").read_text(encoding="utf-8").partition("| check | slots | asks |")[2]
    listed = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", text, re.MULTILINE)
    claimed = {
        (name, slot, asks)
        for name, slots, asks in listed
        for word in slots.split(", ")
        for slot in ASKED.get(word, (word,))
    }
    checks = [(slot, check) for slot in COMPONENT_SLOTS for check in checks_of(slot)]
    assert claimed == {(check.name, slot, check.summary) for slot, check in checks}
