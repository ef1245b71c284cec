"""Names in text: identifiers to display names and back, and a class noun replaced by a name."""

import re
from collections.abc import Mapping

_ARTICLES = r"(?:an?|the|one|his|her|their|my|our|this|that)"
_TAIL = r"(?: with (?:[\w-]+ ){0,3}(?:hair|fur|stripes|spots|patches))?"
_MODIFIER = r"(?!(?:is|are|was|with|and|on|in|at|of|by|to|next|near|that|who|for|sits|stands|lies)\b)[\w-]+\s+"


def replace_words(text: str, words: Mapping[str, str]) -> str:
    """Replace whole words, longest first, in one pass (so a name that is another's identifier is safe).

    >>> replace_words("sks and Bob's hat", {"sks": "Rex", "Bob": "Anna"})
    "Rex and Anna's hat"
    """
    if not words:
        return text
    pattern = "|".join(re.escape(w) for w in sorted(words, key=len, reverse=True))
    return re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", lambda m: words[m[0]], text)


def replace_names(text: str, identifiers: Mapping[str, str]) -> str:
    """Replace display names by identifiers, whatever their case: for questions that users type."""
    if not identifiers:
        return text
    by_key = {name.casefold(): identifier for name, identifier in identifiers.items()}
    pattern = "|".join(re.escape(n) for n in sorted(identifiers, key=len, reverse=True))
    return re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", lambda m: by_key[m[0].casefold()], text, flags=re.IGNORECASE)


def has_word(text: str, word: str) -> bool:
    """Whether a text holds a word or name as a whole, in this very case."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def noun_phrases(text: str, noun: str) -> list[tuple[int, int]]:
    """Where a class noun stands with its article and adjectives: spans like "a striped red dog"."""
    pattern = rf"\b{_ARTICLES}\s+(?:{_MODIFIER}){{0,4}}?{re.escape(noun)}\b{_TAIL}"
    return [m.span() for m in re.finditer(pattern, text, re.IGNORECASE)]


def name_for_phrase(text: str, span: tuple[int, int], name: str) -> str:
    """The text with one phrase replaced by a name."""
    return text[: span[0]] + name + text[span[1] :]
