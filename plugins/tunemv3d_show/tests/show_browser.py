"""A headless Chromium, driven over its DevTools protocol by a pair of pipes: needs no library and no network."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH (Debian: apt install chromium)")

FLAGS = (
    "--headless --no-sandbox --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader --no-first-run "
    "--disable-background-networking --disable-component-update --disable-dev-shm-usage --remote-debugging-pipe"
)


class Browser:
    """One page. ``errors`` gets what its console says of errors; ``requests`` every address that it asks for."""

    def __init__(self, width: int = 1280, height: int = 900) -> None:
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()
        self._profile = tempfile.mkdtemp()
        # Chromium reads commands from descriptor 3 and answers on 4.
        line = f'exec "$0" "$@" 3<&{to_child} 4>&{from_child}'
        flags = [*FLAGS.split(), f"--user-data-dir={self._profile}", f"--window-size={width},{height}"]
        self.process = subprocess.Popen(
            ["bash", "-c", line, str(CHROMIUM), *flags, "about:blank"],
            pass_fds=(to_child, from_child),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_child)
        os.close(from_child)
        os.set_blocking(self._write, False)
        self._rest, self._number, self._session = b"", 0, ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        try:
            self._attach(width, height)
        except BaseException:
            self.close()
            raise

    def _attach(self, width: int, height: int) -> None:
        pages = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.size(width, height)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, timeout: float = 120, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        until = time.monotonic() + timeout
        self._send(json.dumps(message).encode() + b"\0", until)
        while True:
            answer = self._next(until)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._note(answer)

    def _send(self, message: bytes, until: float) -> None:
        while message:
            _, ready, _ = select.select([], [self._write], [], max(0, until - time.monotonic()))
            assert ready, "chromium did not take a command in time"
            try:
                message = message[os.write(self._write, message) :]
            except BrokenPipeError:
                raise AssertionError(self._ended()) from None

    def _next(self, until: float) -> dict[str, Any]:
        """The next message. A browser that has ended leaves a pipe that is always ready, and gives nothing."""
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0, until - time.monotonic()))
            assert ready, "chromium did not answer in time"
            read = os.read(self._read, 1 << 20)
            assert read, self._ended()
            self._rest += read
        assert time.monotonic() < until, "chromium said other things, but did not answer in time"
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def _ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):  # its pipes close a moment before
            self.process.wait(5)
        return f"chromium has ended: exit code {self.process.returncode}"

    def _note(self, event: dict[str, Any]) -> None:
        method, told = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(told["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.errors.append(json.dumps(told["args"])[:500])
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(json.dumps(told["entry"])[:500])
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"][:200])

    def size(self, width: int, height: int, scale: float = 1) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def prefer(self, **features: str) -> None:
        """Such as ``prefer(color_scheme="dark")``."""
        named = [{"name": "prefers-" + name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=named)

    def start_anew(self, width: int = 1280, height: int = 900) -> None:
        """Leave the page, with everything that was asked of the browser for it."""
        self.open("about:blank")
        self.prefer()
        self.size(width, height)
        self.errors.clear()
        self.requests.clear()

    def open(self, address: str | Path) -> None:
        self.call("Page.navigate", url=address if isinstance(address, str) else address.resolve().as_uri())
        self.wait_for("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, script: str, seconds: float = 90) -> None:
        until = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < until, f"still not true: {script}; console: {self.errors}"
            time.sleep(0.1)

    def key(self, name: str) -> None:
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "Home": 36, "End": 35}
        codes |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if name == "Enter" and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=codes[name], **text
            )

    def screenshot(self, path: Path, **options: Any) -> Path:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **options)["data"]))
        return path

    def pdf(self, path: Path) -> Path:
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"]))
        return path
