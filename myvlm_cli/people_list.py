"""Print the groups of people and animals without a name, as text and as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from myvlm_cli import options as o
from myvlm_cli.given import NO_PHOTOS
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.tables import Column, print_table
from myvlm_cli.words import count

if TYPE_CHECKING:
    from engine.unnamed.groups import Group, Groups, Sighting
    from myvlm_cli.people import GroupListing

_COLUMNS = (
    Column("number", "right"),
    Column("photos", "right"),
    Column("first"),
    Column("last"),
    Column("kind"),
    Column("maybe"),
    Column("sample", only="pipe"),
    Column("sample_photo", only="terminal"),
    Column("id", only="pipe"),
)


def print_groups(
    groups: "Groups",
    shown: "Sequence[Group]",
    wanted: "Sequence[Group]",
    listing: "GroupListing",
    output: o.OutputChoice,
) -> None:
    """Print the groups, how many more there are, and what to do next."""
    if output.json:
        out.json_document(_describe(groups, shown, len(wanted) - len(shown)))
    elif output.jsonl:
        for number, group in enumerate(shown, 1):
            out.json_line(describe_group(number, group))
    else:
        print_table(_COLUMNS, [_cells(n, g) for n, g in enumerate(shown, 1)])
    _tell(groups, shown, wanted, listing)


def _cells(number: int, group: "Group") -> list[str]:
    sample = path_text(group.sample.path)
    short = "/".join(Path(sample).parts[-2:])
    return [str(number), f"{group.photos:,}", *group.dates, group.word, group.maybe, sample, short, group.id]


def _tell(groups: "Groups", shown: "Sequence[Group]", wanted: "Sequence[Group]", listing: "GroupListing") -> None:
    """Say what is not listed, and what to do next."""
    what, option = ("animal", " --pets") if listing.pets else ("face", "")
    single = sum(g.photos < listing.min_photos for g in groups.groups)
    if len(shown) < len(wanted):
        out.say(f"{count(len(wanted) - len(shown), 'more group')} (--limit)")
    if single:
        fewer = (
            f"{count(single, 'group')} in fewer photos"
            if listing.min_photos > 2
            else f"{count(single, what)} seen once"
        )
        out.say(f"{fewer} (--min-photos 1)")
    if groups.hidden:
        out.detail(f"{count(groups.hidden, what)} too small, blurred or turned")
    if groups.ignored:
        out.detail(f"{count(groups.ignored, what)} ignored (myvlm people{option} --ignored)")
    if shown:
        command = f"myvlm people{option}"
        out.say(f"Look at a group before you name it: {command} --open, or {command} --show 1")
        out.say(f"Next: {command} --name 1 NAME, or {command} --ignore 1")
    else:
        out.say(_nothing(groups, option))


def _nothing(groups: "Groups", option: str) -> str:
    """Return why there are no groups, and what to do next."""
    if not groups.photos and not groups.unreadable:
        return NO_PHOTOS
    who = "animals" if option else "people"
    if groups.groups:
        return f"No {who} without a name are in several photos. Next: myvlm people{option} --min-photos 1 PATHS"
    return f"No {who} without a name were found in these photos. Next: myvlm caption PATHS"


def _describe(groups: "Groups", shown: "Sequence[Group]", more: int) -> Document:
    return {
        "groups": [describe_group(number, group) for number, group in enumerate(shown, 1)],
        "more": more,
        "photos": groups.photos,
        "groups_in_all": len(groups.groups),
        "ignored": groups.ignored,
        "hidden": groups.hidden,
        "unreadable": [{"file": path_text(path), "reason": reason} for path, reason in groups.unreadable],
    }


def describe_group(number: int, group: "Group") -> Document:
    """Return a group as JSON."""
    first, last = group.dates
    return {
        "number": number,
        "id": group.id,
        "photos": group.photos,
        "first": first or None,
        "last": last or None,
        "category": group.word or None,
        "maybe": group.maybe or None,
        "views": [describe_sighting(s) for s in group.best],
        "members": [describe_sighting(s) for s in group.members],
    }


def describe_sighting(sighting: "Sighting") -> Document:
    """Return a sighting as JSON."""
    return {
        "file": path_text(sighting.path),
        "box": list(sighting.box.rounded()),
        "quality": sighting.quality,
        "taken": sighting.taken or None,
    }
