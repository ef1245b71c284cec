"""Parse when and where a photo was taken, in the forms that cameras and programs write into EXIF, XMP and IPTC."""

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

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
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_SIGNS = {"N": 1, "S": -1, "E": 1, "W": -1}
_AXES = ("NS", "EW")


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


def place_of(latitude: float | None, longitude: float | None) -> tuple[float, float] | None:
    """Return degrees as a place, rounded to six decimals.

    None if one is missing or out of range, and for (0, 0), which stands for an unknown place.
    """
    if latitude is None or longitude is None or not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    place = round(latitude, 6), round(longitude, 6)
    return None if place == (0.0, 0.0) else place


def place_of_exif(
    latitude: tuple[Sequence[Any], str], longitude: tuple[Sequence[Any], str]
) -> tuple[float, float] | None:
    """Convert EXIF's degrees, minutes and seconds with their references to a place (EXIF 2.32, 4.6.6).

    Minutes and seconds may be absent or 0/0. A negative number, which some programs write, means south or west whatever
    the reference says. Only the first letter of a reference counts; without one, only signed numbers give a place.
    """
    sums = [_sum(values) for values, _ in (latitude, longitude)]
    signs = [_sign(reference, axis) for (_, reference), axis in zip((latitude, longitude), _AXES, strict=True)]
    if any(s is None for s in sums):
        return None
    is_signed = any(s is not None and s < 0 for s in sums)
    degrees = [
        None if s is None else _signed(s, sign, is_signed=is_signed) for s, sign in zip(sums, signs, strict=True)
    ]
    return place_of(*degrees)


def place_of_xmp(latitude: str, longitude: str) -> tuple[float, float] | None:
    """Parse XMP's coordinates as a place.

    `54,19.5N` and `54,19,30N` (XMP Specification Part 2, 3.3), and what programs write instead: `54 deg 19' 30" N`, and
    degrees with a sign, `-54.325`.
    """
    return place_of(*(_coordinate(text, axis) for text, axis in zip((latitude, longitude), _AXES, strict=True)))


def _coordinate(text: str, axis: str) -> float | None:
    numbers = [float(n) for n in _NUMBER.findall(text[:100])]
    if not 1 <= len(numbers) <= 3 or any(n >= 60 for n in numbers[1:]):
        return None
    value = sum(n / unit for n, unit in zip(numbers, (1, 60, 3600), strict=False))
    stripped = text.strip()
    letter = re.search(rf"(?:^|[^A-Za-z])([{axis}])(?:orth|outh|ast|est)?$", stripped, re.IGNORECASE)
    if letter:
        return _SIGNS[letter[1].upper()] * value
    if re.fullmatch(r"[-+]?[\d.]+", stripped, re.ASCII):
        return -value if stripped.startswith("-") else value
    return None


def _sum(values: Sequence[Any]) -> float | None:
    """Add degrees, minutes and seconds; the result is negative if any part is. None if the degrees are unusable."""
    parts = []
    for k, (part, unit) in enumerate(zip(values, (1, 60, 3600), strict=False)):
        try:
            parts.append(float(part) / unit)
        except (ZeroDivisionError, TypeError, ValueError, OverflowError):
            if k == 0:
                return None
    if not parts:
        return None
    total = sum(map(abs, parts))
    return -total if any(p < 0 for p in parts) else total


def _sign(reference: str, axis: str) -> int | None:
    letter = reference.strip("\0 ")[:1].upper()
    return _SIGNS[letter] if letter and letter in axis else None


def _signed(value: float, sign: int | None, *, is_signed: bool) -> float | None:
    if value < 0:
        return value
    if sign is None:
        return value if is_signed else None
    return sign * value
