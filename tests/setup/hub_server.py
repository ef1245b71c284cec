"""A hub on 127.0.0.1: as much of its API as huggingface_hub needs to read about repositories and to fetch files."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".bin", ".zip")


@dataclass
class Hub:
    """What the server offers, and what was asked of it.

    repos: files by name, of each repository id. cards: the card's data. breaks: how many bytes of a file are sent
    before the connection breaks, once. wrong_sums: files whose listed checksum is another one. requests: method and
    path of each request.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    cards: dict[str, dict[str, str]] = field(default_factory=dict)
    breaks: dict[str, int] = field(default_factory=dict)
    wrong_sums: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)  # outside of repositories, by path
    url: str = ""

    def fetched(self) -> list[str]:
        """The names of the files that were fetched, in order."""
        return [r.rpartition("/")[2] for r in self.requests if r.startswith("GET") and "/resolve/" in r]

    def sha256(self, name: str, data: bytes) -> str:
        return hashlib.sha256(data + b"!" * (name in self.wrong_sums)).hexdigest()

    def listed(self, name: str, data: bytes) -> dict:
        size = self.sizes.get(name, len(data))
        facts = {"size": size, "blobId": hashlib.sha1(data).hexdigest(), "oid": hashlib.sha1(data).hexdigest()}
        if name.endswith(LARGE):
            sum_ = self.sha256(name, data)
            facts["lfs"] = {"sha256": sum_, "oid": sum_, "size": size, "pointerSize": 134}
        return facts


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(send_body=False)

    def do_GET(self) -> None:
        self.answer(send_body=True)

    def answer(self, *, send_body: bool) -> None:
        path = unquote(urlparse(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if path in self.hub.files:
            self.send(self.hub.files[path], {}, send_body=send_body)
        elif parts[:2] == ["api", "models"] and "/".join(parts[2:4]) in self.hub.repos:
            self.send_json(self.describe("/".join(parts[2:4]), parts[4:]))
        elif len(parts) > 4 and parts[2] == "resolve" and parts[4] in self.hub.repos.get("/".join(parts[:2]), {}):
            self.send_file("/".join(parts[:2]), parts[4], send_body=send_body)
        else:
            self.send(b"{}", {"X-Error-Code": "RepoNotFound"}, status=404, send_body=send_body)

    def describe(self, repo: str, rest: list[str]):
        files = self.hub.repos[repo].items()
        if rest[:1] == ["tree"]:
            return [{"type": "file", "path": n, **self.hub.listed(n, d)} for n, d in files]
        siblings = [{"rfilename": n, **self.hub.listed(n, d)} for n, d in files]
        return {"id": repo, "sha": COMMIT, "siblings": siblings, "cardData": self.hub.cards.get(repo), "tags": []}

    def send_file(self, repo: str, name: str, *, send_body: bool) -> None:
        data = self.hub.repos[repo][name]
        etag = self.hub.sha256(name, data) if name.endswith(LARGE) else hashlib.sha1(data).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(data))}
        start = 0
        if asked := self.headers.get("Range"):
            self.hub.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        broken_at = self.hub.breaks.pop(name, None) if send_body else None
        self.send(data[start:], headers, status=206 if asked else 200, send_body=send_body, broken_at=broken_at)

    def send_json(self, value) -> None:
        self.send(json.dumps(value).encode(), {"Content-Type": "application/json"}, send_body=True)

    def send(self, body: bytes, headers, *, send_body: bool, status: int = 200, broken_at: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if send_body:
            self.wfile.write(body if broken_at is None else body[:broken_at])
        if broken_at is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)


@contextmanager
def run_hub() -> Iterator[Hub]:
    """Run a hub while the context is open."""
    hub = Hub()
    handler = type("HubHandler", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()
