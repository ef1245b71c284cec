"""`myvlm people`: faces and animals without a name, grouped, so that each group is named or ignored at once."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from engine.core.types import Kind
from myvlm_cli import options as o
from myvlm_cli.again import typed_again, typed_options, typed_paths
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.given import Photos, tell_tally, warn_of_missing
from myvlm_cli.output import out, path_text
from myvlm_cli.parameters import Without
from myvlm_cli.people_actions import GroupAction, act, list_ignored, undo
from myvlm_cli.people_list import print_groups
from myvlm_cli.sidecar_choice import SidecarChoice

if TYPE_CHECKING:
    from engine.photos.discovery import FoundFile
    from engine.session import Session
    from engine.unnamed.groups import Groups
    from engine.unnamed.kept import KeptGroups, Listed
    from engine.unnamed.known import GroupRequest

LISTED, ON_PAGE = 20, 60
"""Groups that are listed without --limit, and those that a page shows."""


@dataclass(frozen=True)
class GroupedPhotos(o.PhotoSelection):
    """The photos whose faces are grouped."""

    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATHS]...",
            help="Photos and folders, including subfolders; - reads paths from stdin. Default: those of the last list.",
            show_default=False,
        ),
    ] = None
    null: Annotated[
        bool,
        typer.Option(
            "--null",
            "-0",
            help="Paths end with NUL: those that --show prints, and those read from a file.",
        ),
    ] = field(default=False)


@dataclass(frozen=True)
class GroupListing:
    """Which groups are listed."""

    pets: Annotated[
        bool,
        typer.Option("--pets", help="Group animals instead of faces. Default without PATHS: as in the last list."),
    ] = False
    open: Annotated[
        bool, typer.Option("--open", help="Show the groups in the browser, to name and ignore them there.")
    ] = False
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help=f"List at most this many groups. Default: {LISTED}; with --open {ON_PAGE}.",
            show_default=False,
        ),
    ] = None
    min_photos: Annotated[
        int, typer.Option("--min-photos", min=1, help="List groups that are in at least this many photos.")
    ] = 2

    @property
    def kind(self) -> Kind:
        """The kind of concept that the groups are of."""
        return Kind.PET if self.pets else Kind.PERSON

    @property
    def most(self) -> int:
        """The largest number of groups to show."""
        return self.limit or (ON_PAGE if self.open else LISTED)


def people(
    *,
    photos: GroupedPhotos,
    listing: GroupListing,
    action: GroupAction,
    sidecars: Annotated[SidecarChoice, Without("on_existing", "hierarchy", "regions")],
    models: Annotated[o.ModelChoice, Without("heads", "allow_body", "quantise")],
    output: o.OutputChoice,
) -> None:
    """List people whom nobody has named yet, those in most photos first, and name or ignore them.

    Faces that look like one person are a group. Numbers are those of the last list until the next one is shown. A name
    that is known gets the photos added. Sidecars are not written: myvlm caption does that.

    Example: myvlm people ~/Pictures

    Example: myvlm people --show 3

    Example: myvlm people --name 3 Anna

    Example: myvlm people ~/Pictures --open

    Example: myvlm people --pets ~/Pictures
    """
    action.check(photos, output, opens=listing.open)
    pets = listing.pets
    listing = _of_last_kind(listing, photos)
    lister = _Lister(listing.kind, models, sidecars, stores=action.stores or listing.open)
    if action.undo:
        undo(lister.session, action, output)
    elif action.ignored or action.unignore:
        list_ignored(lister.session, Kind.PET if pets else None, action, output)
    elif action.groups:
        act(lister.session, _groups_for_action(lister, photos), action, output, null=photos.null)
    else:
        raise typer.Exit(_list(lister, photos, listing, output))


def _of_last_kind(listing: GroupListing, photos: GroupedPhotos) -> GroupListing:
    """Return what to list: without photos, faces or animals as in the list that was shown last."""
    from engine.core.paths import home
    from engine.unnamed.kept import KeptGroups

    last = None if listing.pets or photos.is_given else KeptGroups(home()).last_kind()
    return replace(listing, pets=True) if last is Kind.PET else listing


@dataclass
class _Lister:
    """Finds groups; the session is opened when it is needed first."""

    kind: Kind
    models: o.ModelChoice
    sidecars: SidecarChoice
    stores: bool  # a concept, or an ignored group

    @cached_property
    def session(self) -> "Session":
        """The session with the chosen models."""
        return self.models.open_session(create=self.stores)

    @cached_property
    def kept(self) -> "KeptGroups":
        """The groups that are kept."""
        from engine.core.paths import home
        from engine.unnamed.kept import KeptGroups

        return KeptGroups(home())

    def find(self, files: Photos) -> "Groups":
        """Return the groups of some photos: what is kept of them, or what is found anew."""
        from engine.chosen_models import ChosenModels, ModelOptions
        from engine.core.paths import home
        from engine.unnamed.known import GroupingModels, GroupRequest, known_groups

        given = tuple(p.absolute() for p in files.given if p not in files.missing)
        there = Photos(given, files.selection, tally=files.tally)
        request = GroupRequest(self.kind, given, files.folder, self.sidecars.naming)
        photos = [f for f in there if f.kind == "photo"]
        config = ChosenModels(ModelOptions(self.models.vlm, self.models.recogniser), home()).recogniser_config
        known = known_groups(home(), GroupingModels(config), photos, request)
        return self._find(there, photos, request) if known is None else known

    def _find(self, files: Photos, photos: "Sequence[FoundFile]", request: "GroupRequest") -> "Groups":
        from engine.unnamed.find import find_unnamed
        from myvlm_cli.sessions import warn_of_slow_faces

        warn_of_slow_faces(self.session, people=self.kind is Kind.PERSON)
        self._calibrate(files)
        with out.progress("looking", len(photos)) as bar:
            return find_unnamed(self.session, photos, request, step=bar.advance)

    def _calibrate(self, files: Photos) -> None:
        """Calibrate on the photos, as a caption run would: what it would name is not listed."""
        from myvlm_cli.calibration import calibrate_unseen

        wanted = [c for c in self.session.store.all() if (c.kind is Kind.PERSON) == (self.kind is Kind.PERSON)]
        if wanted:
            calibrate_unseen(self.session, files, wanted)


def _groups_for_action(lister: _Lister, photos: GroupedPhotos) -> "Listed":
    """Return the last list; if photos are given, check that it is still true of them."""
    last = lister.kept.listed(lister.kind)
    where = "PATHS" if not photos.paths else " ".join(shlex.quote(path_text(p)) for p in photos.paths)
    hint = f"Run: myvlm people {'--pets ' if lister.kind is Kind.PET else ''}{where}"
    if last is None:
        raise UsageError("no list was shown yet, so that numbers have no meaning", hint=hint)
    if photos.is_given and lister.find(photos.find()).groups != last.groups.groups:
        raise UsageError("the photos or names changed since the last list, so that numbers may have, too", hint=hint)
    return last


def _list(lister: _Lister, photos: GroupedPhotos, listing: GroupListing, output: o.OutputChoice) -> int:
    """Show the groups of some photos, and return the exit code."""
    last = None if photos.is_given else lister.kept.listed(listing.kind)
    files = (o.PhotoSelection(list(last.groups.given)) if last is not None and last.groups.given else photos).find()
    missing = warn_of_missing(files.given)
    groups = lister.find(files)
    for _, reason in groups.unreadable:
        out.warn(reason)
    wanted = [g for g in groups.groups if g.photos >= listing.min_photos]
    shown = wanted[: listing.most]
    lister.kept.show(groups, len(shown))
    if listing.open and shown:
        from myvlm_cli.people_open import open_people

        caption, again = _next_commands(lister, photos, listing, groups)
        open_people(lister.session, groups, shown, len(wanted) - len(shown), caption=caption, again=again)
    else:
        print_groups(groups, shown, wanted, listing, output)
    tell_tally(files)
    return SOME_FAILED if missing or groups.unreadable else OK


def _next_commands(lister: _Lister, photos: GroupedPhotos, listing: GroupListing, groups: "Groups") -> tuple[str, str]:
    """Return the commands that caption the photos, and that list the groups again."""
    options = (lister.sidecars, lister.models)
    if photos.is_given:
        caption, again = typed_again(photos, *options), typed_again(photos, listing, *options)
    else:  # the photos of the last list, which need not be named
        paths = typed_paths(groups.given)
        caption = " ".join([*paths, *typed_options(*options)])
        again = " ".join(typed_options(listing, *options))
    return f"myvlm caption {caption}", f"myvlm people {again}"
