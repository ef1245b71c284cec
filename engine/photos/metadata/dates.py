"""When a photo was taken, as cameras and programs write it into EXIF, XMP and IPTC."""

import re
from collections.abc import Iterable
from datetime import date, datetime

_DATE = re.compile(
    r"\s*(?P<year>\d{4})"
    r"(?:(?P<m>\d\d)(?P<d>\d\d)(?!\d)|[-:/. _]\s*(?P<month>\d\d?)(?:[-:/. _]\s*(?P<day>\d\d?))?|(?!\d))",
    re.ASCII,
)
"""A year; year and month; year, month and day, with any of the marks that programs put between them, or none."""
_TIME = re.compile(
    r"(?:\s*T\s*|[\s,:_-]+)(?P<hour>\d\d?)(?:(?P<mm>\d\d)(?P<ss>\d\d)?|[:.\-h](?P<minute>\d\d)(?:[:.\-m](?P<second>\d\d))?)"
    r"(?:[.,](?P<part>\d+))?(?!\d)\s*(?P<half>[ap]\.?m\b)?",
    re.IGNORECASE | re.ASCII,
)
_ZONE = re.compile(
    r"\s*(?:(?P<utc>Z)(?![a-z])|(?P<sign>[-+\u2212])(?P<hour>\d\d?)(?::?(?P<minute>\d\d))?(?!\d))",
    re.IGNORECASE | re.ASCII,
)
_FARTHEST = 14
"""Hours that a zone can be away from UTC."""
_FIRST_YEAR = 1000
"""Zero dates of programs lie before it: year 0, and 1, where .NET begins."""


def first_date(texts: Iterable[tuple[str, str]]) -> str | None:
    """The first of some dates, given as texts with their offsets ("" where they are not kept apart), that is one.

    Where it has no time of day, the first later one of the same day, month or year that has more of it.
    """
    found = (d for text, offset in texts if (d := read_date(text, offset)))
    first = next(found, None)
    if first is None or "T" in first:
        return first
    return next((d for d in found if d.startswith(first) and len(d) > len(first)), first)


def read_date(text: str, offset: str = "") -> str | None:
    """A date as ISO 8601: with the time of day, its fraction of a second and its offset from UTC as far as they are
    told, `2011-02-03T04:05:06.5+02:00`, `2011-02-03`, `2011-02`, `2011`. `offset` holds where the text has none itself.

    Read are EXIF's form and ISO 8601's, and what lies between: dashes, slashes or dots, T or a blank, or nothing at
    all. None for anything else, and for dates of blanks or zeros.
    """
    match = _DATE.match(text)
    if match is None:
        return None
    year = int(match["year"])
    month, day = (int(match[a] or match[b] or 0) for a, b in (("m", "month"), ("d", "day")))
    if year < _FIRST_YEAR:
        return None
    if not month or not day:
        return (f"{year}-{month:02}" if month else str(year)) if month <= 12 and not day else None
    try:
        whole = date(year, month, day).isoformat()
    except ValueError:
        return None
    return whole + _time(text[match.end() :], offset)


def naive(moment: str) -> datetime:
    """A date of `read_date` by the camera's clock; what it leaves open is the beginning of the day, month or year."""
    whole = moment if "T" in moment else f"{moment}-01-01"[:10]
    return datetime.fromisoformat(whole).replace(tzinfo=None)


def _time(text: str, offset: str) -> str:
    match = _TIME.match(text)
    if match is None:
        return ""
    hour, minute, second = (
        int(match[a] or match[b] or 0) for a, b in (("hour", "hour"), ("mm", "minute"), ("ss", "second"))
    )
    if match["minute"] is None and match["mm"] is None:
        return ""
    if match["half"] and 1 <= hour <= 12:
        hour = hour % 12 + (12 if match["half"][0] in "pP" else 0)
    hour = 0 if hour == 24 else hour  # phones that count the hours of a day from 1
    if hour > 23 or minute > 59 or second > 60:
        return ""
    part = f".{match['part'][:6]}" if match["part"] and match["part"].strip("0") else ""
    zone = read_zone(text[match.end() :]) or read_zone(offset)
    return f"T{hour:02}:{minute:02}:{min(second, 59):02}{part}{zone}"  # a leap second is told as the one before


def read_zone(text: str) -> str:
    """An offset from UTC, `+02:00`; "" where the text does not begin with one."""
    match = _ZONE.match(text)
    if match is None:
        return ""
    if match["utc"]:
        return "+00:00"
    hour, minute = int(match["hour"]), int(match["minute"] or 0)
    sign = "+" if match["sign"] == "+" else "-"
    return f"{sign}{hour:02}:{minute:02}" if hour <= _FARTHEST and minute <= 59 else ""
