"""The decisions of a review: stored as they are made, taken back in the store as well."""

import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from engine.concepts.decide import DecisionRequest, decide
from engine.concepts.decision_log import Choice, DecisionLog
from engine.concepts.review import find_suggestions
from engine.core.errors import EnvironmentFault, StoreError, UsageError
from engine.core.types import Verdict
from engine.store.decisions import Decisions
from tests.learned import draw_album
from tests.suggested import settle

CONFIRM, REJECT, SKIP, OPEN = Choice.CONFIRM, Choice.REJECT, Choice.SKIP, Choice.OPEN


@pytest.fixture
def album(session, tmp_path):
    draw_album(tmp_path / "album")
    settle(tmp_path / "album")
    return tmp_path / "album"


@pytest.fixture
def log(session, album):
    """Four suggestions; the choices are about the first ones."""
    photos = sorted(album.glob("*.jpg"))
    suggestions = find_suggestions(session, photos, None, album).suggestions
    return DecisionLog(suggestions, session.store.decisions, partial(decide, session))


def stored(session) -> set[tuple[str, str, str]]:
    """Every decision of the store: concept, photo, verdict."""
    names = {c.id: c.name for c in session.store.all()}
    return {(names[d.concept_id], d.path.name, str(d.verdict)) for d in session.store.decisions.all()}


def key(log, number, verdict) -> tuple[str, str, str]:
    s = log.suggestions[number]
    return s.match.name, s.path.name, verdict


def test_a_choice_is_a_decision_at_once(log, session):
    assert log.choose([0], CONFIRM) == {}
    assert log.choose([1, 2], REJECT) == {}
    assert log.choose([3], SKIP) == {}
    assert log.choices == [CONFIRM, REJECT, REJECT, SKIP]
    assert stored(session) == {key(log, 0, "confirm"), key(log, 1, "reject"), key(log, 2, "reject")}
    decision = session.store.decisions.find(log.suggestions[0].match.concept_id, log.suggestions[0].content_hash)
    assert decision.box.rounded() == log.suggestions[0].match.box.rounded()


@pytest.fixture
def clock(monkeypatch):
    """Each decision is made a second later than the one before."""
    seconds = itertools.count()

    class Clock:
        @staticmethod
        def now(zone):
            return datetime(2026, 1, 1, tzinfo=zone) + timedelta(seconds=next(seconds))

    monkeypatch.setattr("engine.concepts.decide.datetime", Clock)


@pytest.mark.usefixtures("clock")
def test_undo_takes_step_after_step_back(log, session):
    log.choose([0], CONFIRM)
    log.choose([0, 1], REJECT)
    log.choose([0], SKIP)
    assert stored(session) == {key(log, 1, "reject")}
    assert log.undo() == ((0,), {})
    assert stored(session) == {key(log, 0, "reject"), key(log, 1, "reject")}
    assert log.undo() == ((0, 1), {})
    assert stored(session) == {key(log, 0, "confirm")}
    assert log.choices[:2] == [CONFIRM, OPEN]
    assert log.undo() == ((0,), {})
    assert stored(session) == set()
    assert log.choices == [OPEN] * 4
    assert not log.can_undo
    with pytest.raises(UsageError):
        log.undo()


def test_the_same_choice_again_is_no_step(log):
    log.choose([0], CONFIRM)
    log.choose([0], CONFIRM)
    log.undo()
    assert not log.can_undo


def test_choosing_nothing_removes_the_decision(log, session):
    log.choose([0], CONFIRM)
    log.choose([0], OPEN)
    assert stored(session) == set()
    log.undo()
    assert stored(session) == {key(log, 0, "confirm")}


def decide_elsewhere(session, log, number, verdict, **options):
    s = log.suggestions[number]
    (result,) = decide(session, [DecisionRequest(s.path, s.match.name, verdict, **options)])
    assert result.error is None


def test_an_earlier_decision_comes_back(log, session):
    decide_elsewhere(session, log, 0, Verdict.REJECT)
    log.choose([0], CONFIRM)
    assert stored(session) == {key(log, 0, "confirm")}
    log.undo()
    assert stored(session) == {key(log, 0, "reject")}


@pytest.mark.parametrize("take_back", [lambda log: log.undo()[1], lambda log: log.choose([0], OPEN)])
def test_what_was_decided_elsewhere_stays(log, session, take_back):
    log.choose([0], CONFIRM)
    decide_elsewhere(session, log, 0, Verdict.REJECT)
    failed = take_back(log)
    assert "decided elsewhere" in failed[0]
    assert stored(session) == {key(log, 0, "reject")}


def test_a_photo_that_changed_is_not_decided_about(log, session, album):
    path = log.suggestions[0].path
    other = next(s.path for s in log.suggestions if s.path != path)
    path.write_bytes(Path(other).read_bytes())
    numbers = range(4)
    failed = log.choose(numbers, CONFIRM)
    changed = {n for n in numbers if log.suggestions[n].path == path}
    assert failed.keys() == changed
    assert all("has changed since" in reason for reason in failed.values())
    assert [c is OPEN for c in log.choices] == [n in changed for n in numbers]
    assert len(stored(session)) == 4 - len(changed)
    assert log.undo()[0] == tuple(n for n in numbers if n not in changed)


def test_a_decision_about_a_photo_that_is_gone_can_be_undone(log, session):
    log.choose([0], CONFIRM)
    log.suggestions[0].path.unlink()
    assert log.undo() == ((0,), {})
    assert stored(session) == set()
    assert "No such file" in log.choose([0], CONFIRM)[0]


def test_the_head_learns_and_forgets(log, session):
    concept = session.store.get(log.suggestions[0].match.name)

    def feedback():
        head = session.store.load_head(concept.id, session.recogniser_config.head_id(concept.kind))
        return len(head.feedback.confirmed), len(head.feedback.rejected)

    log.choose([0], CONFIRM)
    assert feedback() == (1, 0)
    log.undo()
    assert feedback() == (0, 0)


def failing(error):
    def fail(*_):
        raise error

    return fail


def test_a_head_that_cannot_be_trained_is_a_note(log, session, monkeypatch):
    monkeypatch.setattr("engine.concepts.decide.retrain_head", failing(EnvironmentFault("no memory left")))
    assert log.choose([0, 1], CONFIRM) == {}
    assert log.choices[:2] == [CONFIRM, CONFIRM]
    assert stored(session) == {key(log, 0, "confirm"), key(log, 1, "confirm")}
    assert ["(no memory left)" in str(n) for n in log.notes] == [True] * len({n.concept.id for n in log.notes})
    log.undo()
    assert stored(session) == set()


def test_the_choices_say_what_is_stored_when_the_store_fails(log, session, monkeypatch):
    put, calls = Decisions.put, itertools.count()
    full = failing(StoreError("the disk is full"))
    monkeypatch.setattr(Decisions, "put", lambda self, d: full() if next(calls) == 1 else put(self, d))
    assert log.choose([0, 1, 2], CONFIRM) == {1: "the disk is full", 2: "the disk is full"}
    assert log.choices == [CONFIRM, OPEN, OPEN, OPEN]
    assert stored(session) == {key(log, 0, "confirm")}
    assert next(calls) == 2  # the rest is not tried
    assert log.undo() == ((0,), {})
    assert stored(session) == set()


def test_the_choices_say_what_is_stored_after_an_unexpected_error(log, session):
    carry_out = log._decide

    def break_after(requests):
        carry_out(requests)
        raise ZeroDivisionError("a fault of ours")

    log._decide = break_after
    with pytest.raises(ZeroDivisionError):
        log.choose([0, 1], REJECT)
    assert log.choices == [REJECT, REJECT, OPEN, OPEN]
    with pytest.raises(ZeroDivisionError):
        log.undo()
    assert (log.choices, log.can_undo, stored(session)) == ([OPEN] * 4, False, set())


def test_a_step_that_could_not_be_taken_back_can_be_undone_again(log, session, monkeypatch):
    log.choose([0], CONFIRM)
    with monkeypatch.context() as patched:
        patched.setattr(Decisions, "remove", failing(StoreError("locked")))
        assert log.undo() == ((), {0: "locked"})
    assert (log.choices[0], log.can_undo) == (CONFIRM, True)
    assert log.undo() == ((0,), {})
    assert stored(session) == set()


@pytest.fixture
def earlier(session, log, tmp_path):
    """A decision of an earlier year, about a copy of the first suggestion's photo in another folder."""
    decide_elsewhere(session, log, 0, Verdict.REJECT)
    (decision,) = session.store.decisions.all()
    old = replace(decision, path=tmp_path / "elsewhere" / "copy.jpg", decided="2020-01-01T00:00:00+00:00")
    session.store.decisions.put(old)
    return old


TAKE_BACK = [lambda log: log.undo(), lambda log: log.choose([0], OPEN), lambda log: log.choose([0], SKIP)]


@pytest.mark.parametrize("take_back", TAKE_BACK)
@pytest.mark.parametrize("gone", [False, True])
def test_an_earlier_decision_comes_back_as_it_was(log, session, earlier, take_back, gone):
    log.choose([0], CONFIRM)
    if gone:
        log.suggestions[0].path.unlink()
    take_back(log)
    assert session.store.decisions.all() == (earlier,)
    assert log.choices[0] is not CONFIRM


def test_what_was_before_the_first_change_comes_back(log, session, earlier):
    log.choose([0], CONFIRM)
    log.choose([0], REJECT)
    log.choose([0], OPEN)
    assert session.store.decisions.all() == (earlier,)
    log.undo()
    assert session.store.decisions.all()[0].path == log.suggestions[0].path
    log.choose([0], SKIP)
    assert session.store.decisions.all() == (earlier,)


def test_a_choice_over_what_was_decided_elsewhere_gives_that_back(log, session):
    log.choose([0], CONFIRM)
    decide_elsewhere(session, log, 0, Verdict.REJECT)
    elsewhere = session.store.decisions.all()
    log.choose([0], REJECT)
    log.undo()
    assert session.store.decisions.all() == elsewhere
    assert log.choices[0] is OPEN  # it is not this log's


def test_a_name_that_means_another_concept_now_is_refused(log, session):
    log.choose([1], CONFIRM)
    kept = session.store.decisions.all()
    session.store.rename("Rex", "Max")
    session.store.rename("Anna", "Rex")
    assert log.suggestions[0].match.name == "Rex"
    assert "renamed, merged or forgotten" in log.choose([0], CONFIRM)[0]
    assert session.store.decisions.all() == kept
    assert log.undo() == ((1,), {})  # it takes the right one back
    assert session.store.decisions.all() == ()
