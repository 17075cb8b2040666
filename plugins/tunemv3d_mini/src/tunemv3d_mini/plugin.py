"""Where the packaged specs and assets lie."""

from pathlib import Path

_HERE = Path(__file__).parent

CHAIRS_MINI_SPEC = _HERE / "specs" / "chairs-mini.json"

SD_MINI = _HERE / "assets" / "sd-mini"
CHAIRS = _HERE / "assets" / "chairs"
CHAIRS_MINI = _HERE / "assets" / "chairs-mini"
