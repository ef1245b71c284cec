"""Serve one page to the browser of this machine, with its pictures and actions, until the user is done with it.

See `access` for who may use it. A request that only reads (GET) never changes anything.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

from engine.core.errors import EngineError, UsageError
from engine.pages.access import Access
from engine.pages.http import Answer, Handler, HttpServer
from engine.pages.thumbnails import Made

IDLE_SECONDS, CLOSED_SECONDS = 1800.0, 90.0
"""The server ends that long after the last action, or after the tab was closed. A hidden tab asks once a minute."""
_LOOK = 0.1
"""Seconds between two looks at whether the server shall end."""
_NUMBER = re.compile(r"picture/(\d{1,9})", re.ASCII)


class Page(Protocol):
    """A page that can be served. Its methods are called by several threads at a time."""

    def html(self, token: str) -> str:
        """Return the page; its script sends the token with each action."""

    def picture(self, number: int) -> Made:
        """Return a picture; raises IndexError if there is none with this number."""

    def state(self) -> dict[str, object]:
        """Return what can change, with a `version` that rises with each change."""

    def act(self, request: Mapping[str, object]) -> dict[str, object]:
        """Carry out what the user did, and return the new state.

        Raises:
            EngineError: it cannot be done; the page shows the message.
        """


class Ending(StrEnum):
    """Why a server ended."""

    DONE = "done"  # the user said so on the page
    CLOSED = "closed"  # the last tab was closed
    IDLE = "idle"
    INTERRUPTED = "interrupted"


class PageServer:
    """The server of one page, on a free port of 127.0.0.1.

    faults: unexpected errors, of which the page told the user no more than their text.
    """

    def __init__(
        self, page: Page, *, idle_seconds: float = IDLE_SECONDS, closed_seconds: float = CLOSED_SECONDS
    ) -> None:
        self._page, self._idle, self._closed = page, idle_seconds, closed_seconds
        self._http = HttpServer(("127.0.0.1", 0), Handler)
        self._http.answer = self._answer
        self.access = Access(self._http.server_address[1])
        self._end = threading.Event()
        self._ending = Ending.INTERRUPTED
        self._ends_at, self._why = time.monotonic() + idle_seconds, Ending.IDLE
        self.faults = self._http.faults

    @property
    def port(self) -> int:
        """The port."""
        return self.access.port

    @property
    def address(self) -> str:
        """The address for the user, who may open it more than once."""
        return f"http://127.0.0.1:{self.port}/?key={self.access.key}"

    @property
    def launch_address(self) -> str:
        """The address to open a browser with, which works once."""
        return f"http://127.0.0.1:{self.port}/?key={self.access.launch}"

    def serve(self, begun: Callable[[], None] = lambda: None) -> Ending:
        """Serve the page until the user is done with it, and return why it ended. begun: called when it is there.

        An action that has begun is finished before; none begins afterwards.
        """
        thread = threading.Thread(target=self._http.serve_forever, args=(_LOOK,), daemon=True)
        thread.start()
        try:
            begun()
            while not self._end.wait(_LOOK):
                if time.monotonic() > self._ends_at:
                    self.stop(self._why)
        finally:
            self._end.set()
            self._http.shutdown()
            self._http.server_close()
            thread.join()
            with self._http.acting:
                pass
        return self._ending

    def stop(self, ending: Ending = Ending.INTERRUPTED) -> None:
        """End the server; may be called from any thread and from a signal handler."""
        if not self._end.is_set():
            self._ending = ending
            self._end.set()

    def drop_launch_address(self) -> None:
        """Make the address for the browser worthless: no browser was started."""
        self.access.launch = ""

    def _stay(self) -> None:
        self._ends_at, self._why = time.monotonic() + self._idle, Ending.IDLE

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer a request; target: path and query as sent, which are compared and never decoded."""
        if self._end.is_set():  # a connection that is still open
            return Answer(410, b"This page has ended.")
        if refusal := self.access.refusal(headers):
            return _refused(refusal)
        path, _, query = target.partition("?")
        if method == "GET" and path == "/":
            return self._enter(query)
        place, _, rest = path.removeprefix("/").partition("/")
        if place != self.access.place or not self.access.has_cookie(headers):
            return _refused("This page needs the address that myvlm printed. Run the command again.")
        if method == "GET":
            return self._read(rest, query)
        if not self.access.may_act(headers):
            return _refused("Only the page itself may do this.")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return Answer(415, b"An action is JSON.")
        return self._act(rest, body)

    def _enter(self, query: str) -> Answer:
        if not self.access.admits(query.removeprefix("key=")):
            return _refused("The address was used before, or is not whole. myvlm printed one that works.")
        self._stay()
        return Answer(303, headers=(("Location", f"/{self.access.place}/"), ("Set-Cookie", self.access.set_cookie)))

    def _read(self, rest: str, query: str) -> Answer:
        if rest == "state":
            return self._state(query)
        self._stay()
        if rest == "":
            page = self._page.html(self.access.token).encode("utf-8", "backslashreplace")
            return Answer(
                200, page, "text/html; charset=utf-8", (("Content-Security-Policy", "frame-ancestors 'none'"),)
            )
        if match := _NUMBER.fullmatch(rest):
            try:
                made = self._page.picture(int(match[1]))
            except IndexError:
                return Answer(404, b"There is no such picture.")
            return Answer(200, made.data, "image/jpeg") if made.data else Answer(404, made.reason.encode())
        return Answer(404, b"There is nothing here.")

    def _state(self, query: str) -> Answer:
        if self._why is Ending.CLOSED:  # another tab is still open
            self._stay()
        state = self._page.state()
        return Answer(204) if query == f"since={state['version']}" else _as_json(200, state)

    def _act(self, rest: str, body: bytes) -> Answer:
        if rest == "done":
            return Answer(204, then=lambda: self.stop(Ending.DONE))
        if rest == "leave":
            self._ends_at, self._why = time.monotonic() + self._closed, Ending.CLOSED
            return Answer(204)
        if rest != "act":
            return Answer(404, b"There is nothing here.")
        self._stay()
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            return _as_json(400, {"error": "The action is no JSON object."})
        acts = request.get("acts")  # several, which waited for one another
        if acts is None:
            return _as_json(*self._carry_out(request))
        if not isinstance(acts, list) or not all(isinstance(a, dict) for a in acts):
            return _as_json(400, {"error": "The actions are no JSON objects."})
        return _as_json(200, {"answers": [self._carry_out(a)[1] for a in acts]})

    def _carry_out(self, request: Mapping[str, object]) -> tuple[int, dict[str, object]]:
        """Carry out an action; return the status and the answer."""
        try:
            return 200, self._page.act(request)
        except UsageError as err:
            return 400, {"error": str(err)}
        except EngineError as err:
            return 500, {"error": f"{err}. {err.hint}".strip()}
        except Exception as err:  # noqa: BLE001  # the page tells it, and goes on
            self.faults.append(err)
            return 500, {"error": f"This failed unexpectedly: {err or type(err).__name__}"}


def _refused(reason: str) -> Answer:
    return Answer(403, reason.encode())


def _as_json(status: int, value: Mapping[str, object]) -> Answer:
    return Answer(status, json.dumps(value).encode(), "application/json")
