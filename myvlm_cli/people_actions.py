"""What `myvlm people` does with one group: show, name, ignore, and undo."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from engine.core.types import Kind
from myvlm_cli import options as o
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.people_list import describe_sighting
from myvlm_cli.tables import Column, print_table
from myvlm_cli.words import count

if TYPE_CHECKING:
    from pathlib import Path

    from engine.session import Session
    from engine.store.ignored import IgnoredGroup
    from engine.unnamed.groups import Group, Groups, Sighting
    from engine.unnamed.kept import Action, Listed
    from engine.unnamed.undo import Undone

_FEW = 3
"""Paths in the command to run next."""


@dataclass(frozen=True)
class GroupAction:
    """What to do instead of listing groups. Groups are given by number or id."""

    show: Annotated[
        str | None,
        typer.Option("--show", metavar="N", help="Print the photos of a group of the last list.", show_default=False),
    ] = None
    name: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--name",
            metavar="N NAME",
            help="Name a group of the last list: learn it from its best views, or add these to a known name.",
            show_default=False,
        ),
    ] = None
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore",
            metavar="N",
            help="Ignore a group of the last list from now on, in new photos, too; may be repeated.",
            show_default=False,
        ),
    ] = None
    ignored: Annotated[bool, typer.Option("--ignored", help="List the groups that are ignored.")] = False
    unignore: Annotated[
        list[str] | None,
        typer.Option(
            "--unignore",
            metavar="N",
            help="No longer ignore a group of the list of --ignored, or all; may be repeated.",
            show_default=False,
        ),
    ] = None
    undo: Annotated[bool, typer.Option("--undo", help="Undo the last --name or --ignore.")] = False
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway",
            help="With --name: add the group even if it does not look like those who have the name. With --undo: delete"
            " the concept even if it was changed since.",
        ),
    ] = False

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of the last list that it is about."""
        named = (self.name[0],) if self.name else ()
        return (*((self.show,) if self.show else ()), *named, *(self.ignore or ()))

    @property
    def stores(self) -> bool:
        """Whether something is stored, so that a missing store is created."""
        return bool(self.name or self.ignore)

    def check(self, photos: o.PhotoSelection, output: o.OutputChoice, *, opens: bool) -> None:
        """Refuse two actions at once, and options that would have no effect. opens: whether a page is shown."""
        given = ["open"] if opens else []
        given += [k for k in ("show", "name", "ignore", "ignored", "unignore", "undo") if getattr(self, k)]
        if len(given) > 1:
            raise UsageError(f"--{given[0]} and --{given[1]} exclude each other", hint="Use one of them at a time.")
        if opens and not output.is_text:
            raise UsageError("--open shows a page in the browser, and no JSON", hint="Leave one of them out.")
        if given and photos.is_given and given[0] not in ("open", "show", "name", "ignore"):
            raise UsageError(f"--{given[0]} looks at no photos", hint="Leave out the paths.")
        if self.anyway and not (self.name or self.undo):
            raise UsageError("--anyway needs --name or --undo", hint="Leave it out.")
        if photos.null and self.show and not output.is_text:
            raise UsageError("-0 prints paths alone", hint="Leave it out, or leave out --json and --jsonl.")
        if self.name:
            from engine.store.names import check_name

            check_name(self.name[1])


def act(session: "Session", listed: "Listed", action: GroupAction, output: o.OutputChoice, *, null: bool) -> None:
    """Show, name or ignore groups of a list."""
    from engine.unnamed.undo import check_open

    chosen = [listed.find(wanted) for wanted in action.groups]
    if action.show:
        _show(chosen[0][1], output, null=null)
        return
    chosen = list({group.id: (number, group) for number, group in chosen}.values())
    for number, group in chosen:
        check_open(session, group, f"group {number}")
    if action.name:
        _name(session, listed.groups, chosen[0], action, output)
    else:
        _ignore(session, listed.groups.kind, chosen, output)


def _show(group: "Group", output: o.OutputChoice, *, null: bool) -> None:
    """Print each photo of a group once."""
    photos: dict[Path, Sighting] = {}
    for member in group.members:
        photos.setdefault(member.path, member)
    if output.json:
        out.json_document({"id": group.id, "members": [describe_sighting(m) for m in group.members]})
        return
    for path, member in photos.items():
        if output.jsonl:
            out.json_line(describe_sighting(member))
        elif null:
            out.null_path(str(path))
        else:
            out.text(path_text(path))


def _name(
    session: "Session", groups: "Groups", chosen: "tuple[int, Group]", action: GroupAction, output: o.OutputChoice
) -> None:
    """Name a group, and say what was stored and what to do next."""
    from engine.unnamed.name import name_group
    from myvlm_cli.enrolment import tell_enrolment

    number, group = chosen
    assert action.name is not None
    named = name_group(session, group, groups.kind, action.name[1], anyway=action.anyway)
    more: Document = {"group": number, "group_id": group.id, "likeness": named.likeness, "doubts": list(named.doubts)}
    where = [shlex.quote(path_text(p)) for p in groups.given]
    command = f"myvlm caption {' '.join(where) if 0 < len(where) <= _FEW else 'PATHS'}"
    show = f"myvlm people{_option(groups.kind)} --show {number}"
    doubts = [f"{doubt}. Look: {show}. If it is somebody else, run: myvlm people --undo" for doubt in named.doubts]
    tell_enrolment(session, named.enrolment, json=not output.is_text, more=more, command=command, doubts=doubts)


def _option(kind: Kind) -> str:
    """Return the option that a command about such groups needs."""
    return " --pets" if kind is Kind.PET else ""


def _ignore(session: "Session", kind: Kind, chosen: "Sequence[tuple[int, Group]]", output: o.OutputChoice) -> None:
    from engine.unnamed.name import ignore_group

    for _, group in chosen:
        ignore_group(session, group, kind)
    if output.is_text:
        for number, group in chosen:
            out.text(f"{number}: ignored ({count(group.photos, 'photo')})")
    else:
        out.json_document({"ignored": [group.id for _, group in chosen]})
    out.say(f"To undo it: myvlm people --undo. To see what is ignored: myvlm people{_option(kind)} --ignored")


_COLUMNS = (
    Column("number", "right"),
    Column("photos", "right"),
    Column("kind"),
    Column("ignored"),
    Column("sample"),
    Column("id", only="pipe"),
)


def list_ignored(session: "Session", kind: Kind | None, action: GroupAction, output: o.OutputChoice) -> None:
    """List the groups that are ignored, of a kind or of all, or no longer ignore some of them.

    A group has the same number in both lists, so that no number means another one.
    """
    groups = _ignored(session, kind)
    if action.unignore:
        chosen = _choose_ignored(session, groups, action.unignore)
        for group in chosen:
            session.store.ignored.remove(group.id)
        option = _option(Kind.PET) if chosen and all(g.kind is Kind.PET for g in chosen) else ""
        out.say(f"{count(len(chosen), 'group')} no longer ignored. Next: myvlm people{option} PATHS")
        groups = _ignored(session, kind)
    if output.is_text:
        rows = [
            (str(n), f"{g.photos:,}", _KINDS[g.kind], g.ignored[:10], path_text(g.sample), g.id)
            for n, g in groups.items()
        ]
        print_table(_COLUMNS, rows)
        if not groups:
            out.say("Nobody is ignored." if kind is None else "No animal is ignored.")
    else:
        out.json_document({"ignored": [_describe_ignored(n, g) for n, g in groups.items()]})


_KINDS = {Kind.PERSON: "face", Kind.PET: "animal"}


def _ignored(session: "Session", kind: Kind | None) -> "dict[int, IgnoredGroup]":
    """Return the ignored groups of a kind, or all, by number."""
    return {n: g for n, g in enumerate(session.store.ignored.all(), 1) if kind in (None, g.kind)}


def _choose_ignored(
    session: "Session", groups: "dict[int, IgnoredGroup]", wanted: "Sequence[str]"
) -> "list[IgnoredGroup]":
    if "all" in wanted:
        return list(groups.values())
    by_word = {word: group for n, group in _ignored(session, None).items() for word in (str(n), group.id)}
    for word in wanted:
        if word not in by_word:
            raise UsageError(f"there is no ignored group {word!r}", hint="To list them: myvlm people --ignored")
    return list({by_word[word].id: by_word[word] for word in wanted}.values())


def _describe_ignored(number: int, group: "IgnoredGroup") -> Document:
    return {
        "number": number,
        "id": group.id,
        "kind": str(group.kind),
        "photos": group.photos,
        "ignored": group.ignored,
        "sample": path_text(group.sample),
    }


def undo(session: "Session", action: GroupAction, output: o.OutputChoice) -> None:
    """Say what the last naming or ignoring was, undo it, and say what that did."""
    from engine.unnamed.undo import last_action, undo_last

    last = last_action(session)
    if last is not None:
        out.say(f"The last step: {_step(last)}.")
    undone = undo_last(session, anyway=action.anyway)
    if not output.is_text:
        described = {"group": undone.action.group, "name": undone.action.name or None} if undone else None
        out.json_document({"undone": described, "removed": undone.removed if undone else 0})
    out.say("Nothing to undo." if undone is None else _outcome(undone))


def _step(action: "Action") -> str:
    what = "animals" if action.kind is Kind.PET else "faces"
    if not action.name:
        return f"a group of {what} was ignored"
    return f"a group of {what} was named {action.name} ({count(len(action.added), 'photo')})"


def _outcome(undone: "Undone") -> str:
    """Return what undoing did."""
    action, concept = undone.action, undone.concept
    again = f"Next: myvlm people{_option(action.kind)}"
    if not action.name:
        return f"The group is no longer ignored. {again}" if undone.done else "It was not ignored any more."
    if concept is None:
        return f"{action.name} is not there any more: it was forgotten or merged."
    if not undone.done:
        return f"Nothing changed: none of these photos is a reference photo of {concept.name} any more."
    if undone.deleted:
        return f"{concept.name} is forgotten. To remove names that were written since: myvlm undo"
    return f"{count(undone.removed, 'photo')} removed from {concept.name}. {again}"
