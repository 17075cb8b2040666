"""A picture of the live viewer's page, by a headless Chromium."""

import io
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from tunemv3d_core.errors import TuneMV3DError

TESTS = Path(__file__).parents[2] / "plugins" / "tunemv3d_show" / "tests"
"""Of tunemv3d-show; its browser is driven by a pair of pipes and needs no library."""

SIZE = 1040, 620


def viewer_page(checkpoint: str) -> Image.Image:
    """Start ``tunemv3d view``, press Sample, and photograph the page when the last step is done.

    Raises:
        TuneMV3DError: there is no Chromium, or no viser; or the viewer ended.
    """
    sys.path.insert(0, str(TESTS))
    from show_browser import CHROMIUM, Browser

    if CHROMIUM is None:
        raise TuneMV3DError("needs a Chromium on the PATH (Debian: apt install chromium)")
    if find_spec("viser") is None:
        raise TuneMV3DError("needs the viewer: pip install 'tunemv3d-show[view]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = str(Path(sys.executable).parent / "tunemv3d")
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "view", checkpoint, "--port", str(port), "--out", folder, "--device", "cpu"]
        viewer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await(f"http://127.0.0.1:{port}/", viewer)
            with Browser(*SIZE) as page:
                page.open(f"http://127.0.0.1:{port}/")
                button = "[...document.querySelectorAll('button')].find(b => b.innerText.trim() === 'Sample')"
                page.wait_for(f"!!{button}")
                page.run(f"{button}.click()")
                page.wait_for("/Step (\\d+) of \\1/.test(document.body.innerText)", seconds=600)
                time.sleep(5)  # the surface is drawn after the message
                taken = page.screenshot(Path(folder) / "page.png").read_bytes()
        except AssertionError as error:  # of the browser: something did not happen in time
            raise TuneMV3DError(f"the viewer's page did not come so far: {error}") from None
        finally:
            viewer.terminate()
            viewer.wait()
    return Image.open(io.BytesIO(taken))


def _await(address: str, program: subprocess.Popen[bytes], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except (urllib.error.URLError, OSError):
            if program.poll() is not None or time.monotonic() > until:
                raise TuneMV3DError("`tunemv3d view` does not answer") from None
            time.sleep(0.5)
