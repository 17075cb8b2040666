"""Curves of the studies, drawn from their packed results."""

import gzip
import json
from pathlib import Path

from tunemv3d_eval.study.report import curves_html

STUDIES = Path(__file__).parents[1] / "studies"


def curves() -> dict[str, str]:
    """Return the charts of each study that has some as HTML, by the file's name."""
    found = {}
    for packed in sorted(STUDIES.glob("*/study.json.gz")):
        if charts := curves_html(json.loads(gzip.decompress(packed.read_bytes()))):
            found[f"curves-{packed.parent.name}.html"] = charts
    return found
