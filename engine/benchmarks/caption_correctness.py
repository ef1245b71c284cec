"""What is right and wrong in a caption, given what its photo shows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.benchmarks.cases import CONCEPT, Truth, truth_of
from engine.storybook.world.attributes import OBJECTS, PEOPLE
from engine.storybook.world.language import PLACE_PHRASES
from engine.vlms.wording import has_word, noun_phrases, replace_words

SORTS = ("place", "object", "companion")


@dataclass(frozen=True)
class Shown:
    """A validation photo of a concept, as tables see it."""

    concept: str
    kind: str | None
    category: str
    keywords: tuple[str, ...]
    context: tuple[tuple[str, str], ...]
    truth: Truth

    @property
    def is_person(self) -> bool:
        """Whether the concept is a person."""
        return self.kind == "person"


def shown_in(cases: Iterable[dict[str, Any]]) -> list[Shown]:
    """All validation photos of some cases."""
    return [
        Shown(c["name"], c["kind"], c["category"], tuple(c["keywords"]), tuple((s, w) for s, w in c["context"]), t)
        for c in cases
        for t in map(truth_of, c["items"])
    ]


def place_right(truth: Truth, text: str) -> bool:
    """Whether the place, and no other, is in the caption."""
    low = text.lower()
    return {p for p in PLACE_PHRASES.values() if has_word(low, p)} == {truth.place}


def objects_right(truth: Truth, text: str) -> bool:
    """Whether exactly the objects that are there are in the caption."""
    return {o for o in OBJECTS if has_word(text, o)} == set(truth.held)


def companions_right(truth: Truth, text: str) -> bool:
    """Whether everybody beside the concept is there, each in a phrase of their own with category and (hair) colour."""
    free: dict[str, list[str]] = {}
    for category, color in truth.others:
        phrases = free.setdefault(category, [text[a:b] for a, b in noun_phrases(text, category)])
        found = next((p for p in phrases if _has_color(p, category, color)), None)
        if found is None:
            return False
        phrases.remove(found)
    return True


def _has_color(phrase: str, category: str, color: str) -> bool:
    """Whether "a striped red dog" has its own colour, or "a woman with long red hair" that of the hair."""
    before, _, after = phrase.lower().partition(category)
    return has_word(after, f"{color} hair") if category in PEOPLE else has_word(before, color)


def names_right_one(truth: Truth, text: str, identifier: str) -> bool:
    """Whether the identifier is said, and everybody else is still described as who they are."""
    return has_word(text, identifier) and companions_right(truth, text)


def leaks(shown: Shown, text: str) -> dict[str, bool]:
    """Whether a caption says, where it is wrong, what the training photos showed beside the concept; by sort."""
    low = text.lower()
    right = {"place": {shown.truth.place}, "object": set(shown.truth.held)}
    right["companion"] = {category for category, _ in shown.truth.others} | {shown.category}
    wrong = {sort: [w for s, w in shown.context if s == sort and w not in right[sort]] for sort in SORTS}
    return {sort: any(has_word(low, w) for w in own) for sort, own in wrong.items() if own}


def with_category(text: str, identifier: str, category: str) -> str:
    """A caption with the identifier replaced by the class word (Table 2): `sks is …` becomes `The dog is …`."""
    said = replace_words(text, {identifier: f"the {category}"})
    return said[:1].upper() + said[1:]


def references_with(truth: Truth, name: str) -> Sequence[str]:
    """The ground-truth captions with a name for the concept."""
    return [r.replace(CONCEPT, name) for r in truth.references]
