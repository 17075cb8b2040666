"""Whom our servers answer: requests to their own address, from their own page, and on a network those with a token."""

import ipaddress
import secrets
import socket
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit


class Access:
    """Checks of a request's headers.

    A name in ``Host`` that is not this server's is that of a page which had its own name point here (DNS rebinding).

    Args:
        host: that the server listens on.
        cookie: name of the cookie that keeps the token in a browser.
        token: that requests carry; "" asks for none.
    """

    def __init__(self, host: str, cookie: str, token: str = "") -> None:
        self.token, self._cookie = token, cookie
        self._local = is_loopback(host)
        self._names = {"localhost", host.lower(), *([] if self._local else [socket.gethostname().lower()])}

    def is_own(self, host: str) -> bool:
        """Tell whether a ``Host`` header names this server; an address cannot be rebound, a name can."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        with suppress(ValueError):
            return ipaddress.ip_address(name).is_loopback or not self._local
        return name in self._names

    def is_token(self, given: str) -> bool:
        """Compare in a time that tells nothing of where they differ."""
        return secrets.compare_digest(given.encode(), self.token.encode())

    def is_in_query(self, query: str) -> bool:
        """Tell whether an address carries the token, as the one that was printed does."""
        return self.is_token(parse_qs(query).get("token", [""])[0])

    def is_in_cookie(self, header: str) -> bool:
        """Tell whether a ``Cookie`` header carries the token."""
        try:
            found = SimpleCookie(header).get(self._cookie)
        except CookieError:
            return False
        return found is not None and self.is_token(found.value)


def is_foreign(origin: str | None, host: str) -> bool:
    """Tell whether another site's page sent a request, by its ``Origin`` and ``Host`` headers."""
    try:
        return origin is not None and urlsplit(origin).netloc != host
    except ValueError:  # no address at all
        return True


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a server that listens there."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"
