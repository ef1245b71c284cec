"""`myvlm people --open`: serve the page of groups without a name."""

from functools import partial
from typing import TYPE_CHECKING

from engine.core.types import Kind
from myvlm_cli.output import out
from myvlm_cli.words import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.session import Session
    from engine.unnamed.group_log import GroupLog
    from engine.unnamed.groups import Group, Groups


def open_people(
    session: "Session", groups: "Groups", shown: "Sequence[Group]", more: int, *, caption: str, again: str
) -> None:
    """Serve the page until the user is done with it, and print what was done.

    more: groups that are not on it. caption, again: the commands to run next, and to go on with what is left.
    """
    from engine.pages.people_desk import PeopleDesk
    from myvlm_cli.serving import serve_page

    log = _make_log(session, groups.kind, shown)
    desk = PeopleDesk(log, groups.kind, more=more, next_command=caption, again=again)
    try:
        serve_page(desk)
    finally:
        desk.close()
    named, ignored = sum(bool(s.name) for s in log.states), sum(s.ignored for s in log.states)
    out.say(f"{count(named, 'group')} named, {ignored:,} ignored, {len(shown) - named - ignored:,} left.")
    out.say(f"Next: {caption if named else again}")


def _make_log(session: "Session", kind: Kind, shown: "Sequence[Group]") -> "GroupLog":
    from engine.unnamed.group_log import GroupActions, GroupLog
    from engine.unnamed.name import ignore_group, name_group
    from engine.unnamed.undo import undo_last

    def names() -> list[str]:
        return [c.name for c in session.store.all() if c.kind is kind]

    actions = GroupActions(
        lambda group, name, anyway: name_group(session, group, kind, name, anyway=anyway),
        lambda group: ignore_group(session, group, kind),
        partial(undo_last, session),
        names,
    )
    return GroupLog(shown, actions)
