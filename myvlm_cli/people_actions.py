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
    from engine.unnamed.name import Named

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
            help="No longer ignore a group of the list of --ignored; may be repeated.",
            show_default=False,
        ),
    ] = None
    undo: Annotated[bool, typer.Option("--undo", help="Undo the last --name or --ignore.")] = False

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
        if photos.null and self.show and not output.is_text:
            raise UsageError("-0 prints paths alone", hint="Leave it out, or leave out --json and --jsonl.")
        if self.name:
            from engine.store.names import check_name

            check_name(self.name[1])


def act(session: "Session", groups: "Groups", action: GroupAction, output: o.OutputChoice, *, null: bool) -> None:
    """Show, name or ignore groups of a list."""
    chosen = [groups.find(wanted) for wanted in action.groups]
    if action.show:
        _show(chosen[0][1], output, null=null)
    elif action.name:
        _name(session, groups, chosen[0], action.name[1], output)
    else:
        _ignore(session, groups.kind, chosen, output)


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


def _name(session: "Session", groups: "Groups", chosen: "tuple[int, Group]", name: str, output: o.OutputChoice) -> None:
    """Name a group, and say what was stored and what to do next."""
    from engine.unnamed.name import name_group
    from myvlm_cli.enrolment import tell_enrolment

    number, group = chosen
    named = name_group(session, group, groups.kind, name)
    more: Document = {"group": number, "group_id": group.id, "likeness": named.likeness}
    where = [shlex.quote(path_text(p)) for p in groups.given]
    command = f"myvlm caption {' '.join(where) if 0 < len(where) <= _FEW else 'PATHS'}"
    tell_enrolment(session, named.enrolment, json=not output.is_text, more=more, command=command)
    _warn(named)


def _warn(named: "Named") -> None:
    if named.looks_different:
        name = named.enrolment.concept.name
        out.warn(
            f"this group does not look like the photos that {name} had before (likeness {named.likeness:.2f}). If it is"
            " somebody else, run: myvlm people --undo"
        )


def _ignore(session: "Session", kind: Kind, chosen: "Sequence[tuple[int, Group]]", output: o.OutputChoice) -> None:
    from engine.unnamed.name import ignore_group

    for _, group in chosen:
        ignore_group(session, group, kind)
    if output.is_text:
        for number, group in chosen:
            out.text(f"{number}: ignored ({count(group.photos, 'photo')})")
    else:
        out.json_document({"ignored": [group.id for _, group in chosen]})
    out.say("To undo it: myvlm people --undo. To see what is ignored: myvlm people --ignored")


_COLUMNS = (
    Column("number", "right"),
    Column("photos", "right"),
    Column("ignored"),
    Column("sample"),
    Column("id", only="pipe"),
)


def list_ignored(session: "Session", kind: Kind, action: GroupAction, output: o.OutputChoice) -> None:
    """List the groups of a kind that are ignored, or no longer ignore some of them."""
    groups = session.store.ignored.all(kind)
    if action.unignore:
        chosen = [_find_ignored(groups, wanted) for wanted in action.unignore]
        for group in chosen:
            session.store.ignored.remove(group.id)
        groups = session.store.ignored.all(kind)
        out.say(f"{count(len(chosen), 'group')} no longer ignored. Next: myvlm people")
    if output.is_text:
        rows = [(str(n), f"{g.photos:,}", g.ignored[:10], path_text(g.sample), g.id) for n, g in enumerate(groups, 1)]
        print_table(_COLUMNS, rows)
        if not groups:
            out.say("Nobody is ignored." if kind is Kind.PERSON else "No animal is ignored.")
    else:
        out.json_document({"ignored": [_describe_ignored(n, g) for n, g in enumerate(groups, 1)]})


def _find_ignored(groups: "Sequence[IgnoredGroup]", wanted: str) -> "IgnoredGroup":
    for number, group in enumerate(groups, 1):
        if wanted in (str(number), group.id):
            return group
    raise UsageError(f"there is no ignored group {wanted!r}", hint="To list them: myvlm people --ignored")


def _describe_ignored(number: int, group: "IgnoredGroup") -> Document:
    sample = path_text(group.sample)
    return {"number": number, "id": group.id, "photos": group.photos, "ignored": group.ignored, "sample": sample}


def undo(session: "Session", output: o.OutputChoice) -> None:
    """Undo the last naming or ignoring, and say what that did."""
    from engine.unnamed.name import undo_last

    undone = undo_last(session)
    if not output.is_text:
        action = undone.action if undone else None
        described = {"group": action.group, "name": action.name or None} if action else None
        out.json_document({"undone": described, "removed": undone.removed if undone else 0})
    if undone is None:
        out.say("Nothing to undo.")
    elif not undone.action.name:
        out.say("The group is no longer ignored. Next: myvlm people")
    elif undone.deleted:
        out.say(f"{undone.action.name} is forgotten. Names that were written since: myvlm undo")
    elif undone.removed:
        out.say(f"{count(undone.removed, 'photo')} removed from {undone.action.name}. Next: myvlm people")
    else:
        out.say(f"{undone.action.name} was changed since and stays as it is: see myvlm concepts show")
