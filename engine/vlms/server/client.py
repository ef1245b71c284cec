"""Ask a server: requests with retries, and errors that say what to do."""

import json
import os
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any

from engine.core.errors import EngineError, EnvironmentFault, PhotoError
from engine.vlms.server.address import API_KEY, ServerAddress
from engine.vlms.server.connection import Connections, Reply, Unreachable

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try, where the server is busy or the connection broke; the same in every run."""
LONGEST_WAIT = 60.0
"""Seconds that are waited at most where the server says how long to wait (`Retry-After`)."""
ANSWER_SECONDS = 600.0
"""How long a caption may take. A VLM of 4 B parameters on a CPU takes minutes, and is loaded with the first photo."""
FACT_SECONDS = 10.0
"""How long a list of models may take."""
_BUSY = frozenset({429, 500, 502, 503, 504})
_BLIND = re.compile(
    r"(?:not|n't) support[^.]*\b(?:image|vision|multimodal)|\b(?:image|vision|multimodal)[^.]*(?:not|n't) support"
    r"|not a (?:multimodal|vision)|missing data required for image",
    re.IGNORECASE,
)
"""What servers say of a model without eyes: llama.cpp, LM Studio; vLLM; Ollama."""
_LONGEST_TEXT = 300
_START = {
    11434: "ollama serve",
    1234: "lms server start",
    8080: "llama-server -m MODEL.gguf --mmproj MMPROJ.gguf",
    8000: "vllm serve MODEL",
}
"""The command that starts the program whose usual port this is: Ollama, LM Studio, llama.cpp, vLLM."""


class _BrokenError(PhotoError):
    """The connection broke, so that there is no reply to one request."""


class Client:
    """Asks one server; threads may share it."""

    def __init__(self, server: ServerAddress) -> None:
        """Check the server's address; nothing is sent.

        Raises:
            UsageError: it is not on this machine, and photos may not leave it.
            EnvironmentFault: its name is unknown.
        """
        self.server = server
        self._connections = Connections(server)

    def fact(self, path: str, question: Mapping[str, object] | None = None) -> tuple[int, object]:
        """Ask for a fact about the server; returns the status and the JSON document, None where it is none.

        path: from the server's root. question: posted as JSON; None for a GET.

        Raises:
            EnvironmentFault: the server is not there, gives no usable reply, or wants a key.
        """
        body = None if question is None else json.dumps(question).encode()
        try:
            reply = self._send("POST" if body else "GET", path, body, FACT_SECONDS)
        except (TimeoutError, _BrokenError) as err:
            why = str(err) if isinstance(err, EngineError) else f"it is silent for {FACT_SECONDS:g} s"
            raise EnvironmentFault(
                f"the server at {self.server.base} gives no usable reply: {why}", hint=_OTHER
            ) from err
        return reply.status, _parse(reply.body)

    def chat(self, request: Mapping[str, object]) -> Mapping[str, Any]:
        """Ask for a completion; returns the JSON document.

        Raises:
            PhotoError: there is no usable answer to this request; others may succeed.
            EnvironmentFault: the server is not there any more, wants a key, or its model is no VLM.
        """
        body = json.dumps(request).encode()
        try:
            reply = self._send("POST", f"{self.server.path}/chat/completions", body, ANSWER_SECONDS)
        except TimeoutError as err:
            raise PhotoError(f"{self.server.model} gave no answer within {ANSWER_SECONDS:g} s") from err
        document = _parse(reply.body)
        if reply.status != 200:
            raise self._refused(reply.status, error_text(document))
        if not isinstance(document, dict):
            raise PhotoError(f"the reply of {self.server.model} is no JSON document")
        return document

    def stop(self) -> None:
        """Break off everything that is under way in other threads."""
        self._connections.stop()

    def _send(self, method: str, path: str, body: bytes | None, seconds: float) -> Reply:
        """Send a request, and again after a pause where the server is busy or the connection broke.

        Raises:
            TimeoutError: there was no reply in time; it is not tried again, because that would take as long.
            PhotoError: the connection broke at the last try, too.
            EnvironmentFault: the server is not there, or wants a key.
        """
        for wait in WAITS:
            try:
                reply = self._exchange(method, path, body, seconds)
            except _BrokenError:
                pause = wait
            else:
                if reply.status not in _BUSY or _BLIND.search(error_text(_parse(reply.body))):
                    return reply
                pause = max(wait, _retry_after(reply))
            if self._connections.stopped.wait(pause):
                break
        return self._exchange(method, path, body, seconds)

    def _exchange(self, method: str, path: str, body: bytes | None, seconds: float) -> Reply:
        base = self.server.base
        try:
            reply = self._connections.exchange(method, path, body, seconds)
        except Unreachable as err:
            raise EnvironmentFault(f"no server answers at {base} ({err})", hint=_how_to_start(self.server)) from err
        except TimeoutError:
            raise
        except (OSError, HTTPException) as err:
            raise _BrokenError(f"the connection to {base} broke: {str(err) or type(err).__name__}") from err
        if reply.status in (401, 403):
            raise EnvironmentFault(
                f"the server at {base} wants a key: {error_text(_parse(reply.body)) or reply.status}",
                hint=f"Put the key into the environment variable {API_KEY}.",
            )
        return reply

    def _refused(self, status: int, text: str) -> EngineError:
        """Return the error to raise for a reply that is no answer."""
        model, base = self.server.model, self.server.base
        said = f"{text or 'no reason given'} (HTTP {status})"
        if _BLIND.search(text):
            return EnvironmentFault(f"{model} at {base} cannot see pictures: {said}", hint=SEEING)
        if status == 404:
            return EnvironmentFault(f"the server at {base} does not serve {model}: {said}", hint=_OTHER)
        longer = "; give the server a longer context" if "context" in text.lower() else ""
        return PhotoError(f"{model} gave no answer: {said}{longer}")


_OTHER = "See the server's own log. `myvlm doctor` lists its models."
SEEING = "Choose a vision model. For llama.cpp, give the server the model's --mmproj file, too."
"""What to do where a model cannot see pictures."""


def _how_to_start(server: ServerAddress) -> str:
    command = _START.get(server.port)
    return f"Start it: {command}" if command else "Start the server, or correct the address in --vlm openai:URL#MODEL."


def _parse(body: bytes) -> object:
    """Return a JSON document; None where the bytes are none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def error_text(document: object) -> str:
    """Return in one line what a server says is wrong; "" where it says nothing. A key is never repeated."""
    found = document
    for name in ("error", "message", "detail"):
        found = found.get(name, found) if isinstance(found, dict) else found
    text = found if isinstance(found, str) else ""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    key = os.environ.get(API_KEY)
    return (text.replace(key, "…") if key else text)[:_LONGEST_TEXT]


def _retry_after(reply: Reply) -> float:
    """Return how many seconds a server asks to wait, at most `LONGEST_WAIT`; 0.0 where it does not."""
    text = reply.headers.get("retry-after", "").strip()
    try:
        seconds = float(text) if text[:1].isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT)
