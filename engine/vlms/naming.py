"""Tell a VLM by text who is in a photo, and check the names in what it writes.

Recognition decides who is there; the VLM is no judge of that (docs/recognition.md). So the prompt states the names, and
a text with a name that was not stated is not kept.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from engine.core.boxes import Box
from engine.core.class_words import ANIMALS, GENERIC, PEOPLE
from engine.core.types import Concept, Kind
from engine.vlms.config import VlmConfig, join_names
from engine.vlms.personalised import PersonalisedConcept, unwrap
from engine.vlms.prompt_config import BoxFormat, Naming
from engine.vlms.wording import count_faults, find_names, has_word, replace_words

_LEFT, _RIGHT, _UPPER, _LOWER = 0.36, 0.64, 0.3, 0.8
"""Where the left and right thirds and the upper and lower edge begin, for the centre of a box in parts of a side. Most
photos have their subject in the lower half of the middle, so that "lower" begins late."""
_BOX_FORMS: dict[BoxFormat, str] = {
    "xyxy-1000": ", bbox_2d [{x0}, {y0}, {x1}, {y1}]",
    "yxyx-1000": ", box_2d [{y0}, {x0}, {y1}, {x1}]",
}
"""How a box is told to a VLM that reads boxes, with coordinates in thousandths of the sides."""
_VERBS = "is|are|was|were|and|sits|stands|holds|smiles|wears|looks|lies|walks|runs|plays"
_NAMED = re.compile(
    r"\b(?:named|called|name is)\s+([A-Z][\w'’-]+)"
    rf"|\b(?!(?:in|at|from|near|on|to|the|an?|this|that|his|her|their)\b)[a-z]+,? ([A-Z][a-z]{{2,}})(?= (?:{_VERBS})\b)"
)
"""A capitalised word that a text introduces as a name, or uses as the subject within a sentence. A word behind a
preposition of place or an article is a place or a thing: "in Paris and", "the Louvre is"."""
_SENTENCE = re.compile(r"[^.!?。！？]*(?:[.!?。！？]+[\"'”’)\]」』]*\s*|$)")
_ARTICLE_BEFORE = re.compile(
    r"\b(?:an?|the|one|his|her|its|their|this|that|some|any|each)\s+(?:[a-z-]+\s+){0,2}$", re.IGNORECASE
)


def place_of(box: Box) -> str:
    """Return where the centre of a box is, in words such as "at the lower left". box: with sides of the photo as 1."""
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    across = "left" if x < _LEFT else "right" if x > _RIGHT else "middle"
    down = "upper " if y < _UPPER else "lower " if y > _LOWER else ""
    return "in the middle" if across == "middle" and not down else f"at the {down}{across}"


def class_word(concept: Concept) -> str:
    """Return the word for a concept's class; a general one becomes the word for its kind."""
    if concept.category not in GENERIC:
        return concept.category
    return {Kind.PERSON: "person", Kind.PET: "animal", Kind.THING: "object"}[concept.kind]


def state_names(config: VlmConfig, request: str, concepts: Sequence[PersonalisedConcept], *, boxes: bool = True) -> str:
    """Return a request with the facts about the concepts that the VLM is told of by name.

    boxes: whether the boxes are told, where the VLM reads boxes. Without such concepts, or for a VLM without a wording
    for them, the request is returned as it is.
    """
    naming = config.naming
    told = [c for c in concepts if c.box is not None]
    if naming is None or not told:
        return request
    form = config.chat.boxes if config.chat and boxes else "none"
    facts = [_fact(naming, form, n, c, c.box) for n, c in enumerate(told, 1) if c.box]
    names = join_names(tuple(c.identifier for c in unwrap(concepts)))
    return naming.prompt.format(facts=naming.separator.join(facts), request=request, names=names)


def insist(naming: Naming | None, request: str, concepts: Sequence[PersonalisedConcept]) -> str:
    """Return a request that insists on the names, for a second attempt; unchanged if none is told by text."""
    if naming is None or all(c.box is None for c in concepts):
        return request
    return request + naming.again.format(names=join_names(tuple(c.identifier for c in unwrap(concepts))))


def _fact(naming: Naming, form: BoxFormat, number: int, told: PersonalisedConcept, box: Box) -> str:
    x0, y0, x1, y1 = (round(1000 * min(1.0, max(0.0, v))) for v in (box.x0, box.y0, box.x1, box.y1))
    return naming.fact.format(
        number=number,
        name=told.concept.identifier,
        category=told.look or class_word(told.concept),
        place=place_of(box),
        box=_BOX_FORMS.get(form, "").format(x0=x0, y0=y0, x1=x1, y1=y1),
    )


@dataclass(frozen=True)
class NameRules:
    """What names a text may hold.

    enrolled: every display name in the store. allowed: further words that are no invented names, such as the photo's
    place. strict: whether names that the VLM made up are looked for, which only a large vocabulary needs. endings: as
    in `wording.has_word`.
    """

    enrolled: tuple[str, ...] = ()
    allowed: frozenset[str] = frozenset()
    strict: bool = False
    endings: int = 0

    def wrong_names(self, text: str, concepts: Sequence[Concept]) -> tuple[str, ...]:
        """Return the names in a text that must not be there: enrolled ones that were not recognised, and made-up ones.

        concepts: those that were recognised; their identifiers and display names are right.
        """
        right = {c.identifier for c in concepts} | {c.name for c in concepts}
        spans = find_names(text, right | set(self.enrolled))  # the longest name first: "Anna Maria" is not Anna
        foreign = [name for start, _, name in spans if name not in right and _is_name(text, start, name)]
        rest = replace_words(text, dict.fromkeys(right, "_"))
        made_up = [w for m in _NAMED.finditer(rest) for w in m.groups() if w] if self.strict else []
        known = self.allowed | set(foreign) | {part for name in right for part in name.split()}
        return tuple(dict.fromkeys([*foreign, *(w for w in made_up if w not in known)]))

    def count_faults(self, text: str, concepts: Sequence[Concept]) -> int:
        """Count the names that a text lacks, repeats in a sentence, or must not hold."""
        return count_faults(text, concepts, self.endings) + len(self.wrong_names(text, concepts))


def _is_name(text: str, start: int, name: str) -> bool:
    """Whether a word of a text is used as a name: capitalised, or in lower case without an article before it.

    "a mug" is a mug, also where a concept is called mug.
    """
    if not text[start : start + 1].islower():
        opens = not text[:start].strip() or text[:start].rstrip()[-1:] in ".!?"
        return not (opens and name.casefold() in PEOPLE | ANIMALS | GENERIC)
    return name == name.lower() and not _ARTICLE_BEFORE.search(text[:start])


def drop_sentences(text: str, words: Collection[str]) -> str:
    """Remove the sentences that hold any of some words."""
    if not words:
        return text
    kept = [s for s in _SENTENCE.findall(text) if not any(has_word(s, w) for w in words) and not find_names(s, words)]
    return "".join(kept).strip()


def words_of(texts: Iterable[str]) -> frozenset[str]:
    """Return the capitalised words of some texts, such as the parts of a place's name."""
    return frozenset(w for text in texts for w in re.findall(r"[A-Z][\w'’-]+", text))
