"""A real HTTP server that speaks OpenAI's chat API, and Ollama's beside it; written for the tests.

It answers from the picture that it receives, so that a wrong, missing or oversized picture shows in the text: "A 640 x
480 red picture. Asked: …".
"""

import base64
import io
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 220), "grey": (128, 128, 128)}
MODEL = "eyes:4b"


@dataclass(frozen=True)
class Received:
    """A request as it came in. running: how many chat requests were under way, this one included."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict
    running: int = 0

    @property
    def image(self) -> Image.Image:
        (url,) = [p["image_url"]["url"] for p in self.body["messages"][0]["content"] if p["type"] == "image_url"]
        head, _, data = url.partition(",")
        assert head == "data:image/jpeg;base64"
        return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))

    @property
    def text(self) -> str:
        (text,) = [p["text"] for p in self.body["messages"][0]["content"] if p["type"] == "text"]
        return text


@dataclass(frozen=True)
class Answer:
    """What the server sends. close: break the connection instead. seconds: how long it takes before."""

    document: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    close: bool = False


def describe(request: Received) -> str:
    image = request.image
    mean = np.asarray(image.convert("RGB"), np.float32).mean(axis=(0, 1))
    colour = min(COLOURS, key=lambda name: float(np.abs(mean - COLOURS[name]).sum()))
    return f"A {image.width} x {image.height} {colour} picture. Asked: {request.text}"


def completion(text: object, reason: str = "stop", **message) -> dict:
    choice = {"index": 0, "message": {"role": "assistant", "content": text} | message, "finish_reason": reason}
    return {"id": "1", "object": "chat.completion", "choices": [choice]}


def error(status: int, text: str, **headers: str) -> Answer:
    return Answer({"error": {"message": text}}, status, {k.replace("_", "-"): v for k, v in headers.items()})


class ApiServer:
    """Serves in threads of its own between `with` and its end.

    chat: answers a chat request. faults: answers that come before, one a request. shows: `/api/show` of Ollama by model
    name; None for a server that is not Ollama. listed: the document of `/models`.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.received: list[Received] = []
        self.faults: deque[Answer] = deque()
        self.chat: Callable[[Received], Answer] = lambda request: Answer(completion(describe(request)))
        self.shows: dict[str, Answer] | None = None
        self.listed = Answer({"object": "list", "data": [{"id": MODEL}, {"id": "words:1b"}]})
        self._running, self._lock = 0, threading.Lock()
        self._ended = threading.Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        server_class = type("Server", (ThreadingHTTPServer,), {"address_family": family, "daemon_threads": True})
        self._server = server_class((host, 0), self._handler())
        self.port = self._server.server_address[1]
        self.base = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/v1"

    @property
    def vlm(self) -> str:
        return f"openai:{self.base}#{MODEL}"

    @property
    def chats(self) -> list[Received]:
        return [r for r in self.received if r.path.endswith("/chat/completions")]

    def __enter__(self) -> "ApiServer":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Received) -> Answer:
        if request.path == "/v1/models":
            return self.listed
        if self.shows is not None and request.path == "/api/version":
            return Answer({"version": "0.30.0"})
        if self.shows is not None and request.path == "/api/show":
            return self.shows.get(request.body["model"], error(404, "model not found"))
        if request.path == "/v1/chat/completions":
            return self.faults.popleft() if self.faults else self.chat(request)
        return error(404, "not found")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._handle({})

            def do_POST(self) -> None:
                self._handle(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _handle(self, body: dict) -> None:
                with server._lock:
                    server._running += 1
                    headers = {k.lower(): v for k, v in self.headers.items()}
                    request = Received(self.command, self.path, headers, body, server._running)
                    server.received.append(request)
                try:
                    answer = server.answer(request)
                    if answer.seconds:
                        server._ended.wait(answer.seconds)
                finally:
                    with server._lock:
                        server._running -= 1
                with suppress(OSError):  # the client may have given up
                    self._send(answer)

            def _send(self, answer: Answer) -> None:
                self.close_connection = True
                if answer.close:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                is_text = isinstance(answer.document, str)
                data = answer.document.encode() if is_text else json.dumps(answer.document).encode()
                self.send_response(answer.status)
                for name, value in ({"Content-Length": str(len(data))} | answer.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_) -> None:
                pass

        return Handler


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(happened: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
