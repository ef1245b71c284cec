"""Read `openai:URL#MODEL`: which server a VLM runs in, and under what name."""

import os
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from engine.core.errors import UsageError

PREFIX = "openai:"
"""How the name of a VLM begins that runs in a server."""
API_KEY = "MYVLM_API_KEY"
"""Environment variable with the key for a server that asks for one; it is never printed or stored."""
_OLLAMA_HOST = "OLLAMA_HOST"
"""Environment variable that tells Ollama's own client where the server is."""
_OLLAMA_PORT = 11434
_EVERY_ADDRESS = ("", "0.0.0.0", "::")
"""Hosts that mean "all addresses of this machine" to a server; a client cannot connect to them."""
_EXAMPLE = "Example: --vlm openai:http://127.0.0.1:11434/v1#qwen3-vl:4b; myvlm doctor lists the models of a server."


@dataclass(frozen=True)
class ServerAddress:
    """Where a VLM is served, and under what name.

    base: the URL before `/chat/completions`, without a slash at its end.
    model: the name that the server has for the model.
    allow_remote: whether photos may leave this machine.
    parallel: how many requests are under way at a time; servers answer more of them one after another.
    """

    base: str
    model: str
    allow_remote: bool = False
    parallel: int = 2

    @property
    def id(self) -> str:
        """The VLM's name, `openai:URL#MODEL`."""
        return f"{PREFIX}{self.base}#{self.model}"

    @property
    def host(self) -> str:
        """The name or address of the machine."""
        return urlsplit(self.base).hostname or ""

    @property
    def port(self) -> int:
        """The TCP port."""
        parts = urlsplit(self.base)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def is_encrypted(self) -> bool:
        """Whether the server is reached by TLS."""
        return self.base.startswith("https:")

    @property
    def path(self) -> str:
        """The path of the URL, such as `/v1`."""
        return urlsplit(self.base).path

    @property
    def root(self) -> str:
        """The path under which Ollama has its own API."""
        return self.path.removesuffix("/v1")


def parse_address(vlm: str) -> ServerAddress:
    """Read `openai:URL#MODEL`. Without a URL, Ollama's own address is used; a URL without a path gets `/v1`.

    Raises:
        UsageError: the model or the URL is missing or malformed, or the URL holds a password.
    """
    url, _, model = vlm.removeprefix(PREFIX).partition("#")
    if not model.strip() or not model.isprintable():
        raise UsageError(f"{vlm!r} names no model", hint=f"Write openai:URL#MODEL. {_EXAMPLE}")
    try:
        parts = urlsplit(url or ollama_base())
        _check_parts(parts)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as err:
        raise UsageError(f"{url!r} is no address of a server: {err}", hint=_EXAMPLE) from err
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return ServerAddress(f"{parts.scheme}://{host}{port}{parts.path.rstrip('/') or '/v1'}", model.strip())


def _check_parts(parts: SplitResult) -> None:
    """Check the parts of a URL.

    Raises:
        ValueError: it is no plain HTTP address.
        UsageError: it holds a password.
    """
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "a server's address must not hold a user or a password, because it is written to sidecars",
            hint=f"Put the key into the environment variable {API_KEY}.",
        )
    if parts.scheme not in ("http", "https"):
        raise ValueError("it must begin with http:// or https://")
    if not parts.hostname:
        raise ValueError("it has no host")
    if parts.query:
        raise ValueError("it must not hold a query")
    if not parts.path.isascii() or not parts.path.isprintable() or " " in parts.path:
        raise ValueError("its path holds characters that must be escaped")


def ollama_base() -> str:
    """Return the address of Ollama's API on this machine, from `OLLAMA_HOST` where Ollama's own client has it from."""
    text = os.environ.get(_OLLAMA_HOST, "").strip()
    parts = urlsplit(text if "://" in text else f"http://{text}")
    host = "127.0.0.1" if (parts.hostname or "") in _EVERY_ADDRESS else parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = parts.port or (_OLLAMA_PORT if "://" not in text else 443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{host}:{port}/v1"
