"""The decisions of a review: stored as they are made, taken back in the store as well."""

import itertools
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from engine.concepts.decide import DecisionRequest, decide
from engine.concepts.decision_log import Choice, DecisionLog
from engine.concepts.review import find_suggestions
from engine.core.errors import UsageError
from engine.core.types import Verdict
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
