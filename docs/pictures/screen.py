"""A picture of the live viewer's page, by a headless Chromium."""

import io
import socket
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from tunemv3d_core.additions import Additions
from tunemv3d_core.cli.model_options import read_placement
from tunemv3d_core.errors import TuneMV3DError

TESTS = Path(__file__).parents[2] / "plugins" / "tunemv3d_show" / "tests"
"""Of tunemv3d-show; its browser is driven by a pair of pipes and needs no library."""

SIZE = 1240, 700


def viewer_page(checkpoint: str, cameras: int, steps: int) -> Image.Image:
    """Open ``tunemv3d view``'s page, let it sample as its button does, and photograph it after the last step.

    Raises:
        TuneMV3DError: there is no Chromium, or no viser; or the page did not come so far.
    """
    sys.path.insert(0, str(TESTS))
    from show_browser import CHROMIUM, Browser

    if CHROMIUM is None:
        raise TuneMV3DError("needs a Chromium on the PATH (Debian: apt install chromium)")
    if find_spec("viser") is None:
        raise TuneMV3DError("needs the viewer: pip install 'tunemv3d-show[view]'")
    from tunemv3d_show.view import open_viewer

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        place = read_placement("cpu", "auto", "none")
        viewer = open_viewer(checkpoint, port, "127.0.0.1", Path("samples"), place, Additions())
        viewer.count.value, viewer.steps.value = cameras, steps
        viewer._orbit()
        try:
            # The page comes afterwards: its software rendering would take the time from the sampling.
            worker = threading.Thread(target=lambda: viewer.work(lambda: viewer.session.start(viewer._on_step)))
            worker.start()
            worker.join()
            with Browser(*SIZE) as page:
                page.open(f"http://127.0.0.1:{port}/")
                page.wait_for(f"document.body.innerText.includes('Step {steps} of {steps}')", seconds=300)
                # A word on the browser's rendering in software.
                page.run("document.querySelectorAll('.mantine-Notification-root button').forEach(b => b.click())")
                time.sleep(10)  # the scene is drawn after the panel
                taken = page.screenshot(Path(folder) / "page.png").read_bytes()
        except AssertionError as error:  # of the browser: something did not happen in time
            raise TuneMV3DError(f"the viewer's page did not come so far: {error}") from None
        finally:
            viewer.server.stop()
    return Image.open(io.BytesIO(taken))
