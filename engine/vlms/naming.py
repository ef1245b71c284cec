"""Tell a VLM by text who is in a photo.

Recognition decides who is there; the VLM is no judge of that (docs/recognition.md). So the prompt states the names, and
`vlms/name_rules.py` checks those in the text.
"""

from collections.abc import Sequence

from engine.core.boxes import Box
from engine.core.class_words import GENERIC
from engine.core.types import Concept, Kind
from engine.vlms.config import VlmConfig, join_names
from engine.vlms.personalised import PersonalisedConcept, unwrap
from engine.vlms.prompt_config import BoxFormat, Naming

_LEFT, _RIGHT, _UPPER, _LOWER = 0.36, 0.64, 0.3, 0.8
"""Where the left and right thirds and the upper and lower edge begin, for the centre of a box in parts of a side. A
judgement: the middle is wide, and "lower" begins late."""
_BOX_FORMS: dict[BoxFormat, str] = {
    "xyxy-1000": ", bbox_2d [{x0}, {y0}, {x1}, {y1}]",
    "yxyx-1000": ", box_2d [{y0}, {x0}, {y1}, {x1}]",
}
"""How a box is told to a VLM that reads boxes, with coordinates in thousandths of the sides."""


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
