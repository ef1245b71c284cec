"""Exchange single HTTP requests with one server, at addresses that were checked: no proxies, no redirects.

`http.client` reads no proxies from the environment and follows no redirects; both could carry photos elsewhere.
"""

import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection

from engine.core.errors import EnvironmentFault, UsageError
from engine.vlms.server.address import API_KEY, ServerAddress

CONNECT_SECONDS = 5.0
"""How long a connection may take; on one machine it takes milliseconds."""
LARGEST_REPLY = 2**24
"""Bytes of a reply that are read; one with a caption has a few thousand."""


class Unreachable(Exception):
    """Nothing accepts connections at a server's address."""


@dataclass(frozen=True)
class Reply:
    """A server's reply. headers: by name in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _CheckedConnection(HTTPConnection):
    """A connection to one of some addresses; the name of the host is not resolved again."""

    def __init__(self, server: ServerAddress, addresses: tuple[str, ...], seconds: float) -> None:
        super().__init__(server.host, server.port)
        self._addresses, self._seconds, self._is_encrypted = addresses, seconds, server.is_encrypted
        self.wire: socket.socket | None = None  # `sock` is taken away while the reply is read

    def connect(self) -> None:
        """Connect to the first address that accepts, then allow for the time that a reply may take.

        Raises:
            Unreachable: none accepts.
        """
        failure = OSError("it has no address")
        for address in self._addresses:
            try:
                sock = socket.create_connection((address, self.port), CONNECT_SECONDS)
                self.sock = self.wire = self._encrypted(sock) if self._is_encrypted else sock
                self.wire.settimeout(self._seconds)
            except OSError as err:  # ssl.SSLError is one
                failure = err
            else:
                return
        raise Unreachable(failure.strerror or str(failure)) from failure

    def _encrypted(self, sock: socket.socket) -> ssl.SSLSocket:
        return ssl.create_default_context().wrap_socket(sock, server_hostname=self.host)


class Connections:
    """The way to one server. Threads may share it: every request has a connection of its own."""

    def __init__(self, server: ServerAddress) -> None:
        """Find the server's addresses, and check them; nothing is sent to it.

        Raises:
            UsageError: it is not on this machine, and photos may not leave it.
            EnvironmentFault: its name is unknown.
        """
        self.server = server
        self.stopped = threading.Event()
        self._addresses = _find_addresses(server)
        self._open: set[_CheckedConnection] = set()

    def exchange(self, method: str, path: str, body: bytes | None, seconds: float) -> Reply:
        """Send one request and read the reply. path: from the server's root. seconds: how long it may be silent.

        Raises:
            Unreachable: nothing accepts the connection.
            TimeoutError: there was no reply in time.
            OSError, http.client.HTTPException: the connection broke.
            EnvironmentFault: the server redirects, which is not followed.
        """
        connection = _CheckedConnection(self.server, self._addresses, seconds)
        self._open.add(connection)
        try:
            connection.connect()
            if self.stopped.is_set():
                raise ConnectionAbortedError("stopped")
            connection.request(method, path, body, _headers())
            response = connection.getresponse()
            if 300 <= response.status < 400:
                raise self._redirected(response.getheader("Location", ""))
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, headers, response.read(LARGEST_REPLY))
        finally:
            self._open.discard(connection)
            connection.close()

    def stop(self) -> None:
        """Break all connections, so that the threads that wait for a reply end. Later requests fail."""
        self.stopped.set()
        for connection in list(self._open):
            if connection.wire is not None:
                try:
                    connection.wire.shutdown(socket.SHUT_RDWR)
                except OSError:  # it is closed already
                    continue

    def _redirected(self, target: str) -> EnvironmentFault:
        return EnvironmentFault(
            f"the server at {self.server.base} redirects to {target or 'another address'}, which is not followed:"
            " photos would leave for there",
            hint="Give the server's own address as --vlm openai:URL#MODEL.",
        )


def _headers() -> dict[str, str]:
    key = os.environ.get(API_KEY, "")
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"{API_KEY} holds characters that cannot stand in a key", hint="Set it again.")
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
    return headers | {"Authorization": f"Bearer {key}"} if key else headers


def _find_addresses(server: ServerAddress) -> tuple[str, ...]:
    """Return the IP addresses of a server.

    Raises:
        UsageError: one of them is not this machine's own, and photos may not leave it.
        EnvironmentFault: the name is unknown.
    """
    try:
        found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as err:
        raise EnvironmentFault(
            f"there is no machine called {server.host}", hint="Correct the address in --vlm openai:URL#MODEL."
        ) from err
    addresses = tuple(dict.fromkeys(str(address[0]) for *_, address in found))
    if not server.allow_remote and not all(map(is_loopback, addresses)):
        raise UsageError(
            f"{server.base} is not on this machine, and photos would be sent there",
            hint="Use an address such as http://127.0.0.1:11434/v1, or allow it with --allow-remote.",
        )
    return addresses


def is_loopback(address: str) -> bool:
    """Return whether an IP address belongs to this machine alone: 127.0.0.0/8 or ::1, also written as IPv6."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
