"""Undo what was done with groups, and tell what was done with one."""

import shlex
from dataclasses import dataclass, replace

from engine.concepts.remove_photos import remove_photos
from engine.core.errors import DoubtfulError, UsageError
from engine.core.types import Concept, Reference
from engine.session import Session
from engine.unnamed.groups import Group
from engine.unnamed.kept import Action, KeptGroups


@dataclass(frozen=True)
class Undone:
    """What was undone.

    concept: as it is now, or was when it was deleted; None if it was gone already. deleted: whether it was deleted.
    removed: number of photos. done: whether anything changed; if not, it had been taken back in another way.
    """

    action: Action
    concept: Concept | None = None
    deleted: bool = False
    removed: int = 0
    done: bool = True


def last_action(session: Session) -> Action | None:
    """Return what was done last; None if there is nothing to undo."""
    return next((action for _, action in KeptGroups(session.folder).actions()), None)


def check_open(session: Session, group: Group, what: str = "this group") -> None:
    """Check that nothing was done with a group that still holds. what: how a message calls it.

    Raises:
        UsageError: it has a name, or is ignored.
    """
    actions = [action for _, action in KeptGroups(session.folder).actions()]
    for steps, action in enumerate(actions, 1):
        if action.group == group.id and _holds(session, action):
            concept = _concept(session, action)
            done = f"was named {concept.name}" if concept else "is ignored"
            often = "" if steps == 1 else f" ({steps} times: it undoes the last step first)"
            raise UsageError(f"{what} {done}", hint=f"To change it: myvlm people --undo{often}")


def _holds(session: Session, action: Action) -> bool:
    """Return whether something is left of what was done."""
    if not action.name:
        return any(g.id == action.group for g in session.store.ignored.all(action.kind))
    concept = _concept(session, action)
    return concept is not None and bool(_added(concept, action))


def _concept(session: Session, action: Action) -> Concept | None:
    """Return the concept that a group was named, also if it has another name by now."""
    if not action.name:
        return None
    return next((c for c in session.store.all() if c.id == action.concept), None)


def _added(concept: Concept, action: Action) -> list[Reference]:
    return [r for r in concept.references if r.content_hash in action.added]


def undo_last(session: Session, group_id: str | None = None, *, anyway: bool = False) -> Undone | None:
    """Undo the last naming or ignoring, or that of a group; None if there is nothing to undo.

    A concept that was made from a group is deleted with the last of its photos; else the group's photos are removed.
    anyway: also delete a concept that was changed since.

    Raises:
        DoubtfulError: the concept would be deleted with what was done with it since.
        UsageError: a concept that was not made from a group would have no photo left.
    """
    kept = KeptGroups(session.folder)
    for number, action in kept.actions():
        if group_id in (None, action.group):
            undone = _undo(session, action, anyway=anyway)
            if action.created and not undone.deleted:
                _pass_on(kept, number, action)
            kept.drop(number)
            return undone
    return None


def _pass_on(kept: KeptGroups, number: int, action: Action) -> None:
    """Let another group of the same concept be that which it was made from."""
    for other_number, other in kept.actions():
        if other.concept == action.concept and other_number != number:
            kept.change(other_number, replace(other, created=True))
            return


def _undo(session: Session, action: Action, *, anyway: bool) -> Undone:
    if not action.name:
        return Undone(action, done=session.store.ignored.remove(action.group))
    concept = _concept(session, action)
    added = _added(concept, action) if concept else []
    if concept is None or not added:
        return Undone(action, concept, done=False)
    if len(added) < len(concept.references):
        removed = remove_photos(session, concept.name, [r.path for r in added])
        return Undone(action, removed.concept, removed=len(removed.references))
    if not action.created:
        raise UsageError(
            f"{concept.name} has no other photos by now",
            hint=f"To delete it: myvlm forget {shlex.quote(concept.name)}",
        )
    changes = _changes(session, concept, action)
    if changes and not anyway:
        raise DoubtfulError(
            f"{concept.name} {' and '.join(changes)} since it was named",
            hint=f"To delete it with that: myvlm forget {shlex.quote(concept.name)}, or add --anyway",
        )
    return Undone(action, session.store.forget(concept.name), deleted=True, removed=len(added))


def _changes(session: Session, concept: Concept, action: Action) -> list[str]:
    """Return what was done with a concept since it was made from a group."""
    decisions = len(session.store.decisions.of(concept.id))
    found = {
        f"got {decisions} decision{'' if decisions == 1 else 's'}": decisions,
        "was trained": session.store.facts(concept).embeddings,
        f"was renamed from {action.name}": concept.name != action.name,
        "got another category": concept.category != action.category,
    }
    return [what for what, is_so in found.items() if is_so]
