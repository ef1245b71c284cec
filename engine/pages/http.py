"""The sockets of a page's server: requests of bounded size, answers with headers that keep other pages out."""

import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import cast

LARGEST_REQUEST = 256 * 1024
"""Bytes of an action; one about 10,000 items has 60 kB."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page has a policy of its own, too
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Answer:
    """An answer to the browser."""

    status: int
    body: bytes = b""
    type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    then: Callable[[], None] | None = None


class HttpServer(ThreadingHTTPServer):
    """The sockets; `answer` is set by the server. acting: held from the begin of an action until it is answered."""

    daemon_threads = True
    answer: Callable[[str, str, Mapping[str, str], bytes], Answer]

    def __init__(self, address: tuple[str, int], handler: "type[Handler]") -> None:
        super().__init__(address, handler)
        self.faults: list[Exception] = []
        self.acting = threading.Lock()

    def server_bind(self) -> None:
        """Bind without asking for the name of this machine, as `HTTPServer` does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep an unexpected error; a browser that goes away in the middle of an answer is none."""
        err = sys.exc_info()[1]
        if isinstance(err, Exception) and not isinstance(err, ConnectionError | TimeoutError):
            self.faults.append(err)


class Handler(BaseHTTPRequestHandler):
    """Reads a request of bounded size and writes the answer."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "myvlm", ""
    timeout = 60.0
    wbufsize = 64 * 1024  # head and body of an answer leave together
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer a request that reads."""
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self._write(Answer(413, b"A request that reads has no body."), closes=True)
        else:
            self._respond(b"")

    def do_POST(self) -> None:
        """Answer an action, when those before it are answered."""
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not re.fullmatch(r"\d{1,9}", length, re.ASCII):
            self._write(Answer(411, b"The length of the request is not known."), closes=True)
        elif int(length) > LARGEST_REQUEST:
            self._write(Answer(413, b"The request is too large."), closes=True)
        else:
            body = self.rfile.read(int(length))
            with cast(HttpServer, self.server).acting:
                self._respond(body)

    def _respond(self, body: bytes) -> None:
        answer = cast(HttpServer, self.server).answer(
            self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body
        )
        self._write(answer, closes=answer.status >= 400)
        if answer.then:
            answer.then()

    def _write(self, answer: Answer, *, closes: bool) -> None:
        self.send_response(answer.status)
        for name, value in (*_HEADERS.items(), *answer.headers):
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Type", answer.type)
            self.send_header("Content-Length", str(len(answer.body)))
        if closes:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the terminal is the command's."""
