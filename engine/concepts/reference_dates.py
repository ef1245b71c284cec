"""When a person's reference photos were taken, kept beside the templates that were made of them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.concepts.reference_crops import ReferenceCrop


def dates_of(views: Sequence["ReferenceCrop"]) -> dict[str, str]:
    """When the photos of some views were taken, as facts of a head: `content=date`; unknown ones are left out."""
    known = {v.reference.content_hash: v.taken for v in views if v.taken}
    return {"taken": join_dates(known)} if known else {}


def join_dates(dates: Mapping[str, str]) -> str:
    """The dates of photos by content as one text; see `read_dates`."""
    return " ".join(f"{content}={taken}" for content, taken in sorted(dates.items()))


def read_dates(facts: Mapping[str, object]) -> dict[str, str]:
    """When a head's reference photos were taken, ISO 8601 by content, from its facts; heads of before do not tell."""
    pairs = (item.partition("=") for item in str(facts.get("taken", "")).split())
    return {content: taken for content, _, taken in pairs}
