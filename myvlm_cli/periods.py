"""Read years, months, days and moments for --since and --until."""

import re
from datetime import datetime, timedelta

from engine.core.errors import UsageError
from myvlm_cli.given import read_day

_YEAR_OR_MONTH = re.compile(r"(\d{4})(?:-(\d{2}))?$")


def read_since(text: str) -> str:
    """Return the beginning of a year, month or day, or a moment, as ISO 8601 without an offset.

    Raises:
        UsageError: the text is none of these.
    """
    period = _month(text, "--since")
    if period is not None:
        return _iso(period[0])
    return _iso(read_day(text, option="--since", after=False))


def read_until(text: str) -> str:
    """Return the end of a year, month or day, or a moment, as ISO 8601; it is not part of the period itself.

    Raises:
        UsageError: the text is none of these.
    """
    period = _month(text, "--until")
    if period is not None:
        return _iso(period[1])
    return _iso(read_day(text, option="--until", after=True))


def _month(text: str, option: str) -> tuple[datetime, datetime] | None:
    """Return the first moment of a year or month, and that of the next one; None for other texts."""
    match = _YEAR_OR_MONTH.match(text)
    if match is None:
        return None
    year, month = int(match[1]), int(match[2] or 1)
    try:
        first = datetime(year, month, 1)
        last = datetime(year, month if match[2] else 12, 28) + timedelta(days=4)  # a day of the next month
    except ValueError as err:
        raise UsageError(f"{option}: {text!r} is not a year or month", hint="Example: 2024-06.") from err
    return first, last.replace(day=1)


def _iso(moment: datetime | None) -> str:
    assert moment is not None  # `read_day` returns None for None only
    return moment.replace(tzinfo=None).isoformat()
