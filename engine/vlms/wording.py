"""Find and replace names in text: identifiers by display names and back, and class nouns by names.

A caption is generated with identifiers, words that the VLM knows. Only texts are handled, no model.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping

from engine.core.text import UNSPACED

_DETERMINER = r"\b(?:an?|the|one|two|three|some|any|each|every|his|her|its|their|my|our|your|this|that|these|those)"
ORDINARY = frozenset(
    """
    amber angel april ash august autumn basil bean bear bill biscuit blaze boots brook buddy button caramel cherry chip
    christian cinder clay cliff coco cookie crystal daisy dawn destiny dusk dusty duke faith fern fluffy forest frank
    ginger glen grace grant guy harmony hazel heather holly honey hope hunter iris ivy jack jade jasmine joy june king
    lily lucky mark may melody misty mittens mocha muffin olive oreo patch peanut pearl penny pepper pickle poppy prince
    princess pumpkin rain ray reed river robin rocky rose rosemary ruby rusty sage sandy shadow sky smokey snow snowy
    socks sooty spot spotty spring star stone storm stormy summer sunny teddy tiger toffee violet whiskers will willow
    winter
    """.split()
)
"""Names that are also words: in lower case they are not read as identifiers."""
_SHORTEST = 3
"""A capitalised identifier with fewer letters than this is not recognised in lower case."""
_ARTICLES = r"(?:an?|the|one|his|her|their|my|our|this|that)"
_TAIL = r"(?: with (?:[\w-]+ ){0,3}(?:hair|fur|stripes|spots|patches))?"
_ENDS = r"is|are|was|with|and|in|on|at|of|by|to|next|near|that|who|sits|stands|lies|\w+ing"
_MODIFIER = r"(?!(?:is|are|was|with|and|on|in|at|of|by|to|next|near|that|who|for|sits|stands|lies)\b)[\w-]+\s+"
_BEFORE = rf"(?<![^\W{UNSPACED.pattern[1:-1]}])"
_AFTER = rf"(?![^\W{UNSPACED.pattern[1:-1]}])"
"""Borders of a word: beside it stands no letter, digit or underscore but those of scripts without spaces."""
_ENDINGS = "|".join(
    "lla llä lle lta ltä ssa ssä sta stä ban ben nak nek val vel iem owi ovi iä ia in en an es em om ou ie ta tä na nä"
    " et at ot ów ra re ey s n a e i o u y ą ę ä t".split()
)
"""Endings of names in Germanic, Romance, Slavic, Baltic and Uralic languages, the longer ones first."""


def replace_words(text: str, words: Mapping[str, str]) -> str:
    """Replace whole words, longest first, in one pass, so that a new word is not replaced again.

    >>> replace_words("sks and Bob's hat", {"sks": "Rex", "Bob": "Anna"})
    "Rex and Anna's hat"
    """
    if not words:
        return text
    order = sorted(words, key=len, reverse=True)
    pattern = "|".join(f"({_pattern(w)})" for w in order)
    return re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", lambda m: words[order[(m.lastindex or 1) - 1]], text)


def _pattern(word: str) -> str:
    """Return a pattern for a word as it is spelled, in upper case, and capitalised at the start of a sentence.

    `sks` also matches `SKS` and `Sks`. A name with a capital does not match in lower case: "a bear" is not the
    identifier `Bear`.
    """
    upper = rf"|{re.escape(word.upper())}" if len(word) > 1 else ""
    return rf"{re.escape(word)}|(?:^|(?<=[.!?] )){re.escape(_capital(word))}{upper}"


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def _titled(name: str) -> str:
    return name[:1].title() + name[1:]


def capitalise_openings(text: str, names: Iterable[str]) -> str:
    """Capitalise lower-case names at the start of a sentence; elsewhere they stay as the user spells them.

    >>> capitalise_openings("rex sleeps. Here is rex.", ["rex"])
    'Rex sleeps. Here is rex.'
    """
    lower_case = sorted((n for n in names if n == n.lower()), key=len, reverse=True)
    if not lower_case:
        return text
    pattern = "|".join(re.escape(n) for n in lower_case)
    opening = r"(?:^|[.!?…][\"'”’)\]]*\s+)[\"'“‘(\[]*"
    return re.sub(rf"({opening})({pattern})(?!\w)", lambda m: m[1] + _titled(m[2]), text)


def replace_names(text: str, identifiers: Mapping[str, str]) -> str:
    """Replace display names by identifiers, ignoring case and Unicode form, in text that users type.

    A text without any of the names is returned unchanged.
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
    """Return whether a text holds a name, ignoring case and Unicode form."""
    return bool(find_names(text, [name]))


def find_names(text: str, names: Iterable[str], *, inflected: bool = False) -> list[tuple[int, int, str]]:
    """Find names in a text: returns start and end in the composed text (NFC), and the name, for each occurrence.

    Where several names begin at one place, the longest is found: "Rex II" is not Rex. Case, Unicode form, the form of
    apostrophes and the amount of white space are ignored; a possessive ("Rex's", "James'") holds the name. inflected:
    names may have an ending, such as the Finnish "Rexin".
    """
    order = sorted((n for n in names if _folded(n)[0].strip()), key=lambda n: len(_folded(n)[0]), reverse=True)
    if not order:
        return []
    pattern = "|".join(f"({_bounded(_folded(n)[0], inflected=inflected)})" for n in order)
    folded, places = _folded(text)
    return [
        (places[m.start()], places[m.end() - 1] + 1, order[(m.lastindex or 1) - 1])
        for m in re.finditer(pattern, folded)
    ]


def _bounded(name: str, *, inflected: bool) -> str:
    """Return a pattern for a folded name as a whole word; in scripts without spaces between words, anywhere."""
    words = name.split()
    before = "" if UNSPACED.match(words[0][0]) else r"(?<!\w)"
    after = "" if UNSPACED.match(words[-1][-1]) else r"(?!\w)"
    ending = f"(?:{_ENDINGS})?" if inflected and after else ""
    return before + r"\s+".join(map(re.escape, words)) + ending + after


_SAME = str.maketrans({"ı": "i", "’": "'", "‘": "'", "ʼ": "'"})
"""Characters that are typed for one another: Turkish "ı" and "i", and the forms of the apostrophe."""


def _folded(text: str) -> tuple[str, list[int]]:
    """Fold the case of a text; also returns, for each folded character, its index in the composed text (NFC).

    Composing matters because macOS decomposes file names. Folding "İ" leaves a combining dot, which is dropped, so
    that "ipek" finds "İpek".
    """
    pairs = [(f, i) for i, c in enumerate(unicodedata.normalize("NFC", text)) for f in c.casefold() if f != "\u0307"]
    return "".join(f for f, _ in pairs).translate(_SAME), [i for _, i in pairs]


def spell_identifiers(text: str, identifiers: Iterable[str], *, lower_case: bool = True) -> str:
    """Give identifiers in a VLM's text their own case and apostrophe: "SKS" becomes `sks`, "bob" becomes `Bob`.

    A lower-case word stays where it is an ordinary word, is shorter than 3 letters, or follows an article or another
    determiner: "a bear" is a bear, not the identifier `Bear`. lower_case: False leaves all lower-case words as they
    are, because the VLM was told a display name, and "dawn" is not Dawn.
    """
    for identifier in identifiers:
        spelling = re.sub("['’‘ʼ]", "['’‘ʼ]", re.escape(identifier))
        pattern = rf"({_DETERMINER}\s+)?(?<!\w)({spelling})(?!\w)"

        def spelled(match: re.Match[str], identifier: str = identifier) -> str:
            before, word = match[1] or "", match[2]
            is_name = identifier == identifier.lower() or word != word.lower()
            is_name = is_name or (lower_case and not (before or word in ORDINARY or len(word) < _SHORTEST))
            return before + identifier if is_name else match[0]

        text = re.sub(pattern, spelled, text, flags=re.IGNORECASE)
    return text


def has_word(text: str, word: str, *, inflected: bool = False) -> bool:
    """Return whether a text holds a whole word or name: as spelled, in upper case, or capitalised after a full stop.

    inflected: names may have an ending ("Rexin", "Annas"). Characters of scripts without spaces between words end a
    word of another script.
    """
    suffix = f"(?:{_ENDINGS})?" if inflected else ""
    return re.search(rf"{_BEFORE}(?:{_pattern(word)}){suffix}{_AFTER}", text) is not None


def noun_phrases(text: str, *nouns: str) -> list[tuple[int, int]]:
    """Find class nouns with their article and adjectives: returns spans of phrases like "a striped red dog"."""
    if not nouns:
        return []
    either = "|".join(re.escape(n) for n in sorted(nouns, key=len, reverse=True))
    pattern = rf"\b{_ARTICLES}\s+(?:{_MODIFIER}){{0,4}}?(?:{either})\b{_TAIL}"
    return [m.span() for m in re.finditer(pattern, text, re.IGNORECASE)]


def first_noun(text: str) -> str | None:
    """Return the noun of a text's first noun phrase: "dog" for "A striped red dog is asleep."; None without one."""
    match = re.search(rf"\b{_ARTICLES}\s+((?:[\w-]+\s+){{0,4}}?[\w-]+)(?=\s+(?:{_ENDS})\b|[.,]|$)", text, re.IGNORECASE)
    return match[1].split()[-1].lower() if match else None


def name_for_phrase(text: str, span: tuple[int, int], name: str) -> str:
    """Replace one phrase of a text by a name."""
    return text[: span[0]] + name + text[span[1] :]
