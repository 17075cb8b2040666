"""A viser server that answers only its own page: what every request passes before viser sees it.

viser has no place for that, so its server is started with a check of ours in front of its own.
"""

import http
import socket
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import viser
import websockets.asyncio.server as listening
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from tunemv3d_core.errors import ComponentError, TuneMV3DError
from tunemv3d_core.io.access import Access, is_foreign

COOKIE = "tunemv3d_view"


class Guard:
    """Refuses requests of other sites' pages, and on a network those without the token.

    Args:
        host: that the server listens on.
        token: that the address of the page carries once, and a cookie from then on; "" asks for none.
    """

    def __init__(self, host: str, token: str = "") -> None:
        self._access = Access(host, COOKIE, token)
        self.is_asked = False

    def __call__(self, request: Request) -> Response | None:
        """Return the refusal of a request, or None where it may pass."""
        self.is_asked = True
        host, access = request.headers.get("Host", ""), self._access
        if not access.is_own(host):
            return _answer(http.HTTPStatus.BAD_REQUEST, "the Host header names another server: open its own address")
        if is_foreign(request.headers.get("Origin"), host):
            return _answer(http.HTTPStatus.FORBIDDEN, "another site's page sent this request")
        if not access.token:
            return None
        path, _, query = request.path.partition("?")
        if path == "/" and access.is_in_query(query):
            # Out of the address, where histories and screens show it.
            cookie = f"{COOKIE}={access.token}; HttpOnly; SameSite=Strict; Path=/"
            return _answer(http.HTTPStatus.SEE_OTHER, "", {"Location": "/", "Set-Cookie": cookie})
        if access.is_in_cookie(request.headers.get("Cookie", "")):
            return None
        return _answer(http.HTTPStatus.UNAUTHORIZED, "a token is needed: open the address that was printed")


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
