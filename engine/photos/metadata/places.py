"""Parse the place where a photo was taken, in the forms that cameras and programs write into EXIF and XMP."""

import re
from collections.abc import Sequence
from typing import Any

_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_SIGNS = {"N": 1, "S": -1, "E": 1, "W": -1}
_AXES = ("NS", "EW")


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
    return place_of(*(_read(text, axis) for text, axis in zip((latitude, longitude), _AXES, strict=True)))


def _read(text: str, axis: str) -> float | None:
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
