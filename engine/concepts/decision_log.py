"""Decide about the suggestions of a review, one or several at a time, and take the latest steps back."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from engine.concepts.concept_warnings import ConceptWarning
from engine.concepts.decide import DecisionRequest, DecisionResult
from engine.concepts.review import Suggestion
from engine.core.boxes import Box
from engine.core.errors import UsageError
from engine.core.types import Decision, Verdict
from engine.store.decisions import Decisions


class Choice(StrEnum):
    """What the user chose for a suggestion. Skipped ones stay undecided; they are suggested again the next time."""

    OPEN = ""
    CONFIRM = "confirm"
    REJECT = "reject"
    SKIP = "skip"


CarryOut = Callable[[Iterable[DecisionRequest]], list[DecisionResult]]
_VERDICTS = {Choice.CONFIRM: Verdict.CONFIRM, Choice.REJECT: Verdict.REJECT}


@dataclass(frozen=True)
class _Change:
    """One suggestion's change in a step. before: its choice; stored, replaced: the decision put into the store by this
    change, None if it removed one, and the decision that was there before.
    """

    number: int
    before: Choice
    stored: Decision | None
    replaced: Decision | None


class DecisionLog:
    """The choices for the suggestions of a review; decisions are in the store as soon as they are made.

    choices: of the suggestions, by number. notes: why a head could not learn from a decision.
    """

    def __init__(self, suggestions: Sequence[Suggestion], decisions: Decisions, carry_out: CarryOut) -> None:
        """Begin a log; decisions: what the store holds; carry_out: `decide` with a session of that store."""
        self.suggestions = tuple(suggestions)
        self.choices = [Choice.OPEN] * len(self.suggestions)
        self.notes: list[ConceptWarning] = []
        self._decisions, self._decide = decisions, carry_out
        self._steps: list[tuple[_Change, ...]] = []
        self._made: dict[int, Decision] = {}

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._steps)

    def count(self, choice: Choice) -> int:
        """Return how many suggestions have a choice."""
        return self.choices.count(choice)

    def choose(self, numbers: Sequence[int], choice: Choice) -> dict[int, str]:
        """Make the same choice for some suggestions, as one step; return by number why it could not be stored."""
        numbers = [n for n in dict.fromkeys(numbers) if self.choices[n] is not choice]
        stored_before = {n: self._stored(n) for n in numbers}
        requests = {n: r for n in numbers if (r := self._request(n, choice)) is not None}
        removed = [n for n, r in requests.items() if r.undo]
        failed = {n: _ELSEWHERE for n in removed if not _same(stored_before[n], self._made.get(n))}
        results = self._carry_out({n: r for n, r in requests.items() if n not in failed})
        failed |= {n: str(r.error) for n, r in results.items() if r.error}
        changes = []
        for n in (n for n in numbers if n not in failed):
            result = results.get(n)
            stored = result.decision if result and _VERDICTS.get(choice) else None
            changes.append(_Change(n, self.choices[n], stored, stored_before[n] if result else None))
            self.choices[n] = choice
        if changes:
            self._steps.append(tuple(changes))
        return failed

    def undo(self) -> tuple[tuple[int, ...], dict[int, str]]:
        """Take the latest step back, in the store as well; return the numbers it changed, and why others could not be.

        A decision that was made elsewhere in the meantime stays.

        Raises:
            UsageError: there is no step.
        """
        if not self._steps:
            raise UsageError("there is nothing to undo", hint="Decide about something first.")
        step = self._steps.pop()
        failed = {c.number: _ELSEWHERE for c in step if self._changed_elsewhere(c)}
        requests = {c.number: self._restoring(c) for c in step if c.number not in failed}
        results = self._carry_out({n: r for n, r in requests.items() if r is not None})
        failed |= {n: str(r.error) for n, r in results.items() if r.error}
        for change in step:
            if change.number not in failed:
                self.choices[change.number] = change.before
        return tuple(c.number for c in step if c.number not in failed), failed

    def _stored(self, number: int) -> Decision | None:
        suggestion = self.suggestions[number]
        return self._decisions.find(suggestion.match.concept_id, suggestion.content_hash)

    def _request(self, number: int, choice: Choice) -> DecisionRequest | None:
        """Return the request that stores a choice; None if nothing has to be stored or removed."""
        verdict = _VERDICTS.get(choice)
        if verdict is not None:
            return self._about(number, verdict, Box(*map(float, self.suggestions[number].match.box.rounded())))
        decided = _VERDICTS.get(self.choices[number])
        return None if decided is None else self._about(number, decided, None, undo=True)

    def _about(self, number: int, verdict: Verdict, box: Box | None, *, undo: bool = False) -> DecisionRequest:
        suggestion = self.suggestions[number]
        return DecisionRequest(
            suggestion.path, suggestion.match.name, verdict, box, undo, content_hash=suggestion.content_hash
        )

    def _restoring(self, change: _Change) -> DecisionRequest | None:
        """Return the request that restores the store as it was before a change; None if it did not change the store."""
        if change.replaced is not None:
            return self._about(change.number, change.replaced.verdict, change.replaced.box)
        if change.stored is not None:
            return self._about(change.number, change.stored.verdict, None, undo=True)
        return None

    def _changed_elsewhere(self, change: _Change) -> bool:
        touched = change.stored is not None or change.replaced is not None
        return touched and not _same(self._stored(change.number), change.stored)

    def _carry_out(self, requests: dict[int, DecisionRequest]) -> dict[int, DecisionResult]:
        if not requests:
            return {}
        results = dict(zip(requests, self._decide(requests.values()), strict=True))
        for number, result in results.items():
            if result.error is None and result.decision is not None:
                if requests[number].undo:
                    self._made.pop(number, None)
                else:
                    self._made[number] = result.decision
        self.notes += [note for r in results.values() for note in r.notes]
        return results


def _same(a: Decision | None, b: Decision | None) -> bool:
    """Return whether two decisions say the same; one that an undo brings back is newer than it was."""
    return a == b or (a is not None and b is not None and replace(a, decided=b.decided) == b)


_ELSEWHERE = "it was decided elsewhere in the meantime, and that decision stays"
