"""Naming and ignoring groups one after the other, with a way back."""

from dataclasses import replace

import pytest

from engine.concepts.decide import DecisionRequest, decide
from engine.core.errors import DoubtfulError, StoreError, UsageError
from engine.core.types import Kind, Verdict
from engine.photos.discovery import find_files
from engine.unnamed.find import GroupRequest, find_unnamed
from engine.unnamed.undo import undo_last
from tests.unnamed.library import make_log


@pytest.fixture
def log(session, strangers):
    groups = find_unnamed(session, find_files([strangers.folder]), GroupRequest())
    return make_log(session, groups.groups, Kind.PERSON)


def concepts(session):
    return {c.name: len(c.references) for c in session.store.all()}


def test_steps_are_stored_and_taken_back_in_order(log, session):
    log.name(0, "Anna")
    log.ignore([1, 2])
    assert (concepts(session).keys(), len(session.store.ignored.all())) == ({"Anna"}, 2)
    assert (log.states[0].name, log.states[0].photos > 0, log.states[1].ignored) == ("Anna", True, True)
    assert log.names == ["Anna"]
    assert log.undo() == (1, 2)
    assert session.store.ignored.all() == ()
    assert log.undo() == (0,)
    assert concepts(session) == {}
    assert not log.can_undo
    with pytest.raises(UsageError, match="nothing to undo"):
        log.undo()


def test_what_an_error_leaves_of_a_step_is_undone_later(log, session):
    log.ignore([1, 2])
    actions, undone = log._actions, []

    def fail_at_the_second(group_id):
        undone.append(group_id)
        if len(undone) == 2:
            raise StoreError("locked")
        return actions.undo(group_id)

    log._actions = replace(actions, undo=fail_at_the_second)
    with pytest.raises(StoreError):
        log.undo()
    assert [s.is_open for s in log.states[:3]] == [True, True, False]
    assert len(session.store.ignored.all()) == 1
    assert log.undo() == (2,)
    assert undone == [log.groups[n].id for n in (1, 2, 2)]
    assert session.store.ignored.all() == ()


def test_one_group_is_taken_back_of_several(log, session):
    log.ignore([0, 1])
    log.name(2, "Ben")
    assert log.undo(1) == (1,)
    assert [g.id for g in session.store.ignored.all()] == [log.groups[0].id]
    assert log.undo() == (2,)
    assert log.undo() == (0,)


def test_two_groups_with_one_name_become_one(log, session):
    log.name(0, "Anna")
    before = concepts(session)["Anna"]
    with pytest.raises(DoubtfulError):
        log.name(1, "anna")
    assert (concepts(session), log.states[1].is_open) == ({"Anna": before}, True)
    log.name(1, "anna", anyway=True)
    assert log.states[1].name == "Anna"
    assert concepts(session) == {"Anna": before + log.states[1].photos}
    assert any("does not look like" in note for note in log.states[1].notes)
    log.undo(0)
    assert concepts(session) == {"Anna": log.states[1].photos}
    log.undo(1)
    assert concepts(session) == {}


def test_what_was_taken_back_elsewhere_is_said(log, session):
    log.name(0, "Anna")
    log.ignore([1])
    undo_last(session)
    undo_last(session)
    log.undo(1)
    log.undo(0)
    assert log.states[1].notes == ("It was not ignored any more.",)
    assert "none of its photos is in Anna any more" in log.states[0].notes[0]
    assert log.states[0].is_open


def test_a_step_that_cannot_be_taken_back_stays(log, session, strangers):
    log.name(0, "Anna")
    decide(session, [DecisionRequest(strangers.folder / "IMG_08.jpg", "Anna", Verdict.REJECT)])
    with pytest.raises(DoubtfulError, match="Anna got 1 decision since it was named"):
        log.undo(0)
    assert log.states[0].name == "Anna"
    assert log.can_undo


def test_what_is_done_is_not_done_again(log, session):
    log.name(0, "Anna")
    for again in (lambda: log.name(0, "Ben"), lambda: log.ignore([1, 0])):
        with pytest.raises(UsageError, match="group 1 is done already"):
            again()
    assert concepts(session).keys() == {"Anna"}
    assert session.store.ignored.all() == ()
