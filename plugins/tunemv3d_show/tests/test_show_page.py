"""The page in a real browser: it opens from disk, asks for nothing, shows everything, and is usable by keyboard."""

import gzip
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import show_toys as toys
from show_axe import needs_axe, serious
from show_browser import Browser, needs_chromium

from tunemv3d_show.compose import model_viewer, write_page
from tunemv3d_show.gather import gather

pytestmark = [needs_chromium, pytest.mark.slow]

GALLERY = Path(__file__).parents[3] / "docs/gallery.html.gz"

READY = """
[...document.querySelectorAll('model-viewer')].every(v => v.loaded) &&
[...document.querySelectorAll('.object[data-shown] img')].every(i => i.complete && i.naturalWidth)
"""


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        toys.small_stills(patch)
        yield


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for i in range(8):
        toys.write_object(folder / f"samples/{i}", f"chair number {i}", seed=100 * i)
    run = toys.write_run(folder / "run")
    toys.write_object(run / "samples/0", "chair number 0")
    write_page(folder / "page.html", gather([folder / "samples", run]), "Chairs")
    return folder / "page.html"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture
def browser(chromium: Browser, page: Path) -> Iterator[Browser]:
    chromium.start_anew()
    chromium.open(page)
    chromium.wait_for("document.querySelectorAll('.object[data-shown]').length > 0")
    yield chromium
    # Whatever a test did: no error, and no request but for the file itself.
    chromium.run("localStorage.clear()")
    assert chromium.errors == []
    assert {a for a in chromium.requests if not a.startswith(("data:", "blob:"))} == {page.resolve().as_uri()}


def test_every_mesh_and_picture_loads_as_it_comes_near_and_goes_as_it_leaves(browser: Browser) -> None:
    seen = set()
    for i in range(1, 9):
        browser.run(f"document.getElementById('p{i}').scrollIntoView({{behavior: 'instant'}})")
        browser.wait_for(f"document.querySelector('#p{i} model-viewer') !== null && {READY}")
        alive = browser.run("[...document.querySelectorAll('model-viewer')].map(v => v.closest('section').id)")
        seen |= set(alive)
        assert len(alive) < 9
        browser.wait_for(
            f"document.querySelector('#p{i} .turns .poster')?.checkVisibility({{visibilityProperty: true}}) === false"
        )
    assert seen == {f"p{i}" for i in range(1, 9)}
    # The first objects are far above now: their pictures are let go.
    assert browser.run("document.querySelectorAll('#p1 model-viewer, #p1 img[data-media][src]').length") == 0


def test_the_list_and_the_larger_picture_obey_the_keyboard(browser: Browser) -> None:
    browser.run("document.getElementById('filter').focus()")
    for key, active in (
        ("ArrowDown", "#p1"),
        ("ArrowDown", "#p2"),
        ("End", "#p8"),
        ("ArrowUp", "#p7"),
        ("Home", "#p1"),
    ):
        browser.key(key)
        assert browser.run("document.activeElement.hash") == active
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.key("ArrowUp")
    assert browser.run("document.activeElement.id") == "filter"
    browser.run("filter.value = 'NUMBER 3'; filter.dispatchEvent(new Event('input'))")
    browser.key("ArrowDown")
    assert browser.run("document.activeElement.hash") == "#p4"
    browser.key("Escape")
    browser.key("Escape")
    assert browser.run("filter.value + document.querySelectorAll('#list li[hidden]').length") == "0"
    browser.run("document.querySelector('#p1 [data-zoom]').focus()")
    browser.key("Enter")
    assert browser.run("zoom.open && zoom.querySelector('img').alt") == "chair number 0, view 0"
    browser.key("ArrowRight")
    assert browser.run("zoom.querySelector('img').alt") == "chair number 0, view 1"
    browser.key("Escape")
    assert browser.run("!zoom.open && document.activeElement.matches('#p1 [data-zoom]')")


def test_everything_can_be_reached_by_tab_in_the_order_of_the_page(browser: Browser) -> None:
    reached = []
    for _ in range(8):
        browser.key("Tab")
        reached.append(browser.run("document.activeElement.id || document.activeElement.hash || ''"))
    assert reached == ["#main", "motion", "theme", "print", "filter", "#p1", "#p2", "#p3"]


def luminance(colour: str) -> float:
    channels = [int(c) / 255 for c in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_who_wants_no_motion_gets_none(browser: Browser, page: Path) -> None:
    browser.prefer(reduced_motion="reduce")
    browser.open(page)
    browser.wait_for("document.querySelector('#p1 .turntable img').src.startsWith('data:image/png;')")
    assert browser.run("document.getElementById('motion').getAttribute('aria-pressed')") == "false"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_by_4_5_to_1_in_both_themes(scheme: str, browser: Browser) -> None:
    browser.prefer(color_scheme=scheme)
    browser.wait_for(f"document.documentElement.dataset.theme === '{scheme}'")
    for text, ground in ((".muted", "body"), ("h1", "body"), ("figcaption", ".object"), ("a[href='#sources']", "body")):
        words = browser.run(f"getComputedStyle(document.querySelector({text!r})).color")
        behind = browser.run(f"getComputedStyle(document.querySelector({ground!r})).backgroundColor")
        light, dark = sorted([luminance(words), luminance(behind)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, words, behind)


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(scheme: str, browser: Browser) -> None:
    browser.prefer(color_scheme=scheme)
    browser.wait_for(f"document.documentElement.dataset.theme === '{scheme}' && {READY}")
    browser.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert serious(browser) == []
    browser.run("document.querySelector('#p1 [data-zoom]').click()")
    assert serious(browser) == []


def test_the_switch_beats_the_system_and_stillness_is_kept(browser: Browser) -> None:
    browser.prefer(color_scheme="dark")
    browser.run("theme = 'auto'; applyTheme()")
    shown = []
    for _ in range(3):
        shown.append(browser.run("document.documentElement.dataset.theme"))
        browser.run("document.getElementById('theme').click()")
    assert shown == ["dark", "light", "dark"]
    moving = "document.querySelector('#p1 .turntable img').src.slice(0, 15)"
    assert browser.run(moving) == "data:image/webp"
    browser.run("document.getElementById('motion').click()")
    browser.wait_for(f"{moving} === 'data:image/png;'")
    assert not browser.run("document.querySelector('#p1 model-viewer').hasAttribute('auto-rotate')")


def test_a_phone_shows_it_without_sideways_scrolling(browser: Browser) -> None:
    browser.size(360, 700)
    browser.wait_for("document.documentElement.clientWidth === 360")
    assert browser.run("document.documentElement.scrollWidth") == 360
    assert browser.run("document.querySelector('#p1 .stage').clientWidth") > 250


def test_paper_holds_every_picture_without_scrolling_first(browser: Browser, tmp_path: Path) -> None:
    browser.pdf(tmp_path / "page.pdf")
    # A PDF holds equal pictures once; eight objects have 4 views, a strip and two stills each, the ninth is the first.
    assert (tmp_path / "page.pdf").read_bytes().count(b"/Subtype /Image") >= 8 * 7


def test_a_mesh_that_no_browser_can_read_says_so_in_its_place(chromium: Browser, tmp_path: Path) -> None:
    folder = toys.write_object(tmp_path / "samples/a", "a chair")
    data = bytearray((folder / "object.glb").read_bytes())
    data[20:40] = b"x" * 20
    (folder / "object.glb").write_bytes(data)
    write_page(tmp_path / "page.html", gather([tmp_path / "samples"]), "Broken")
    chromium.start_anew()
    chromium.open(tmp_path / "page.html")
    chromium.wait_for("document.querySelector('.stage .fault')?.textContent === 'this mesh cannot be shown'")


def test_hundreds_of_objects_open_at_once(chromium: Browser, tmp_path: Path) -> None:
    for i in range(200):
        toys.write_object(tmp_path / f"samples/{i:03d}", f"chair number {i:03d}", mesh=i < 10)
    write_page(tmp_path / "page.html", gather([tmp_path / "samples"]), "Many")
    chromium.start_anew()
    chromium.open(tmp_path / "page.html")
    assert chromium.run("document.querySelectorAll('.object').length") == 200
    assert chromium.run("document.querySelectorAll('.object[data-shown]').length") < 10
    chromium.run("document.getElementById('p150').scrollIntoView({behavior: 'instant'})")
    chromium.wait_for("document.querySelector('#p150 .object[data-shown] img')?.naturalWidth === 24")
    time.sleep(0.5)
    assert chromium.run("document.querySelectorAll('.object[data-shown]').length") < 10
    # What is above it keeps its height, so that a link of the list leads to its prompt.
    assert abs(chromium.run("document.getElementById('p150').getBoundingClientRect().top")) < 60
    assert chromium.errors == []


@pytest.mark.skipif(not GALLERY.is_file(), reason="no gallery beside the documentation")
def test_the_documentation_s_gallery_shows_every_mesh_and_asks_for_nothing(chromium: Browser, tmp_path: Path) -> None:
    page = tmp_path / "gallery.html"
    place = 'id="model-viewer">'
    page.write_text(
        gzip.decompress(GALLERY.read_bytes()).decode().replace(place, place + model_viewer()), encoding="utf-8"
    )
    chromium.start_anew()
    chromium.open(page)
    chromium.wait_for("document.querySelectorAll('.object').length > 0")
    count = chromium.run("document.querySelectorAll('.object').length")
    assert count == 6
    for i in range(count):
        chromium.run(f"document.querySelectorAll('.object')[{i}].scrollIntoView({{behavior: 'instant'}})")
        chromium.wait_for(f"document.querySelectorAll('.object')[{i}].querySelector('model-viewer')?.loaded && {READY}")
    assert chromium.errors == []
    assert {a for a in chromium.requests if not a.startswith(("data:", "blob:"))} == {page.as_uri()}
