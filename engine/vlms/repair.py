"""Find which names a VLM's text lacks or repeats, put in what is missing, and give display names.

Only texts are handled, no model; `vlms/captions.py` decides when a text is generated again instead.
"""

import re
from collections.abc import Iterable, Sequence

from engine.core.class_words import nouns_of
from engine.core.types import Concept
from engine.vlms.wording import capitalise_openings, has_word, name_for_phrase, noun_phrases, replace_words

_MARKS = 0xE000
"""First of the private-use characters that stand for names until all identifiers are replaced."""


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


def _said_of(before: str, names: Iterable[str]) -> bool:
    """Whether a noun phrase with this text before it is said of somebody with one of these names."""
    either = "|".join(map(re.escape, names))
    return re.search(rf"(?<!\w)(?:{either})(?:,| is| was) $", before) is not None


def _appended(text: str, name: str, *, english: bool, listed: bool) -> str:
    """Append a name that a text leaves out."""
    if listed:
        return f"{text}, {name}" if text else name
    if not english:
        return f"{text} ({name})".lstrip()
    return f"{text} Also here: {name}." if text else f"Here: {name}."


def complete(
    text: str, concepts: Sequence[Concept], *, english: bool = True, listed: bool = False, inflected: bool = False
) -> tuple[str, tuple[str, ...]]:
    """Replace identifiers by display names and put missing names in; also returns the names that were put in.

    A missing name takes the place of the caption's only noun phrase with one of its class nouns ("a brown dog"), unless
    that is said of somebody else ("Rex, a brown dog"). Where there is none or there are several, "Also here: NAME." is
    appended, in other languages "(NAME)". listed: the text is a list of keywords, and a name is one more. inflected: as
    in `has_word`.
    """
    named = [c.identifier for c in concepts]
    missing = {chr(_MARKS + i): concept for i, concept in enumerate(find_missing(text, concepts, inflected=inflected))}
    for mark, concept in missing.items():
        spans = noun_phrases(text, *nouns_of(concept.kind, concept.category)) if english and not listed else []
        spans = [span for span in spans if not _said_of(text[: span[0]], (*named, *missing))]
        if len(spans) == 1:
            text = name_for_phrase(text, spans[0], mark)
        else:
            text = _appended(text.rstrip(), mark, english=english, listed=listed)
    text = to_display_names(text, concepts)
    for mark, concept in missing.items():
        text = text.replace(mark, concept.name)
    names = tuple(concept.name for concept in missing.values())
    return capitalise_openings(text, names), names
