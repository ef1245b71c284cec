"""Find and replace names in text: identifiers by display names and back, and class nouns by names.

A caption is generated with identifiers, words that the VLM knows. Its missing and repeated names are found and repaired
here, too. Only texts are handled, no model.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from engine.core.class_words import nouns_of
from engine.core.text import UNSPACED
from engine.core.types import Concept

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
_MARKS = 0xE000
"""First of the private-use characters that stand for names until all identifiers are replaced."""


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


def spell_identifiers(text: str, identifiers: Iterable[str]) -> str:
    """Give identifiers in a VLM's text their own case: "SKS" and "Sks" become `sks`, "bob" becomes `Bob`.

    A lower-case word stays where it is an ordinary word, is shorter than 3 letters, or follows an article or another
    determiner: "a bear" is a bear, not the identifier `Bear`.
    """
    for identifier in identifiers:
        pattern = rf"({_DETERMINER}\s+)?(?<!\w)({re.escape(identifier)})(?!\w)"

        def spelled(match: re.Match[str], identifier: str = identifier) -> str:
            before, word = match[1] or "", match[2]
            is_name = identifier == identifier.lower() or word != word.lower()
            is_name = is_name or not (before or word in ORDINARY or len(word) < _SHORTEST)
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


def drop_repeats(text: str, name: str) -> str:
    """Remove the later mentions of a name in one list: "next to Rex and Anna and Rex" ends after Anna."""
    listed = re.compile(
        rf"((?:next to|beside|with|and) {re.escape(name)}(?!\w)[^.!?]*?),? and {re.escape(name)}(?![\w'’])"
    )
    while (shorter := listed.sub(r"\1", text)) != text:
        text = shorter
    return text


def first_with_identifier(concepts: Sequence[Concept]) -> list[int]:
    """Return the indices of the concepts that a VLM can be told of: the first one of each identifier.

    Where there are more concepts than identifiers, two may share one, and the VLM could not tell them apart.
    """
    first: dict[str, int] = {}
    for i, concept in enumerate(concepts):
        first.setdefault(concept.identifier, i)
    return list(first.values())


def find_missing(text: str, concepts: Sequence[Concept], *, inflected: bool = False) -> list[Concept]:
    """Return the concepts that a caption leaves out, and those that the VLM could not be told of.

    inflected: as in `has_word`.
    """
    speakable = set(first_with_identifier(concepts))
    return [
        c
        for i, c in enumerate(concepts)
        if i not in speakable or not has_word(_without_longer(text, c, concepts), c.identifier, inflected=inflected)
    ]


def _without_longer(text: str, concept: Concept, concepts: Sequence[Concept]) -> str:
    """Blank the longer identifiers that hold a concept's own: neither "Anna Maria" nor "Annas" names Anna."""
    word = concept.identifier
    longer = [c.identifier for c in concepts if c.identifier != word and has_word(c.identifier, word, inflected=True)]
    return replace_words(text, dict.fromkeys(longer, "_"))


def count_repeated(text: str, concepts: Sequence[Concept]) -> int:
    """Count the concepts whose identifier occurs twice in one sentence: "Rex, next to Rex".

    The caption is then wrong about one of two individuals. A possessive does not count: "Rex on Rex's bed".
    """
    return sum(_is_repeated(_without_longer(text, c, concepts), c.identifier) for c in concepts)


def _is_repeated(text: str, identifier: str) -> bool:
    pattern = re.compile(rf"(?<!\w){re.escape(identifier)}(?![\w'’])")
    return any(len(pattern.findall(sentence)) > 1 for sentence in re.split(r"[.!?](?:\s|$)", text))


def count_faults(text: str, concepts: Sequence[Concept], *, inflected: bool = False) -> int:
    """Count the concepts that a caption leaves out or names twice in one sentence. inflected: as in `has_word`."""
    return len(find_missing(text, concepts, inflected=inflected)) + count_repeated(text, concepts)


def drop_listed_repeats(text: str, concepts: Sequence[Concept]) -> str:
    """Remove identifiers that occur a second time in one list; those that are part of another one are left alone."""
    for concept in concepts:
        if _without_longer(text, concept, concepts) == text:
            text = drop_repeats(text, concept.identifier)
    return text


def to_display_names(text: str, concepts: Sequence[Concept]) -> str:
    """Replace identifiers by display names, capitalised at the start of a sentence."""
    speakable = [concepts[i] for i in first_with_identifier(concepts)]
    named = replace_words(text, {c.identifier: c.name for c in speakable})
    return capitalise_openings(named, [c.name for c in speakable])


def complete(
    text: str, concepts: Sequence[Concept], *, english: bool = True, inflected: bool = False
) -> tuple[str, tuple[str, ...]]:
    """Replace identifiers by display names and put missing names in; also returns the names that were put in.

    A missing name takes the place of the caption's only noun phrase with one of its class nouns ("a brown dog"). Where
    there is none or there are several, "Also here: NAME." is appended, or in other languages "(NAME)". inflected: as in
    `has_word`.
    """
    missing = {chr(_MARKS + i): concept for i, concept in enumerate(find_missing(text, concepts, inflected=inflected))}
    for mark, concept in missing.items():
        spans = noun_phrases(text, *nouns_of(concept.kind, concept.category)) if english else []
        also = f"{'Also here' if text.strip() else 'Here'}: {mark}." if english else f"({mark})"
        text = name_for_phrase(text, spans[0], mark) if len(spans) == 1 else f"{text.rstrip()} {also}".lstrip()
    text = to_display_names(text, concepts)
    for mark, concept in missing.items():
        text = text.replace(mark, concept.name)
    names = tuple(concept.name for concept in missing.values())
    return capitalise_openings(text, names), names
