"""What every request passes first: the Host header, the token, where it comes from, and how large it is."""

from collections.abc import MutableMapping
from typing import Any

from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.access import Access, is_foreign, is_loopback

MAX_BYTES = 64 * 1024
"""Largest body of a request."""

MIN_TOKEN = 16
"""Letters of the shortest token."""

COOKIE = "tunemv3d"


def check_token(host: str, token: str) -> None:
    """Refuse to be reached from other machines without a token, and tokens that can be guessed.

    Raises:
        TuneMV3DError: says which.
    """
    if not token and not is_loopback(host):
        raise TuneMV3DError(f"--host {host}: other machines reach the server there, so it needs a --token")
    if token and (len(token) < MIN_TOKEN or not token.isascii() or not token.isalnum()):
        raise TuneMV3DError(
            f"--token: at least {MIN_TOKEN} letters and digits are expected; leave it out, and one is made and printed"
        )


class Guard:
    """Refuses requests before the application sees them.

    Args:
        app: what it guards.
        host: that the server listens on.
        token: that requests carry as ``Authorization: Bearer``, or a browser as a cookie; "" asks for none.
    """

    def __init__(self, app: ASGIApp, host: str, token: str = "") -> None:
        check_token(host, token)
        self._app, self._access = app, Access(host, COOKIE, token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with an error, or pass the request on."""
        if scope["type"] != "http":
            # The life of the server; there are no sockets to guard.
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers)
        if answer is None:
            body = await _read(receive)
            if body is None:
                answer = refused(413, f"the request is longer than {MAX_BYTES} bytes: ask for less")
            else:
                receive = _Replay(body, receive)
        await (answer or self._app)(scope, receive, send)

    def _refusal(self, scope: MutableMapping[str, Any], headers: Headers) -> Response | None:
        host, access = headers.get("host", ""), self._access
        if not access.is_own(host):
            return refused(400, "the Host header names another server than this one: open it by its own address")
        if scope["method"] not in ("GET", "HEAD") and is_foreign(headers.get("origin"), host):
            return refused(403, "another site's page sent this request: only this server's own page may")
        if not access.token:
            return None
        if scope["path"] == "/" and access.is_in_query(scope["query_string"].decode("latin-1")):
            # Out of the address, where histories and screens show it.
            answer = RedirectResponse("/", 303)
            answer.set_cookie(COOKIE, access.token, httponly=True, samesite="strict")
            return answer
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if access.is_token(bearer) or access.is_in_cookie(headers.get("cookie", "")):
            return None
        answer_401 = refused(401, "a token is needed: send it as 'Authorization: Bearer TOKEN', or open /?token=TOKEN")
        answer_401.headers["WWW-Authenticate"] = "Bearer"
        return answer_401


class _Replay:
    """A request's body again, after it was read."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def _read(receive: Receive) -> bytes | None:
    """A request's body; None where it is too long."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BYTES:
            return None
    return body


def refused(status: int, sentence: str) -> JSONResponse:
    """An error as clients get it."""
    return JSONResponse({"error": sentence.encode("ascii", "backslashreplace").decode()}, status)
