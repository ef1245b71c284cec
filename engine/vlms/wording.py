"""Names in text: identifiers to display names and back, and a class noun replaced by a name."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

from engine.core.text import UNSPACED

_DETERMINER = r"\b(?:an?|the|one|two|three|some|any|each|every|his|her|its|their|my|our|your|this|that|these|those)"
_ORDINARY = frozenset(
    """
    angel bear bill boots buddy chip coco cookie daisy dusty duke frank ginger grace guy hazel honey hope hunter ivy
    jack jade joy king lily lucky mark may misty olive oreo patch pearl penny pepper prince princess ray robin rocky
    rose ruby rusty shadow sky smokey snow spot star sunny teddy tiger violet will willow
    """.split()
)
"""Names that are words, too: in small letters they are not taken for identifiers."""
_SHORTEST = 3
"""Letters under which an identifier in small letters is taken for another word."""
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


def _titled(name: str) -> str:
    return name[:1].title() + name[1:]


def capitalise_openings(text: str, names: Iterable[str]) -> str:
    """The text with a capital where a name in small letters opens a sentence; others stay as their user spells them.

    >>> capitalise_openings("rex sleeps. Here is rex.", ["rex"])
    'Rex sleeps. Here is rex.'
    """
    small = sorted((n for n in names if n == n.lower()), key=len, reverse=True)
    if not small:
        return text
    pattern = "|".join(re.escape(n) for n in small)
    opening = r"(?:^|[.!?…][\"'”’)\]]*\s+)[\"'“‘(\[]*"
    return re.sub(rf"({opening})({pattern})(?!\w)", lambda m: m[1] + _titled(m[2]), text)


def replace_names(text: str, identifiers: Mapping[str, str]) -> str:
    """Replace display names by identifiers, whatever their case and Unicode form: for what users type.

    A text without any of the names comes back as it is.
    """
    spans = find_names(text, identifiers)
    if not spans:
        return text
    composed = unicodedata.normalize("NFC", text)
    parts, end = [], 0
    for start, stop, name in spans:
        parts += [composed[end:start], identifiers[name]]
        end = stop
    return "".join([*parts, composed[end:]])


def mentions(text: str, name: str) -> bool:
    """Whether a text holds a name, whatever its case and Unicode form."""
    return bool(find_names(text, [name]))


def find_names(text: str, names: Iterable[str]) -> list[tuple[int, int, str]]:
    """Find where a text holds names: start and end in the composed text (NFC), and the name. Of names that begin at one
    place the longest counts: "Rex II" is not Rex. Case, Unicode form, the form of apostrophes and the amount of white
    space do not count; a possessive ("Rex's", "James'") holds the name.
    """
    order = sorted((n for n in names if _folded(n)[0].strip()), key=lambda n: len(_folded(n)[0]), reverse=True)
    if not order:
        return []
    pattern = "|".join(f"({_bounded(_folded(n)[0])})" for n in order)
    folded, places = _folded(text)
    return [
        (places[m.start()], places[m.end() - 1] + 1, order[(m.lastindex or 1) - 1])
        for m in re.finditer(pattern, folded)
    ]


def _bounded(name: str) -> str:
    """A pattern for a folded name as a whole word; in scripts that put no spaces between words, anywhere."""
    words = name.split()
    before = "" if UNSPACED.match(words[0][0]) else r"(?<!\w)"
    after = "" if UNSPACED.match(words[-1][-1]) else r"(?!\w)"
    return before + r"\s+".join(map(re.escape, words)) + after


_SAME = str.maketrans({"ı": "i", "’": "'", "‘": "'", "ʼ": "'"})
"""Characters that are typed for one another: Turkish capitals of "i" and "ı" fold to one, apostrophes come in forms."""


def _folded(text: str) -> tuple[str, list[int]]:
    """A text without case, and for each of its characters the place in the composed text (NFC: macOS decomposes names)
    that it is of. The dot that folding leaves of "İ" is dropped, so that "ipek" finds "İpek".
    """
    pairs = [(f, i) for i, c in enumerate(unicodedata.normalize("NFC", text)) for f in c.casefold() if f != "\u0307"]
    return "".join(f for f, _ in pairs).translate(_SAME), [i for _, i in pairs]


def spell_identifiers(text: str, identifiers: Iterable[str]) -> str:
    """Give identifiers in a VLM's text the case in which it was told them: "SKS" and "Sks" are `sks`, "bob" is `Bob`.

    Small letters do not count for an identifier that is an ordinary word, or behind an article: "a bear" is a bear.
    """
    for identifier in identifiers:
        pattern = rf"({_DETERMINER}\s+)?(?<!\w)({re.escape(identifier)})(?!\w)"

        def spelled(found: re.Match[str], identifier: str = identifier) -> str:
            before, word = found[1] or "", found[2]
            is_name = identifier == identifier.lower() or word != word.lower()
            is_name = is_name or not (before or word in _ORDINARY or len(word) < _SHORTEST)
            return before + identifier if is_name else found[0]

        text = re.sub(pattern, spelled, text, flags=re.IGNORECASE)
    return text


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
