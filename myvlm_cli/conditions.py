"""What photos must fulfil to be found by `myvlm search`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.core.errors import UsageError
from engine.core.types import Kind
from myvlm_cli import options as o
from myvlm_cli.completion import complete_concept
from myvlm_cli.given import read_day

if TYPE_CHECKING:
    from datetime import datetime

    from engine.library.search import SearchRequest


@dataclass(frozen=True)
class Conditions:
    """What photos must fulfil besides the words."""

    also: Annotated[
        list[str] | None,
        typer.Option("--and", metavar="WORDS", help="More words, as above; may be repeated.", show_default=False),
    ] = None
    without: Annotated[
        list[str] | None,
        typer.Option("--not", metavar="WORDS", help="Words that a photo must not have.", show_default=False),
    ] = None
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            help="Only photos with exactly this name: a concept, person, pet or keyword; may be repeated.",
            autocompletion=complete_concept,
            show_default=False,
        ),
    ] = None
    kinds: Annotated[
        list[Kind] | None,
        typer.Option("--kind", help="Only photos with a name of this kind; may be repeated.", show_default=False),
    ] = None
    since: o.Since = None
    until: o.Until = None
    near: Annotated[
        str | None,
        typer.Option(
            "--near",
            metavar="PLACE",
            help="Only photos taken near a place: latitude,longitude,distance, such as 54.3,10.1,5km; without a"
            " distance 1 km.",
            show_default=False,
        ),
    ] = None
    folders: Annotated[
        list[Path] | None,
        typer.Option("--in", metavar="FOLDER", help="Only photos in this folder; may be repeated.", show_default=False),
    ] = None
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="TEXT",
            help='Rank photos by how well they match a description, such as "a dog in snow". A recogniser that reads'
            " texts, such as dfn5b, must have scanned them.",
            show_default=False,
        ),
    ] = None
    recogniser: Annotated[
        str | None,
        typer.Option(
            "--recogniser",
            help="Recogniser for --like. Default: the one in use if it reads texts, else one on this disk that does.",
            show_default=False,
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=1, help="Print at most this many photos. Default: all, 20 with --like.", show_default=False
        ),
    ] = None

    def request(self, words: list[str] | None) -> "SearchRequest":
        """Make the engine's request.

        Raises:
            UsageError: a value cannot be read, or nothing at all is asked for.
        """
        from engine.library.query import parse_terms
        from engine.library.search import SearchRequest, read_near

        terms = parse_terms([*(words or ()), *(self.also or ())])
        terms += tuple(replace(t, excluded=True) for t in parse_terms(self.without or ()))
        if self.recogniser and not self.like:
            raise UsageError("--recogniser is for --like", hint='Example: myvlm search --like "a dog in snow"')
        if not terms and self == Conditions(limit=self.limit):
            raise UsageError("nothing to search for", hint="Example: myvlm search rex beach --since 2024")
        return SearchRequest(
            terms,
            tuple(self.names or ()),
            tuple(str(k) for k in self.kinds or ()),
            _iso(read_day(self.since, option="--since", after=False)),
            _iso(read_day(self.until, option="--until", after=True)),
            read_near(self.near) if self.near else None,
            tuple(self.folders or ()),
            self.most,
        )

    @property
    def most(self) -> int | None:
        """How many photos to print at most; None for all."""
        if self.limit or not self.like:
            return self.limit
        from engine.library.like import MOST

        return MOST


def _iso(moment: "datetime | None") -> str | None:
    return None if moment is None else moment.replace(tzinfo=None).isoformat()
