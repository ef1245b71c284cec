"""`myvlm search`: find photos by what their sidecars say."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from myvlm_cli import options as o
from myvlm_cli.conditions import Conditions
from myvlm_cli.errors import OK, SOME_FAILED
from myvlm_cli.gallery import read_target, refuse_with_html, tell_written, title_of, write_html
from myvlm_cli.given import warn_of_missing
from myvlm_cli.likeness import LikeSearch
from myvlm_cli.output import Document, out, path_text
from myvlm_cli.parameters import Without
from myvlm_cli.sidecar_choice import SidecarChoice
from myvlm_cli.viewer import open_address, open_photos
from myvlm_cli.words import count

if TYPE_CHECKING:
    from engine.library.search import FoundPhoto, SearchCounts, SearchRequest
    from engine.pages.gallery import WrittenGallery

_REINDEX_EXAMPLE = "Example: myvlm search --reindex ~/Pictures"
OPENED = 8
"""Photos that --open opens at most: each may open a window."""

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[WORDS]...",
        help='Words and names that a photo must have: rex, "on the beach" in quotation marks, holi* for words that'
        ' begin with it, "rex -anna" for what must not be there. With --reindex: photos and folders.',
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Listing:
    """How the photos are listed, besides JSON."""

    captions: Annotated[bool, typer.Option("--captions", help="Print the caption or the names after each path.")] = (
        False
    )
    null: Annotated[
        bool, typer.Option("--null", "-0", help="End each path with NUL instead of a line end, for xargs -0.")
    ] = False
    html: Annotated[
        str | None,
        typer.Option(
            "--html",
            metavar="FILE|FOLDER",
            help="Write the photos as one web page (FILE.html, at most 500 without --limit), or as a gallery into a"
            " folder. Both work offline.",
            show_default=False,
        ),
    ] = None
    open: Annotated[
        bool,
        typer.Option("--open", help=f"Also show the photos in the desktop's viewer, at most {OPENED}, or the page."),
    ] = False


Reindex = Annotated[
    bool,
    typer.Option(
        "--reindex",
        help="Do not search: read the sidecars in the given folders, which other programs may have changed.",
    ),
]


def search(
    *,
    words: Words = None,
    conditions: Conditions,
    listing: Listing,
    reindex: Reindex = False,
    sidecars: Annotated[SidecarChoice, Without("on_existing", "hierarchy", "regions")],
    output: o.OutputChoice,
) -> None:
    """Find photos by names and words in their sidecars, by when and where they were taken, and by what they show.

    Captions, keywords and people are searched, whether myvlm or a human wrote them. The best match comes first; without
    words, the newest photo. It knows photos that myvlm has captioned, or that --reindex has read.

    Example: myvlm search "rex beach" --since 2024

    Example: myvlm search rex --like "a dog in snow"

    Example: myvlm search --in ~/Pictures --html gallery/
    """
    if reindex:
        raise typer.Exit(_reindex(words, conditions, listing, sidecars, output))
    _refuse_useless(listing, sidecars, output)
    page = read_target(listing.html) if listing.html else None
    missing = warn_of_missing(conditions.folders) if conditions.folders else False
    from engine.library.search import SearchCounts

    counts, request = SearchCounts(), conditions.request(words)
    like = LikeSearch.open(conditions.like, conditions.recogniser) if conditions.like else None
    photos = _find(request, counts, like, without_limit=page is not None)
    found: Sequence[FoundPhoto]
    if page is None:
        found, written = list(_print(photos, listing, output)), None
    else:
        title = _title(words, conditions)
        found, written = write_html(list(photos), page, title, request, counts, like=like is not None)
    code = _report(found, written, counts, like, listing, output)
    _tell(counts, len(found), like, limited=request.limit is not None)
    _show(found, written, listing)
    raise typer.Exit(code or (SOME_FAILED if missing else OK))


def _find(
    request: "SearchRequest", counts: "SearchCounts", like: LikeSearch | None, *, without_limit: bool
) -> "Iterator[FoundPhoto]":
    """Find photos; without_limit: all of them, so that those left out are counted, except by a description."""
    if like:
        return like.search(request, counts)
    from engine.core.paths import home
    from engine.library.search import search as search_index

    return search_index(home(), replace(request, limit=None) if without_limit else request, counts)


def _title(words: list[str] | None, conditions: Conditions) -> str:
    asked = [*(words or ()), *(conditions.names or ()), *([conditions.like] if conditions.like else ())]
    return title_of(asked, conditions.folders or ())


def _report(
    found: "Sequence[FoundPhoto]",
    written: "WrittenGallery | None",
    counts: "SearchCounts",
    like: LikeSearch | None,
    listing: Listing,
    output: o.OutputChoice,
) -> int:
    """Print the document or the path of the page, and return the exit code."""
    if output.json:
        document = {"photos": [_describe(photo) for photo in found], "indexed": counts.indexed, "more": counts.more}
        document |= {"not_scanned": counts.unscanned} if like else {}
        document |= {"html": path_text(written.page) if written else None} if listing.html else {}
        out.json_document(document)
    elif written:
        out.text(path_text(written.page))
    return SOME_FAILED if not found or (written and written.unreadable) else OK


def _show(found: "Sequence[FoundPhoto]", written: "WrittenGallery | None", listing: Listing) -> None:
    """Say what was written, and show the page or the photos if that was asked for."""
    if written:
        tell_written(written)
    if not listing.open:
        return
    if written is None:
        open_photos([photo.path for photo in found[:OPENED]])
    elif not open_address(str(written.page.absolute())):
        out.warn(f"no browser can be started here. Open {path_text(written.page)} in a browser")


def _refuse_useless(listing: Listing, sidecars: SidecarChoice, output: o.OutputChoice) -> None:
    """Refuse options that would have no effect."""
    if listing.html:
        refuse_with_html(captions=listing.captions, null=listing.null, jsonl=output.jsonl)
    if listing.null and (listing.captions or not output.is_text):
        raise UsageError("-0 prints paths alone", hint="Leave it out, or leave out --captions, --json and --jsonl.")
    if sidecars.naming_given:
        raise UsageError("--sidecar-naming and --sidecar-dir are for --reindex", hint="Leave them out.")


def _print(photos: "Iterator[FoundPhoto]", listing: Listing, output: o.OutputChoice) -> "Iterator[FoundPhoto]":
    """Print photos as they come, and yield them."""
    with_captions = listing.captions or (out.settings.verbose and sys.stdout.isatty())
    for photo in photos:
        if output.jsonl:
            out.json_line(_describe(photo))
        elif output.is_text and listing.null:
            out.null_path(photo.file)
        elif output.is_text:
            words = (photo.caption or ", ".join(n.name for n in photo.names)) if with_captions else ""
            out.text(f"{path_text(photo.file)}{f': {words}' if words else ''}")
        yield photo


def _describe(photo: "FoundPhoto") -> Document:
    place = {"latitude": photo.place[0], "longitude": photo.place[1]} if photo.place else None
    return {
        "file": path_text(photo.file),
        "caption": photo.caption or None,
        "caption_by": photo.author or None,
        "names": [{"name": n.name, "kind": n.kind or None} for n in photo.names],
        "taken": photo.taken,
        "place": place,
        "km": None if photo.km is None else round(photo.km, 3),
        "suggestions": photo.suggestions,
        "likeness": photo.likeness,
    }


def _tell(counts: "SearchCounts", found: int, like: LikeSearch | None, *, limited: bool) -> None:
    """Print how many photos were found, and what the index does not know. limited: --limit was given."""
    if like:
        like.tell(counts, found)
    elif not counts.indexed:
        out.say("No photos are indexed yet. Next: myvlm caption FOLDER, or for sidecars that exist:")
        out.say("  myvlm search --reindex FOLDER")
    else:
        first = "the first " if counts.more else ""
        rest = "; without --limit: all" if counts.more and limited else ""
        out.say(f"{first}{count(found, 'photo')} found among {counts.indexed:,}{rest}")
    if counts.gone:
        there = "is not there now" if counts.gone == 1 else "are not there now"
        out.say(f"{counts.gone:,} more {there}: moved, deleted, or on a disk that is not mounted")
    if counts.changed:
        out.say(f"{count(counts.changed, 'result')} changed since. To index the changes: myvlm search --reindex FOLDER")


def _reindex(
    paths: list[str] | None,
    conditions: Conditions,
    listing: Listing,
    sidecars: SidecarChoice,
    output: o.OutputChoice,
) -> int:
    """Index the sidecars of photos and folders, print what changed, and return the exit code."""
    from myvlm_cli.given import find_photos

    if conditions != Conditions() or listing != Listing():
        raise UsageError("--reindex takes only photos and folders", hint=_REINDEX_EXAMPLE)
    if not paths:
        raise UsageError("no photos given", hint=_REINDEX_EXAMPLE)
    photos = find_photos([Path(p) for p in paths or ()], None, null=False)
    from myvlm_cli.reindex import reindex

    return reindex(photos, sidecars, output)
