"""Serve the review page: what the user decides on it is stored at once, as by `myvlm confirm` and `myvlm reject`."""

import threading
from collections.abc import Mapping

from engine.concepts.decision_log import Choice, DecisionLog
from engine.core.errors import UsageError
from engine.pages.review_cards import PictureSizes, make_groups
from engine.pages.review_page import render_groups
from engine.pages.thumbnails import Made, Thumbnails

_MALFORMED = "the page sent something that is no decision"


class ReviewDesk:
    """The review page of a server (`server.Page`). Several tabs may show it: the state is here, not in the browser.

    log: what was decided.
    """

    def __init__(self, log: DecisionLog, *, more: int = 0, next_command: str, again: str) -> None:
        """Prepare the page.

        log: of suggestions that are `in_page_order`. more: how many others are not on the page. next_command, again:
        what the user may type after the review, and to go on with it.
        """
        self._groups, pictures = make_groups(log.suggestions, PictureSizes())
        self._thumbnails = Thumbnails(pictures)
        self.log = log
        self._more, self._commands = more, {"next": next_command, "again": again}
        self._version = 0
        self._lock = threading.Lock()

    def html(self, token: str) -> str:
        """Return the page, with what was decided so far."""
        data = {"token": token, "state": self.state(), **self._commands}
        return render_groups(self._groups, data, more=self._more, sources=self._addresses, notes={}, served=True)

    def picture(self, number: int) -> Made:
        """Return a picture; raises IndexError if there is none with this number."""
        return self._thumbnails.get(number)

    def state(self) -> dict[str, object]:
        """Return the choices, and whether there is a step to take back."""
        with self._lock:
            return self._state()

    def act(self, request: Mapping[str, object]) -> dict[str, object]:
        """Carry out {"do": "choose", "items": [0, 3], "choice": "confirm"} or {"do": "undo"}.

        The answer is the new state with `failed`, by number why a decision could not be stored, and after `undo` with
        `changed`, the numbers that it changed.

        Raises:
            UsageError: the request is none of these.
            EngineError: the store cannot be used.
        """
        with self._lock:
            self._version += 1
            if request.get("do") == "choose":
                failed = self.log.choose(self._items(request.get("items")), _choice(request.get("choice")))
                return {**self._state(), "failed": failed}
            if request.get("do") == "undo":
                changed, failed = self.log.undo() if self.log.can_undo else ((), {})
                return {**self._state(), "changed": changed, "failed": failed}
            raise UsageError(_MALFORMED)

    def close(self) -> None:
        """Make no more pictures."""
        self._thumbnails.close()

    @property
    def _addresses(self) -> dict[int, str]:
        return {n: f"picture/{n}" for n in range(len(self._thumbnails))}

    def _state(self) -> dict[str, object]:
        return {"version": self._version, "choices": list(self.log.choices), "can_undo": self.log.can_undo}

    def _items(self, items: object) -> list[int]:
        """Return numbers of suggestions as the page sent them.

        Raises:
            UsageError: they are none.
        """
        if not isinstance(items, list) or not items:
            raise UsageError(_MALFORMED)
        numbers = [n for n in items if type(n) is int and 0 <= n < len(self.log.suggestions)]
        if len(numbers) != len(items):
            raise UsageError(_MALFORMED)
        return numbers


def _choice(value: object) -> Choice:
    if isinstance(value, str) and value in tuple(Choice):
        return Choice(value)
    raise UsageError(_MALFORMED)
