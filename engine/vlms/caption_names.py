"""Check and repair the names in a generated caption: missing names, repeated names, identifiers to display names.

A caption is generated with identifiers, words that the VLM knows. Only texts are handled here, no model.
"""

import re
from collections.abc import Sequence

from engine.core.class_words import nouns_of
from engine.core.types import Concept
from engine.vlms.wording import (
    capitalise_openings,
    drop_repeats,
    has_word,
    name_for_phrase,
    noun_phrases,
    replace_words,
)

_MARKS = 0xE000
"""First of the private-use characters that stand for names until all identifiers are replaced."""


def first_with_identifier(concepts: Sequence[Concept]) -> list[int]:
    """Return the indices of the concepts that a VLM can be told of: the first one of each identifier.

    Where there are more concepts than identifiers, two may share one, and the VLM could not tell them apart.
    """
    first: dict[str, int] = {}
    for i, concept in enumerate(concepts):
        first.setdefault(concept.identifier, i)
    return list(first.values())


def find_missing(text: str, concepts: Sequence[Concept]) -> list[Concept]:
    """Return the concepts that a caption leaves out, and those that the VLM could not be told of."""
    speakable = set(first_with_identifier(concepts))
    return [c for i, c in enumerate(concepts) if i not in speakable or not has_word(text, c.identifier)]


def count_repeated(text: str, concepts: Sequence[Concept]) -> int:
    """Count the concepts whose identifier occurs twice in one sentence: "Rex, next to Rex".

    The caption is then wrong about one of two individuals. A possessive does not count: "Rex on Rex's bed".
    """
    sentences = re.split(r"[.!?](?:\s|$)", text)
    patterns = [re.compile(rf"(?<!\w){re.escape(c.identifier)}(?![\w'’])") for c in concepts]
    return sum(any(len(pattern.findall(sentence)) > 1 for sentence in sentences) for pattern in patterns)


def count_faults(text: str, concepts: Sequence[Concept]) -> int:
    """Count the concepts that a caption leaves out or names twice in one sentence."""
    return len(find_missing(text, concepts)) + count_repeated(text, concepts)


def drop_listed_repeats(text: str, concepts: Sequence[Concept]) -> str:
    """Remove identifiers that occur a second time in one list."""
    for concept in concepts:
        text = drop_repeats(text, concept.identifier)
    return text


def to_display_names(text: str, concepts: Sequence[Concept]) -> str:
    """Replace identifiers by display names, capitalised at the start of a sentence."""
    speakable = [concepts[i] for i in first_with_identifier(concepts)]
    named = replace_words(text, {c.identifier: c.name for c in speakable})
    return capitalise_openings(named, [c.name for c in speakable])


def complete(text: str, concepts: Sequence[Concept]) -> tuple[str, tuple[str, ...]]:
    """Replace identifiers by display names and put missing names in; also returns the names that were put in.

    A missing name takes the place of the caption's only noun phrase with one of its class nouns ("a brown dog"). Where
    there is none or there are several, "Also here: NAME." is appended.
    """
    missing = {chr(_MARKS + i): concept for i, concept in enumerate(find_missing(text, concepts))}
    for mark, concept in missing.items():
        spans = noun_phrases(text, *nouns_of(concept.kind, concept.category))
        text = name_for_phrase(text, spans[0], mark) if len(spans) == 1 else f"{text.rstrip()} Also here: {mark}."
    text = to_display_names(text, concepts)
    for mark, concept in missing.items():
        text = text.replace(mark, concept.name)
    names = tuple(concept.name for concept in missing.values())
    return capitalise_openings(text, names), names
