"""Choose the colour of a concept: the same in drawings, in the contact sheet and on every page."""

import hashlib

from engine.core.text import name_key

COLOURS = (
    "#cf386b",
    "#027ab4",
    "#b75901",
    "#8459db",
    "#058623",
    "#c53d8e",
    "#07808a",
    "#d33b32",
    "#476ae4",
    "#926e02",
    "#af48b7",
    "#6b7b00",
)
"""Twelve hues of OKLCH with a relative luminance of 0.172 (WCAG 2.2): white text on them has a contrast of 4.7, and
they have one of 4.7 on white and 3.3 on the pages' dark cards."""


def colour_number(name: str) -> int:
    """Return the place of a concept's colour in `COLOURS`; two spellings of a name have one colour.

    It depends on the name alone, so that pages made from sidecars agree with those made from the store.
    """
    return int.from_bytes(hashlib.sha256(name_key(name).encode("utf-8", "surrogatepass")).digest()[:4]) % len(COLOURS)


def colour_of(name: str) -> str:
    """Return a concept's colour as #rrggbb."""
    return COLOURS[colour_number(name)]
