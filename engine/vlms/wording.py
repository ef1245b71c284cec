"""Names in text: identifiers to display names and back, and a class noun replaced by a name."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

_ARTICLES = r"(?:an?|the|one|his|her|their|my|our|this|that)"
_TAIL = r"(?: with (?:[\w-]+ ){0,3}(?:hair|fur|stripes|spots|patches))?"
_ENDS = r"is|are|was|with|and|in|on|at|of|by|to|next|near|that|who|sits|stands|lies|\w+ing"
_MODIFIER = r"(?!(?:is|are|was|with|and|on|in|at|of|by|to|next|near|that|who|for|sits|stands|lies)\b)[\w-]+\s+"


def replace_words(text: str, words: Mapping[str, str]) -> str:
    """Replace whole words, longest first, in one pass (so a name that is another's identifier is safe).

    >>> replace_words("sks and Bob's hat", {"sks": "Rex", "Bob": "Anna"})
    "Rex and Anna's hat"
    """
    if not words:
        return text
    order = sorted(words, key=len, reverse=True)
    pattern = "|".join(f"({_pattern(w)})" for w in order)
    return re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", lambda m: words[order[(m.lastindex or 1) - 1]], text)


def _pattern(word: str) -> str:
    """A word as it stands, in capitals, or with a capital where it opens a sentence: `sks`, `SKS`, `Sks`. A name with a
    capital is not found in small letters: "a bear" is not the identifier `Bear`.
    """
    shouted = rf"|{re.escape(word.upper())}" if len(word) > 1 else ""
    return rf"{re.escape(word)}|(?:^|(?<=[.!?] )){re.escape(_capital(word))}{shouted}"


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def capitalise_openings(text: str, names: Iterable[str]) -> str:
    """The text with a capital where a name in small letters opens a sentence; others stay as their user spells them.

    >>> capitalise_openings("rex sleeps. Here is rex.", ["rex"])
    'Rex sleeps. Here is rex.'
    """
    small = sorted((n for n in names if n == n.lower()), key=len, reverse=True)
    if not small:
        return text
    pattern = "|".join(re.escape(n) for n in small)
    return re.sub(rf"(^|[.!?][\"'”’)]*\s+)({pattern})(?!\w)", lambda m: m[1] + _capital(m[2]), text)


def replace_names(text: str, identifiers: Mapping[str, str]) -> str:
    """Replace display names by identifiers, whatever their case and Unicode form: for what users type.

    A text without any of the names comes back as it is.
    """
    if not any(mentions(text, name) for name in identifiers):
        return text
    names = sorted(identifiers, key=len, reverse=True)
    pattern = "|".join(f"({re.escape(_folded(n)[0])})" for n in names)
    composed = unicodedata.normalize("NFC", text)
    folded, places = _folded(text)
    parts, end = [], 0
    for found in re.finditer(rf"(?<!\w)(?:{pattern})(?!\w)", folded):
        parts += [composed[end : places[found.start()]], identifiers[names[(found.lastindex or 1) - 1]]]
        end = places[found.end() - 1] + 1
    return "".join([*parts, composed[end:]])


def mentions(text: str, name: str) -> bool:
    """Whether a text holds a name, whatever its case and Unicode form."""
    return re.search(rf"(?<!\w){re.escape(_folded(name)[0])}(?!\w)", _folded(text)[0]) is not None


def _folded(text: str) -> tuple[str, list[int]]:
    """A text without case, and for each of its characters the place in the composed text (NFC: macOS decomposes names)
    that it is of. The dot that folding leaves of "İ" is dropped, so that "ipek" finds "İpek".
    """
    pairs = [(f, i) for i, c in enumerate(unicodedata.normalize("NFC", text)) for f in c.casefold() if f != "\u0307"]
    return "".join(f for f, _ in pairs), [i for _, i in pairs]


def has_word(text: str, word: str) -> bool:
    """Whether a text holds a word or name as a whole: as it stands, in capitals, or as it opens a sentence."""
    return re.search(rf"(?<!\w)(?:{_pattern(word)})(?!\w)", text) is not None


def noun_phrases(text: str, *nouns: str) -> list[tuple[int, int]]:
    """Where a class noun stands with its article and adjectives: spans like "a striped red dog"."""
    if not nouns:
        return []
    either = "|".join(re.escape(n) for n in sorted(nouns, key=len, reverse=True))
    pattern = rf"\b{_ARTICLES}\s+(?:{_MODIFIER}){{0,4}}?(?:{either})\b{_TAIL}"
    return [m.span() for m in re.finditer(pattern, text, re.IGNORECASE)]


def first_noun(text: str) -> str | None:
    """The noun of a text's first noun phrase: "A striped red dog is asleep." speaks of a "dog"."""
    found = re.search(rf"\b{_ARTICLES}\s+((?:[\w-]+\s+){{0,4}}?[\w-]+)(?=\s+(?:{_ENDS})\b|[.,]|$)", text, re.IGNORECASE)
    return found[1].split()[-1].lower() if found else None


def name_for_phrase(text: str, span: tuple[int, int], name: str) -> str:
    """The text with one phrase replaced by a name."""
    return text[: span[0]] + name + text[span[1] :]


def drop_repeats(text: str, name: str) -> str:
    """The text without the later mentions of a name in one list: "next to Rex and Anna and Rex" says no more."""
    listed = re.compile(
        rf"((?:next to|beside|with|and) {re.escape(name)}(?!\w)[^.!?]*?),? and {re.escape(name)}(?![\w'’])"
    )
    while (shorter := listed.sub(r"\1", text)) != text:
        text = shorter
    return text
