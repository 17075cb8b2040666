"""Pages that commands write are for everybody: axe-core finds nothing serious, and keys do what a mouse does."""

import gzip
import json
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import show_toys as toys
from show_axe import needs_axe, serious
from show_browser import Browser, needs_chromium
from typer.testing import CliRunner

from tunemv3d_data.commands import app
from tunemv3d_eval.study.report import write_report
from tunemv3d_train.page import write_page

pytestmark = pytest.mark.slow
STUDY = Path(__file__).parents[1] / "docs/studies/mini"
OBJECTS = ("blend-swap-cc-0-stool", "scopia-chair")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of every kind that opens from disk; `tunemv3d report` has tests of its own."""
    out = tmp_path_factory.mktemp("pages")
    shown = CliRunner().invoke(app, ["show", "chairs", "--objects", ",".join(OBJECTS), "--out", str(out / "data")])
    assert shown.exit_code == 0, shown.output
    shutil.copytree(STUDY, out / "study")
    content: dict[str, Any] = json.loads(gzip.decompress((STUDY / "study.json.gz").read_bytes()))
    content["variants"] = {name: {"has_field": True, **each} for name, each in content["variants"].items()}
    write_report(out / "study", content)
    run = toys.write_run(out / "run")
    spec = SimpleNamespace(name="toy", train=SimpleNamespace(steps=4))
    written = SimpleNamespace(
        spec=spec, path=run, metrics=run / "metrics.jsonl", previews=run / "previews", known_words=run / "none"
    )
    write_page(written, 4)  # type: ignore[arg-type]
    return {
        "dataset": out / "data/index.html",
        "object": out / f"data/objects/{OBJECTS[0]}/index.html",
        "study": out / "study/report.html",
        "run": run / "index.html",
        "serve": Path(str(files("tunemv3d_serve") / "static/page.html")),
    }


@pytest.fixture(scope="module", params=["light", "dark"])
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    with Browser() as opened:
        opened.prefer(color_scheme=request.param)
        yield opened


@needs_axe
@pytest.mark.parametrize("kind", ["dataset", "object", "study", "run", "serve"])
def test_axe_finds_nothing_serious(kind: str, browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages[kind])
    assert serious(browser) == []


@needs_axe
def test_axe_finds_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    """The other tests would pass as well were nothing looked at."""
    (tmp_path / "bad.html").write_text(
        '<html lang="en"><title>x</title><img src="a.png"><p style="color:#eee">hardly seen'
    )
    browser.open(tmp_path / "bad.html")
    assert {line.partition(":")[0] for line in serious(browser)} >= {"image-alt"}


@needs_chromium
def test_cameras_turn_and_views_are_chosen_by_the_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["object"])
    browser.run("document.getElementById('orbit').focus()")
    before = browser.run("azimuth")
    browser.key("ArrowRight")
    assert browser.run("azimuth") == pytest.approx(before - 0.1)
    browser.run("document.querySelectorAll('figure button')[2].focus()")
    browser.key("Enter")
    assert browser.run("chosen") == 2
    assert browser.run("document.querySelectorAll('figure button')[2].getAttribute('aria-pressed')") == "true"
