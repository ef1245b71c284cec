"""Small pieces of English for messages."""

from collections.abc import Sequence


def count(n: int, noun: str) -> str:
    """Return a number with its noun.

    >>> count(1, "photo"), count(2, "photo")
    ('1 photo', '2 photos')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Return names as they are listed in a sentence.

    >>> listed(["Anna", "Max", "Rex"])
    'Anna, Max and Rex'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def rounded(value: float | None) -> float | None:
    """Round a number for JSON to four decimals; None stays None."""
    return None if value is None else round(value, 4)
