"""Decide about the suggestions of a review, one or several at a time, and take the latest steps back."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from engine.concepts.concept_warnings import ConceptWarning
from engine.concepts.decide import DecisionRequest, DecisionResult
from engine.concepts.review import Suggestion
from engine.core.boxes import Box
from engine.core.errors import ConceptError, EngineError, UsageError
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
    """One suggestion's change in a step.

    choice: before it. held, holds: the decision that was in the store before, and the one that is there after it; None
    for none.
    """

    number: int
    choice: Choice
    held: Decision | None
    holds: Decision | None


class DecisionLog:
    """The choices for the suggestions of a review; decisions are in the store as soon as they are made.

    choices: of the suggestions, by number; they say what is in the store even after an error. notes: why a head could
    not learn from a decision.
    """

    def __init__(self, suggestions: Sequence[Suggestion], decisions: Decisions, carry_out: CarryOut) -> None:
        """Begin a log; decisions: what the store holds; carry_out: `decide` with a session of that store."""
        self.suggestions = tuple(suggestions)
        self.choices = [Choice.OPEN] * len(self.suggestions)
        self.notes: list[ConceptWarning] = []
        self._decisions, self._decide = decisions, carry_out
        self._steps: list[tuple[_Change, ...]] = []
        self._made: dict[int, Decision] = {}  # those of this log that are in the store
        self._earlier: dict[int, Decision | None] = {}  # what was in the store before them

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._steps)

    def count(self, choice: Choice) -> int:
        """Return how many suggestions have a choice."""
        return self.choices.count(choice)

    def choose(self, numbers: Sequence[int], choice: Choice) -> dict[int, str]:
        """Make the same choice for some suggestions, as one step; return by number why it could not be stored.

        To choose nothing, or to skip, gives back the decision that the store held before this log's first one.
        """
        numbers = [n for n in dict.fromkeys(numbers) if self.choices[n] is not choice]
        decides = choice in _VERDICTS
        touched = numbers if decides else [n for n in numbers if n in self._made]
        held = {n: self._stored(n) for n in touched}
        failed = {n: _ELSEWHERE for n in touched if not decides and held[n] != self._made[n]}
        requests = {n: self._request(n, choice, held[n]) for n in touched if n not in failed}
        results, fault = self._carry_out(requests, held)
        failed |= {n: str(r.error) for n, r in results.items() if r.error}
        changes = []
        for n in (n for n in numbers if n not in failed):
            changes.append(self._change(n, results.get(n), held.get(n)))
            self._set(n, choice, changes[-1].holds)
        if changes:
            self._steps.append(tuple(changes))
        if fault:
            raise fault
        return failed

    def undo(self) -> tuple[tuple[int, ...], dict[int, str]]:
        """Take the latest step back, in the store as well; return the numbers it changed, and why others could not be.

        A decision that was made elsewhere in the meantime stays. What the store failed to take back stays a step.

        Raises:
            UsageError: there is no step.
        """
        if not self._steps:
            raise UsageError("there is nothing to undo", hint="Decide about something first.")
        step = self._steps[-1]
        touched = [c for c in step if c.held != c.holds]
        held = {c.number: self._stored(c.number) for c in touched}
        failed = {c.number: _ELSEWHERE for c in touched if held[c.number] != c.holds}
        requests = {c.number: self._restoring(c.number, c.held, c.holds) for c in touched if c.number not in failed}
        results, fault = self._carry_out(requests, held)
        failed |= {n: str(r.error) for n, r in results.items() if r.error}
        for change in (c for c in step if c.number not in failed):
            self._set(change.number, change.choice, change.held)
        again = {n for n, r in results.items() if r.error and not isinstance(r.error, ConceptError | UsageError)}
        left = tuple(c for c in step if c.number in again)
        self._steps[-1:] = [left] if left else []
        if fault:
            raise fault
        return tuple(c.number for c in step if c.number not in failed), failed

    def _stored(self, number: int) -> Decision | None:
        suggestion = self.suggestions[number]
        return self._decisions.find(suggestion.match.concept_id, suggestion.content_hash)

    def _change(self, number: int, result: DecisionResult | None, held: Decision | None) -> _Change:
        """Return what a result, None for a choice that the store does not know, changes."""
        choice, made = self.choices[number], self._made.get(number)
        if result is None or result.request is None:
            return _Change(number, choice, None, None)
        if result.request.undo:
            return _Change(number, choice, held, result.request.restores)
        if made is None or made != result.replaced:  # not this log's: it comes back
            self._earlier[number] = result.replaced
        if made is not None and made != result.replaced:
            choice = Choice.OPEN
        return _Change(number, choice, result.replaced, result.decision)

    def _set(self, number: int, choice: Choice, holds: Decision | None) -> None:
        self.choices[number] = choice
        if choice in _VERDICTS and holds is not None:
            self._made[number] = holds
        else:
            self._made.pop(number, None)

    def _request(self, number: int, choice: Choice, held: Decision | None) -> DecisionRequest:
        """Return the request that stores a choice, or gives back what was there before."""
        verdict = _VERDICTS.get(choice)
        if verdict is None:
            return self._restoring(number, self._earlier.get(number), held)
        box = Box(*map(float, self.suggestions[number].match.box.rounded()))
        return replace(self._about(number, verdict), box=box)

    def _restoring(self, number: int, wanted: Decision | None, held: Decision | None) -> DecisionRequest:
        """Return the request that gives the store back a decision, or none."""
        known = held or wanted
        about = self._about(number, known.verdict if known else Verdict.CONFIRM)
        return replace(about, undo=True, restores=wanted)

    def _about(self, number: int, verdict: Verdict) -> DecisionRequest:
        s = self.suggestions[number]
        return DecisionRequest(
            s.path, s.match.name, verdict, content_hash=s.content_hash, concept_id=s.match.concept_id
        )

    def _carry_out(
        self, requests: dict[int, DecisionRequest], held: dict[int, Decision | None]
    ) -> tuple[dict[int, DecisionResult], Exception | None]:
        """Carry out requests; after an unexpected error, the results are what the store holds now."""
        if not requests:
            return {}, None
        try:
            results = dict(zip(requests, self._decide(list(requests.values())), strict=True))
        except Exception as fault:  # noqa: BLE001  # it is raised when the log says what is stored
            return {n: self._found(n, r, held[n], fault) for n, r in requests.items()}, fault
        self.notes += [note for r in results.values() for note in r.notes]
        return results, None

    def _found(self, number: int, request: DecisionRequest, held: Decision | None, fault: Exception) -> DecisionResult:
        holds = self._stored(number)
        if holds == held:
            return DecisionResult(request, error=EngineError(str(fault)))
        return DecisionResult(request, held if request.undo else holds, None if request.undo else held)


_ELSEWHERE = "it was decided elsewhere in the meantime, and that decision stays"
