"""Decide who may use the server of a page: the browser that was given its address, and no other page in it.

The server listens on the loopback interface only. Its address holds a random key, for which the browser gets a cookie
(HttpOnly, SameSite=Strict, for the server's own random path); without it nothing is shown. Actions also need a token
that only the page itself knows, in a header that no foreign page can send. The Host must be the server's own, which
stops a foreign name that is made to point to this machine (DNS rebinding), and so must Origin and Sec-Fetch-Site where
the browser sends them. Nothing tells a browser that other origins may read an answer (no CORS).
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

HOSTS = ("127.0.0.1", "localhost")
_BYTES = 24
"""Of randomness in each secret: 192 bits."""


def _secret() -> str:
    return secrets.token_urlsafe(_BYTES)


@dataclass
class Access:
    """The secrets of one server.

    place: the path under which everything is; the cookie is sent there only, and so to no other server on this machine.
    key: for the address that the user reads; launch: the same for one use, for the command line of the browser, which
    other users may read. cookie, token: what the browser then proves itself with.
    """

    port: int
    place: str = field(default_factory=lambda: secrets.token_hex(8))
    key: str = field(default_factory=_secret)
    launch: str = field(default_factory=_secret)
    cookie: str = field(default_factory=_secret)
    token: str = field(default_factory=_secret)

    def admits(self, key: str) -> bool:
        """Return whether a key gives the cookie; the launch key does so once."""
        if self.launch and _same(key, self.launch):
            self.launch = ""
            return True
        return _same(key, self.key)

    @property
    def cookie_name(self) -> str:
        """The cookie's name, different for each server: cookies do not know ports."""
        return f"myvlm-{self.place}"

    @property
    def set_cookie(self) -> str:
        """The value of Set-Cookie."""
        return f"{self.cookie_name}={self.cookie}; Path=/{self.place}/; HttpOnly; SameSite=Strict"

    def refusal(self, headers: Mapping[str, str]) -> str:
        """Return why a request is refused whatever it asks for; "" if it is not. headers: their names in lower case."""
        host = headers.get("host", "")
        if host not in {f"{name}:{self.port}" for name in HOSTS}:
            return "The address has another host or port than this page."
        if headers.get("origin", f"http://{host}") != f"http://{host}":
            return "The request comes from another page."
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "The request comes from another page. Copy the address into the address bar of a new tab."
        return ""

    def has_cookie(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request has the cookie."""
        pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
        return any(name == self.cookie_name and _same(value, self.cookie) for name, _, value in pairs)

    def may_act(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request comes from the page itself: it has the cookie, the page's Origin and its token."""
        return (
            self.has_cookie(headers)
            and headers.get("origin") == f"http://{headers.get('host')}"
            and _same(headers.get("x-myvlm-token", ""), self.token)
        )


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode("utf-8", "surrogateescape"), b.encode())
