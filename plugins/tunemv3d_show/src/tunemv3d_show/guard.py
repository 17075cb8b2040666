"""A viser server that answers only its own page: what every request passes before viser sees it.

viser has no place for that, so its server is started with a check of ours in front of its own.
"""

import http
import ipaddress
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import viser
import websockets.asyncio.server as listening
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from tunemv3d_core.errors import ComponentError, TuneMV3DError

COOKIE = "tunemv3d_view"


class Guard:
    """Refuses requests of other sites' pages, and on a network those without the token.

    A name in ``Host`` that is not this server's is that of a page which had its own name point here (DNS rebinding).

    Args:
        host: that the server listens on.
        token: that the address of the page carries once, and a cookie from then on; "" asks for none.
    """

    def __init__(self, host: str, token: str = "") -> None:
        self._token, self._local = token, is_loopback(host)
        self._names = {"localhost", host.lower(), *([] if self._local else [socket.gethostname().lower()])}
        self.is_asked = False

    def __call__(self, request: Request) -> Response | None:
        """Return the refusal of a request, or None where it may pass."""
        self.is_asked = True
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        if not self._is_own(host):
            return _answer(http.HTTPStatus.BAD_REQUEST, "the Host header names another server: open its own address")
        if origin is not None and urlsplit(origin).netloc != host:
            return _answer(http.HTTPStatus.FORBIDDEN, "another site's page sent this request")
        if not self._token:
            return None
        address = urlsplit(request.path)
        if address.path == "/" and self._is_token(parse_qs(address.query).get("token", [""])[0]):
            # Out of the address, where histories and screens show it.
            cookie = f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/"
            return _answer(http.HTTPStatus.SEE_OTHER, "", {"Location": "/", "Set-Cookie": cookie})
        if self._is_token(_cookie(request.headers.get("Cookie", ""))):
            return None
        return _answer(http.HTTPStatus.UNAUTHORIZED, "a token is needed: open the address that was printed")

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._token.encode())

    def _is_own(self, host: str) -> bool:
        """An address cannot be rebound, a name can."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        with suppress(ValueError):
            return ipaddress.ip_address(name).is_loopback or not self._local
        return name in self._names


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a server that listens there."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"


def guarded_server(host: str, port: int, guard: Guard) -> viser.ViserServer:
    """Start a viser server behind a guard.

    Raises:
        TuneMV3DError: nothing can listen there.
        ComponentError: this version of viser starts its server otherwise, so that the guard would be passed by.
    """
    _check_host(host)
    serve, guarded = listening.serve, []

    def serve_guarded(*arguments: Any, process_request: Callable[..., Any] | None = None, **options: Any) -> Any:
        def check(connection: Any, request: Request) -> Any:
            refusal = guard(request)
            return refusal if refusal or process_request is None else process_request(connection, request)

        guarded.append(True)
        return serve(*arguments, process_request=check, **options)

    # Only while the server starts, which is over when this returns.
    with patch.object(listening, "serve", serve_guarded):
        server = viser.ViserServer(host=host, port=port, label="TuneMV3D", verbose=False)
    if not guarded:
        server.stop()
        raise ComponentError(f"viser {viser.__version__} cannot be guarded from other sites' pages; take viser 1.1")
    return server


def _check_host(host: str) -> None:
    """Find out whether the name can be listened on; viser would try ports for ever."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            trial.bind(place)
    except (OSError, UnicodeError) as error:
        raise TuneMV3DError(f"--host {host}: cannot listen there: {error}") from None


def _answer(status: http.HTTPStatus, sentence: str, headers: dict[str, str] | None = None) -> Response:
    body = sentence.encode()
    own = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body)), **(headers or {})}
    return Response(status.value, status.phrase, Headers(**own), body)


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value
