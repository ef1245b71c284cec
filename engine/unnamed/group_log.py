"""Name and ignore groups one after the other, and take steps back: for a page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.core.errors import UsageError
from engine.unnamed.groups import Group
from engine.unnamed.name import Named
from engine.unnamed.undo import Undone


@dataclass(frozen=True)
class GroupActions:
    """What the log carries out, with a session behind it.

    name, ignore: of a group; a name may be given anyway, although the group does not look like it. undo: the last
    action about the group with an id. names: of the concepts of that kind.
    """

    name: Callable[[Group, str, bool], Named]
    ignore: Callable[[Group], None]
    undo: Callable[[str], Undone | None]
    names: Callable[[], Sequence[str]]


@dataclass(frozen=True)
class GroupState:
    """What was done with a group: nothing, or it got a name, or it is ignored.

    photos: how many photos were learned from it. notes: warnings, as sentences.
    """

    name: str = ""
    ignored: bool = False
    photos: int = 0
    notes: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether nothing was done with it."""
        return not self.name and not self.ignored


class GroupLog:
    """The groups of a page with what was done with each; everything is stored as soon as it is done.

    states: by the number of the group, from 0.
    """

    def __init__(self, groups: Sequence[Group], actions: GroupActions) -> None:
        self.groups = tuple(groups)
        self.states = [GroupState()] * len(self.groups)
        self._actions = actions
        self._steps: list[tuple[int, ...]] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._steps)

    @property
    def names(self) -> list[str]:
        """The names of the concepts that a group may be added to."""
        return sorted(self._actions.names(), key=str.casefold)

    def name(self, number: int, name: str, *, anyway: bool = False) -> None:
        """Give a group a name. anyway: although it does not look like those who have it.

        Raises:
            DoubtfulError: the group does not look like the concept that has this name; nothing is stored.
            EngineError: the name cannot be stored, is that of another kind of concept, or no photo can be used.
            UsageError: something was done with the group already.
        """
        self._check_open([number])
        named = self._actions.name(self.groups[number], name, anyway)
        enrolment = named.enrolment
        doubts = [f"{d[0].upper()}{d[1:]}: look at it, and undo if it is somebody else." for d in named.doubts]
        notes = (*doubts, *map(str, enrolment.warnings))
        self.states[number] = GroupState(enrolment.concept.name, photos=enrolment.added, notes=notes)
        self._steps.append((number,))

    def ignore(self, numbers: Sequence[int]) -> None:
        """Ignore groups, as one step.

        Raises:
            EngineError: nothing is known of one of them any more.
            UsageError: something was done with one of them already.
        """
        self._check_open(numbers)
        done = []
        try:
            for number in dict.fromkeys(numbers):
                self._actions.ignore(self.groups[number])
                self.states[number] = GroupState(ignored=True)
                done.append(number)
        finally:
            if done:
                self._steps.append(tuple(done))

    def undo(self, number: int | None = None) -> tuple[int, ...]:
        """Take back the latest step, or what was done with a group; return the groups that are open again.

        What was taken back elsewhere meanwhile is open with a note.

        Raises:
            UsageError: there is nothing to undo, or the concept would be deleted with what was done with it since.
            EngineError: a group cannot be undone; those before it are.
        """
        chosen = [s for s in self._steps if number is None or number in s]
        if not chosen:
            raise UsageError("there is nothing to undo", hint="Name or ignore a group first.")
        reopened = chosen[-1] if number is None else (number,)
        for n in reopened:  # one after the other, so that an error leaves the rest to be undone later
            undone = self._actions.undo(self.groups[n].id)
            was = self.states[n]
            self.states[n] = GroupState(notes=_taken_back(was) if undone is None or not undone.done else ())
            self._steps = [left for s in self._steps if (left := tuple(m for m in s if m != n))]
        return reopened

    def _check_open(self, numbers: Sequence[int]) -> None:
        done = [n for n in numbers if not self.states[n].is_open]
        if done:
            raise UsageError(f"group {done[0] + 1} is done already", hint="Undo that first.")


def _taken_back(was: GroupState) -> tuple[str, ...]:
    """Return what to tell of a group whose step could not be undone, because nothing was left of it."""
    if was.ignored:
        return ("It was not ignored any more.",)
    return (f"Nothing changed: none of its photos is in {was.name} any more.",) if was.photos else ()
