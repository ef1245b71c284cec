"""Parse the date of a photo, in the forms that cameras and programs write into EXIF, XMP and IPTC."""

import re
from collections.abc import Iterable
from datetime import date, datetime

_DATE = re.compile(
    r"\s*(?P<year>\d{4})"
    r"(?:(?P<m>\d\d)(?P<d>\d\d)(?!\d)|[-:/. _]\s*(?P<month>\d\d?)(?:[-:/. _]\s*(?P<day>\d\d?))?|(?!\d))",
    re.ASCII,
)
"""A year; year and month; year, month and day; with any separators that programs use, or none."""
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
"""Largest offset from UTC, in hours."""
_FIRST_YEAR = 1000
"""Earlier years are zero dates of programs: year 0, and year 1, with which .NET begins."""


def first_date(texts: Iterable[tuple[str, str]]) -> str | None:
    """Return the first valid date; None if there is none. texts: dates with offsets ("" if not stored separately).

    If that date has no time of day, return the first later one of the same day, month or year that is more precise.
    """
    dates = (d for text, offset in texts if (d := read_date(text, offset)))
    first = next(dates, None)
    if first is None or "T" in first:
        return first
    return next((d for d in dates if d.startswith(first) and len(d) > len(first)), first)


def read_date(text: str, offset: str = "") -> str | None:
    """Convert a date to ISO 8601, as precise as it is given; None for anything else, and for dates of blanks or zeros.

    Results are `2011-02-03T04:05:06.5+02:00`, `2011-02-03`, `2011-02`, `2011`. Accepted are the forms of EXIF and ISO
    8601 and mixtures: dashes, slashes or dots, T or a blank, or no separators.

    offset: from UTC, used if the text has none itself.
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
    """Return a date of `read_date` by the camera's clock; missing parts are the beginning of the day, month or year."""
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
    hour = 0 if hour == 24 else hour  # some phones count the hours of a day from 1
    if hour > 23 or minute > 59 or second > 60:
        return ""
    part = f".{match['part'][:6]}" if match["part"] and match["part"].strip("0") else ""
    zone = read_zone(text[match.end() :]) or read_zone(offset)
    return f"T{hour:02}:{minute:02}:{min(second, 59):02}{part}{zone}"  # a leap second becomes the second before


def read_zone(text: str) -> str:
    """Return the offset from UTC at the beginning of a text, as `+02:00`; "" if there is none."""
    match = _ZONE.match(text)
    if match is None:
        return ""
    if match["utc"]:
        return "+00:00"
    hour, minute = int(match["hour"]), int(match["minute"] or 0)
    sign = "+" if match["sign"] == "+" else "-"
    return f"{sign}{hour:02}:{minute:02}" if hour <= _FARTHEST and minute <= 59 else ""
