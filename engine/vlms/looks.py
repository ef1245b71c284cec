"""Tell a VLM what a named concept looks like, where its class word alone fits somebody else, too.

"Rex is the dog" does not say which of two dogs is Rex: the name then goes to the larger one. The VLM describes the crop
with Rex in it, and the request states that: "Rex is the striped red dog" (docs/experiments.md, "Names as text").
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from engine.core.boxes import Box
from engine.core.class_words import PEOPLE, nouns_of
from engine.core.types import Kind
from engine.vlms.naming import class_word
from engine.vlms.personalised import PersonalisedConcept
from engine.vlms.wording import has_word, noun_phrases, replace_words

_SEXED = frozenset({"man", "woman", "boy", "girl"})
_PLURALS = {"man": "men", "woman": "women", "person": "people", "child": "children"}
_MARGIN, _FACE_MARGIN = 1.5, 4.0
"""Side of a crop, in longer sides of the box: of a region, and of a person, whose box is that of the face. Chosen on
the storybook (docs/experiments.md, "Names as text")."""
_ARTICLE = re.compile(r"(?:an?|the|one|his|her|their|my|our|this|that)\s+", re.IGNORECASE)


def find_unsure(text: str, concepts: Sequence[PersonalisedConcept]) -> list[int]:
    """Return which of the concepts that a VLM is told of by text may have been mistaken for another of their class.

    They are those whose class word another of them has, or which the text uses for somebody beside them.
    """
    words = [class_word(c.concept) for c in concepts]
    names = [c.concept.identifier for c in concepts]
    return [
        i
        for i, c in enumerate(concepts)
        if c.box is not None and not c.look and (words.count(words[i]) > 1 or _mentions_another(text, c, names))
    ]


def _mentions_another(text: str, told: PersonalisedConcept, names: Sequence[str]) -> bool:
    """Tell whether a text has the name, and the class word for somebody else: not as in "Rex, a brown dog, is".

    names: of everybody who is told of; a concept called Mug is no mug.
    """
    if not has_word(text, told.concept.identifier):
        return False
    nouns = _nouns(told)
    rest = replace_words(text, dict.fromkeys(names, "_"))
    either = "|".join(map(re.escape, nouns))
    rest = re.sub(rf"_(?:,| is| was)? (?:an?|the) (?:[\w-]+ ){{0,3}}(?:{either})(?!\w)", "_", rest).lower()
    return any(has_word(rest, form) for noun in nouns for form in (noun, _PLURALS.get(noun, f"{noun}s")))


def _nouns(told: PersonalisedConcept) -> tuple[str, ...]:
    """Return the words for the concept's class; a man is no girl, but may be called a person."""
    word = class_word(told.concept)
    if told.concept.kind is not Kind.PERSON:
        return (word,)
    return (word,) if word in _SEXED else tuple(sorted(PEOPLE))


def cut_out(image: Image.Image, told: PersonalisedConcept) -> Image.Image:
    """Return the square part of an upright photo around a concept, as far as the photo reaches."""
    if told.box is None:
        raise ValueError("a concept without a box cannot be cut out")
    (width, height), b = image.size, told.box
    margin = _FACE_MARGIN if told.concept.kind is Kind.PERSON else _MARGIN
    half = margin * max((b.x1 - b.x0) * width, (b.y1 - b.y0) * height) / 2
    x, y = (b.x0 + b.x1) / 2 * width, (b.y0 + b.y1) / 2 * height
    x0, y0, x1, y1 = Box(x - half, y - half, x + half, y + half).clipped(width, height).rounded()
    return image.crop((x0, y0, max(x0 + 1, x1), max(y0 + 1, y1)))


def with_look(told: PersonalisedConcept, description: str) -> PersonalisedConcept:
    """Return a concept with its look, from a description of the crop; unchanged if that does not mention its class."""
    nouns = (class_word(told.concept), *nouns_of(told.concept.kind, told.concept.category))
    spans = noun_phrases(description, *nouns)
    if not spans:
        return told
    phrase = _ARTICLE.sub("", description[slice(*spans[0])], count=1)
    return replace(told, look=phrase)
