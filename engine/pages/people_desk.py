"""Serve the people page: what the user names or ignores on it is stored at once, as by `myvlm people`."""

import threading
from collections.abc import Mapping, Sequence

from engine.core.colours import colour_number
from engine.core.errors import DoubtfulError, UsageError
from engine.core.types import Kind
from engine.pages.people_cards import make_cards
from engine.pages.render import render_page
from engine.pages.thumbnails import Made, Thumbnails
from engine.unnamed.group_log import GroupLog, GroupState

MARK = "myvlm people"
_MALFORMED = "the page sent something that is no action"


class PeopleDesk:
    """The people page of a server (`server.Page`). Several tabs may show it: the state is here, not in the browser.

    log: what was done.
    """

    def __init__(self, log: GroupLog, kind: Kind, *, more: int = 0, next_command: str, again: str) -> None:
        """Prepare the page.

        more: how many groups are not on it. next_command, again: what the user may type afterwards, and to go on.
        """
        self._cards, pictures = make_cards(log.groups, kind)
        self._thumbnails = Thumbnails(pictures)
        self.log = log
        self._kind, self._more = kind, more
        self._commands = {"next": next_command, "again": again}
        self._version = 0
        self._lock = threading.Lock()

    def html(self, token: str) -> str:
        """Return the page, with what was done so far."""
        members = [[[m.crop, m.whole, m.label, m.place] for m in card.members] for card in self._cards]
        return render_page(
            "people.html.j2",
            mark=MARK,
            scripts=("page.js", "people.js"),
            styles=("review.css", "people.css"),
            data={"token": token, "state": self.state(), "members": members, **self._commands},
            images="'self' data:",
            connect=True,
            cards=self._cards,
            more=self._more,
            pets=self._kind is Kind.PET,
        )

    def picture(self, number: int) -> Made:
        """Return a picture; raises IndexError if there is none with this number."""
        return self._thumbnails.get(number)

    def state(self) -> dict[str, object]:
        """Return what was done with each group, the known names, and whether there is a step to take back."""
        with self._lock:
            return self._state()

    def act(self, request: Mapping[str, object]) -> dict[str, object]:
        """Carry out {"do": "name", "group": 0, "name": "Anna"}, {"do": "ignore", "groups": [1]} or {"do": "undo"}.

        With "group", `undo` takes back what was done with that one. The answer is the new state; after `undo` with
        `changed`, the groups that are open again. A name that a group does not look like is stored only with "anyway":
        true; without it, the answer has `doubt`, why.

        Raises:
            UsageError: the request is none of these.
            EngineError: it cannot be done.
        """
        with self._lock:
            self._version += 1
            if request.get("do") == "name":
                return self._name(request)
            if request.get("do") == "ignore":
                self.log.ignore(self._numbers(request.get("groups")))
                return self._state()
            if request.get("do") == "undo":
                group = request.get("group")
                changed = self.log.undo(None if group is None else self._number(group)) if self.log.can_undo else ()
                return {**self._state(), "changed": list(changed)}
            raise UsageError(_MALFORMED)

    def _name(self, request: Mapping[str, object]) -> dict[str, object]:
        number, name = self._number(request.get("group")), _name(request.get("name"))
        try:
            self.log.name(number, name, anyway=request.get("anyway") is True)
        except DoubtfulError as err:
            return {**self._state(), "doubt": f"Nothing is stored: {err}."}
        return self._state()

    def close(self) -> None:
        """Make no more pictures."""
        self._thumbnails.close()

    def _state(self) -> dict[str, object]:
        groups = [_describe(s) for s in self.log.states]
        return {"version": self._version, "groups": groups, "names": self.log.names, "can_undo": self.log.can_undo}

    def _numbers(self, numbers: object) -> Sequence[int]:
        if not isinstance(numbers, list) or not numbers:
            raise UsageError(_MALFORMED)
        return [self._number(n) for n in numbers]

    def _number(self, number: object) -> int:
        """Return the number of a group as the page sent it.

        Raises:
            UsageError: it is none.
        """
        if type(number) is int and 0 <= number < len(self.log.groups):
            return number
        raise UsageError(_MALFORMED)


def _name(name: object) -> str:
    if isinstance(name, str) and name.strip():
        return name.strip()
    raise UsageError("a name is needed", hint="Type one.")


def _describe(state: GroupState) -> dict[str, object]:
    colour = colour_number(state.name) if state.name else None
    told = f"{state.photos} photo{'' if state.photos == 1 else 's'} learned" if state.name else ""
    return {"name": state.name, "ignored": state.ignored, "colour": colour, "told": told, "notes": list(state.notes)}
