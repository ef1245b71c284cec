"""Write the review page as one file that works offline: the browser saves the decisions for `myvlm review --apply`.

The page shows faces and names, so only its owner may read the file. It loads nothing, and its content security policy
prevents its script from sending anything. `ReviewDesk` serves the same page.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine.concepts.review import Suggestion
from engine.core.files import sha256_of
from engine.core.types import Verdict
from engine.pages.page_file import write_page_file
from engine.pages.pictures import data_uri
from engine.pages.render import render_page
from engine.pages.review_cards import Card, Group, PictureSizes, in_page_order, make_groups
from engine.pages.thumbnails import Made, Picture, Thumbnails

PAGE_LIMIT = 500
"""Default for the most suggestions on a page; each takes 50 to 75 kB."""
MARK = "myvlm review"
_SIZES = PictureSizes(card=320, whole=480, reference=200, enlarged=0)


def write_page(
    suggestions: Sequence[Suggestion], target: Path, *, more: int = 0, step: Callable[[], None] = lambda: None
) -> None:
    """Write the review page of suggestions, readable by its owner only.

    The same suggestions of the same photos give the same bytes. more: how many suggestions are not on the page; step:
    called for each suggestion.

    Raises:
        UsageError: the page may not be written to this path, see `page_file.check_target`.
        EngineError: writing failed.
    """
    write_page_file(render_review(suggestions, more=more, step=step), target, MARK)


def render_review(suggestions: Sequence[Suggestion], *, more: int = 0, step: Callable[[], None] = lambda: None) -> str:
    """Return the review page as HTML; for a photo that can no longer be read, the tile gives the reason."""
    ordered = in_page_order(suggestions)
    groups, pictures = make_groups(ordered, _SIZES)
    made = _make_all(groups, pictures, step)
    once = {n for g in groups for c in g.cards for n in (c.crop, c.whole)}
    lines = [(decision_line(s, Verdict.CONFIRM), decision_line(s, Verdict.REJECT)) for s in ordered]
    uris = {n: data_uri(m.data) for n, m in made.items() if m.data}
    data = {
        "page": sha256_of(repr(lines).encode())[:16],
        "lines": lines,
        "pictures": {n: uri for n, uri in uris.items() if n not in once},
    }
    notes = {n: m.reason for n, m in made.items() if not m.data}
    return render_groups(groups, data, more=more, sources={n: u for n, u in uris.items() if n in once}, notes=notes)


def render_groups(
    groups: Sequence[Group],
    data: Mapping[str, object],
    *,
    more: int,
    sources: Mapping[int, str],
    notes: Mapping[int, str],
    served: bool = False,
) -> str:
    """Return the page of some groups.

    data: for its script. more: how many suggestions are not on the page. sources: addresses of pictures, by number;
    notes: why there is none. served: by a server that stores decisions.
    """
    return render_page(
        "review.html.j2",
        mark=MARK,
        scripts=("page.js", "review_store.js", "review_look.js", "review.js"),
        styles=("review.css",),
        data={**data, "served": served},
        images="'self' data:" if served else "data:",
        connect=served,
        groups=groups,
        total=sum(len(g.cards) for g in groups),
        more=more,
        sources=sources,
        notes=notes,
        served=served,
    )


def decision_line(suggestion: Suggestion, verdict: Verdict) -> str:
    """Return a decision as a JSON line that `read_decision_requests` reads, about the content that is shown.

    The line is ASCII, so that no character of a name can end it; bytes of a path that are not UTF-8 are escaped as
    lone surrogates.
    """
    photo, box = os.fspath(suggestion.path.absolute()), list(suggestion.match.box.rounded())
    shown = {"photo": photo, "concept": suggestion.match.name, "box": box, "content": suggestion.content_hash}
    return json.dumps({**shown, "verdict": verdict})


def _make_all(groups: Sequence[Group], pictures: Sequence[Picture], step: Callable[[], None]) -> dict[int, Made]:
    """Make all pictures of a page, by number."""
    thumbnails = Thumbnails(pictures)
    made: dict[int, Made] = {}
    for card in (c for g in groups for c in g.cards):
        made |= {n: thumbnails.get(n) for n in _numbers(card) if n not in made}
        step()
    thumbnails.close()
    return made


def _numbers(card: Card) -> tuple[int, ...]:
    return (card.crop, card.whole, card.enlarged, *(k.picture for k in card.known))
