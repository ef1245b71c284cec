"""The concepts that a VLM is told of in one photo: by an embedding, by name in the prompt, or both."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.core.boxes import Box
from engine.core.text import UNSPACED
from engine.core.types import Concept, Kind
from engine.vlms.clean_text import clean_text
from engine.vlms.prompt_config import Naming
from engine.vlms.repair import first_with_identifier


@dataclass(frozen=True)
class PersonalisedConcept:
    """A concept that was recognised in a photo, and how the VLM is told of it; at least one of the two ways is there.

    concept: its `identifier` is the word that the VLM's text uses for it.
    vector: its embedding, (1, D) float32, or (R, D) for an imported concept with several rows; None without.
    box: where it is, with sides of the photo as 1; None where the prompt does not tell of it.
    look: the words that the prompt uses in place of its class word, such as "striped red dog"; "" for the class word.
    """

    concept: Concept
    vector: np.ndarray | None = None
    box: Box | None = None
    look: str = ""


@dataclass(frozen=True)
class GeneratedCaption:
    """A generated caption or answer.

    text: with display names. raw: the VLM's own text with identifiers, without names that one list has twice.
    repaired: the names that were put in, because the VLM left them out or gave them to two individuals.
    removed: the names that were taken out: those of concepts that were not recognised, and names that the VLM made up.
    capped: whether the VLM reached the token limit, so that the unfinished end of its text was left out.
    """

    text: str
    raw: str
    repaired: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    capped: bool = False


def tell_by_name(concept: Concept, box: Box, naming: Naming) -> PersonalisedConcept:
    """Tell the VLM of a concept by its name alone. box: with sides of the photo as 1.

    A VLM with a small vocabulary is told the identifier; display names take its place after decoding. The name of a
    person or pet is told with a capital, however the user spells it, so that "dawn" in the text is no Dawn.
    """
    word = name_for_prompt(concept.name) if naming.word == "name" else concept.identifier
    if naming.word == "name" and concept.kind is not Kind.THING:
        word = word[:1].upper() + word[1:]
    return PersonalisedConcept(replace(concept, identifier=word or concept.identifier), None, box)


def name_for_prompt(name: str) -> str:
    """Return a display name without special tokens, control characters and braces, as one line."""
    return clean_text(unicodedata.normalize("NFC", name).replace("{", " ").replace("}", " "))


def distinct(concepts: Sequence[PersonalisedConcept]) -> list[PersonalisedConcept]:
    """Give concepts that are told by name a word of their own.

    Where a display name is also another concept's word, such as an embedding's identifier "Bob" beside a friend Bob,
    the VLM is told the name with its class word: "Bob the man". Of two that remain the same, the first is told of.
    """
    words = [c.concept.identifier for c in concepts]
    told = []
    for known in concepts:
        word = known.concept.identifier
        if known.vector is None and words.count(word) > 1 and not UNSPACED.search(word):
            concept = replace(known.concept, identifier=f"{word} the {known.concept.category}")
            known = replace(known, concept=concept)
        told.append(known)
    return told


def speakable(concepts: Sequence[PersonalisedConcept]) -> list[PersonalisedConcept]:
    """Return the concepts that the VLM is told of: the first one of each identifier."""
    return [concepts[i] for i in first_with_identifier(unwrap(concepts))]


def unwrap(concepts: Sequence[PersonalisedConcept]) -> list[Concept]:
    """Return the concepts themselves."""
    return [c.concept for c in concepts]
