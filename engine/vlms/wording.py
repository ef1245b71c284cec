"""Names in text: identifiers to display names and back, and a class noun replaced by a name."""

import re
import unicodedata
from collections.abc import Mapping

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
    spelt = {_capital(word): value for word, value in words.items()} | dict(words)
    pattern = "|".join(_pattern(w) for w in sorted(words, key=len, reverse=True))
    return re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", lambda m: spelt[m[0]], text)


def _pattern(word: str) -> str:
    """A word as it stands, or with a capital where it opens a sentence: `sks`, `Sks`."""
    return rf"{re.escape(word)}|(?:^|(?<=[.!?] )){re.escape(_capital(word))}"


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def replace_names(text: str, identifiers: Mapping[str, str]) -> str:
    """Replace display names by identifiers, whatever their case and Unicode form: for what users type.

    A text without any of the names comes back as it is.
    """
    if not any(mentions(text, name) for name in identifiers):
        return text
    names = sorted(identifiers, key=len, reverse=True)
    pattern = "|".join(f"({re.escape(_composed(n))})" for n in names)

    def identifier(found: re.Match[str]) -> str:
        return identifiers[names[(found.lastindex or 1) - 1]]

    return re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", identifier, _composed(text), flags=re.IGNORECASE)


def mentions(text: str, name: str) -> bool:
    """Whether a text that a user typed holds a name, whatever its case and Unicode form."""
    pattern = rf"(?<!\w){re.escape(_composed(name))}(?!\w)"
    return re.search(pattern, _composed(text), re.IGNORECASE) is not None


def _composed(text: str) -> str:
    """NFC: macOS writes file names, and what is copied from them, decomposed."""
    return unicodedata.normalize("NFC", text)


def has_word(text: str, word: str) -> bool:
    """Whether a text holds a word or name as a whole, in this case or as it opens a sentence."""
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
