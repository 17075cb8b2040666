"""The viewer answers its own page alone: other sites' pages, names that were pointed here and strangers are refused."""

import base64
import http.client
import os
import socket
from collections.abc import Iterator

import pytest

pytest.importorskip("viser", reason="the extra `view` is not installed")

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_show.guard import Guard, guarded_server

TOKEN = "0123456789abcdef0123456789abcdef"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module", params=["", TOKEN])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    """Port and token of a viewer; with a token it listens to the network."""
    host = "0.0.0.0" if request.param else "127.0.0.1"
    started = guarded_server(host, free_port(), Guard(host, request.param))
    yield started.get_port(), request.param
    started.stop()


def ask(port: int, path: str = "/", **headers: str) -> http.client.HTTPResponse:
    """One request, a WebSocket's first where ``Upgrade`` is among the headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", path, headers={"Host": f"127.0.0.1:{port}", **named})
    return connection.getresponse()


def socket_headers(port: int) -> dict[str, str]:
    key = base64.b64encode(os.urandom(16)).decode()
    return {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Key": key,
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Protocol": "viser-v1.1.1",
    }


def test_its_own_page_is_served(server: tuple[int, str]) -> None:
    port, token = server
    cookie = {"Cookie": f"tunemv3d_view={token}"} if token else {}
    assert ask(port, **cookie).status == 200
    own = {"Origin": f"http://127.0.0.1:{port}", **socket_headers(port), **cookie}
    assert ask(port, **own).status == 101
    assert ask(port, Host=f"localhost:{port}", **cookie).status == 200


@pytest.mark.parametrize("path", ["/", "/assets/x.js"])
def test_names_that_were_pointed_here_are_refused(server: tuple[int, str], path: str) -> None:
    port, token = server
    cookie = {"Cookie": f"tunemv3d_view={token}"} if token else {}
    for host in ("evil.example", f"evil.example:{port}", "", "[::1", "127.0.0.1.evil.example"):
        assert ask(port, path, Host=host, **cookie).status == 400
        assert ask(port, path, Host=host, **socket_headers(port), **cookie).status == 400


def test_other_sites_pages_open_no_socket(server: tuple[int, str]) -> None:
    port, token = server
    cookie = {"Cookie": f"tunemv3d_view={token}"} if token else {}
    for origin in ("http://evil.example", "null", "http://[", f"http://127.0.0.1:{port + 1}", "file://"):
        assert ask(port, Origin=origin, **socket_headers(port), **cookie).status == 403


def test_the_network_needs_the_token_once(server: tuple[int, str]) -> None:
    port, token = server
    if not token:
        return
    own = {"Origin": f"http://127.0.0.1:{port}", **socket_headers(port)}
    for cookie in ("", "tunemv3d_view=", f"tunemv3d_view={token[:-1]}", f"other={token}"):
        assert ask(port, Cookie=cookie).status == ask(port, Cookie=cookie, **own).status == 401
    assert ask(port, "/?token=wrong").status == 401
    answer = ask(port, f"/?token={token}")
    assert answer.status == 303 and answer.headers["Location"] == "/"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert ask(port, Cookie=cookie.split(";")[0], **own).status == 101


def test_a_host_that_is_not_here_is_told_at_once() -> None:
    with pytest.raises(TuneMV3DError, match=r"--host 192\.0\.2\.1: cannot listen there"):
        guarded_server("192.0.2.1", free_port(), Guard("192.0.2.1", TOKEN))
