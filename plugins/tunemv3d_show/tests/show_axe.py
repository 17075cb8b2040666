"""What axe-core finds on a page that a browser has open."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from show_browser import CHROMIUM, Browser

FOUND = find_spec("axe_core_python")

needs_axe = pytest.mark.skipif(
    CHROMIUM is None or FOUND is None,
    reason="needs chromium on the PATH and axe-core (pip install axe-core-python)",
)


def serious(browser: Browser, alike: str = "") -> list[str]:
    """What is serious or critical, a line each: the rule, the first elements that break it, why.

    Elements that the CSS selector ``alike`` finds are left out: they are like others that are looked at.
    """
    script = Path(str(FOUND.origin)).with_name("axe.min.js").read_text(encoding="utf-8")  # type: ignore[union-attr]
    browser.run(f"{script}; true")
    # Frames are pages of their own, and from disk no page may look into another.
    options = {"resultTypes": ["violations"], "preload": False, "iframes": False}
    looked_at = json.dumps({"exclude": [[alike]]}) if alike else "document"
    found = browser.run(f"axe.run({looked_at}, {json.dumps(options)}).then((told) => told.violations)")
    return [
        f"{rule['id']}: {len(rule['nodes'])}, such as {rule['nodes'][0]['html'][:160]} "
        f"({rule['nodes'][0]['failureSummary'][:200]})"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]
