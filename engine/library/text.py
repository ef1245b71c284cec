"""Fold texts in the same way for the index and for what is searched for."""

import unicodedata

from engine.core.text import UNSPACED, name_key


def storable(text: str) -> str:
    """Return a text without lone surrogates, which SQLite does not take; names of files may have them."""
    return text.encode("utf-8", "replace").decode()


def searchable(text: str) -> str:
    """Fold a text for the full-text index: NFC, case folded, characters of scripts without spaces as single words.

    SQLite's tokenizer `unicode61` takes a Chinese or Japanese sentence for one word; with spaces between its
    characters, a part of it is found as a phrase.
    """
    return UNSPACED.sub(r" \g<0> ", unicodedata.normalize("NFC", storable(text).casefold()))


def fold_name(name: str) -> str:
    """Fold a name so that two spellings of it are equal: `core.text.name_key` with white space as single spaces."""
    return " ".join(name_key(storable(name)).split())
