"""Decide what is right and wrong in a caption, given what its photo shows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.benchmarks.cases import CONCEPT, Truth, read_truth
from engine.storybook.world.attributes import OBJECTS, PEOPLE
from engine.storybook.world.language import PLACE_PHRASES
from engine.vlms.wording import has_word, noun_phrases, replace_words

CONTEXT_SORTS = ("place", "object", "companion")


@dataclass(frozen=True)
class ValidationPhoto:
    """A validation photo of a concept, with its ground truth.

    kind, category, keywords, context: of the concept, as in `cases.Case`.
    """

    concept: str
    kind: str | None
    category: str
    keywords: tuple[str, ...]
    context: tuple[tuple[str, str], ...]
    truth: Truth

    @property
    def is_person(self) -> bool:
        """Tell whether the concept is a person."""
        return self.kind == "person"


def list_validation_photos(cases: Iterable[dict[str, Any]]) -> list[ValidationPhoto]:
    """List the validation photos of some cases, given as JSON data."""
    photos = []
    for c in cases:
        keywords, context = tuple(c["keywords"]), tuple((s, w) for s, w in c["context"])
        truths = map(read_truth, c["items"])
        photos += [ValidationPhoto(c["name"], c["kind"], c["category"], keywords, context, t) for t in truths]
    return photos


def has_right_place(truth: Truth, text: str) -> bool:
    """Tell whether the photo's place, and no other, is in the caption."""
    low = text.lower()
    return {p for p in PLACE_PHRASES.values() if has_word(low, p)} == {truth.place}


def has_right_objects(truth: Truth, text: str) -> bool:
    """Tell whether exactly the objects that the photo shows are in the caption."""
    return {o for o in OBJECTS if has_word(text, o)} == set(truth.held)


def has_right_companions(truth: Truth, text: str) -> bool:
    """Tell whether the caption has all other characters, each in its own phrase with category and (hair) colour."""
    unused: dict[str, list[str]] = {}
    for category, color in truth.others:
        phrases = unused.setdefault(category, [text[a:b] for a, b in noun_phrases(text, category)])
        phrase = next((p for p in phrases if _has_color(p, category, color)), None)
        if phrase is None:
            return False
        phrases.remove(phrase)
    return True


def _has_color(phrase: str, category: str, color: str) -> bool:
    """Tell whether a phrase states the colour: "a striped red dog", or "a woman with long red hair"."""
    before, _, after = phrase.lower().partition(category)
    return has_word(after, f"{color} hair") if category in PEOPLE else has_word(before, color)


def names_concept_and_companions(truth: Truth, text: str, identifier: str) -> bool:
    """Tell whether the caption has the identifier, and still describes all others beside the concept."""
    return has_word(text, identifier) and has_right_companions(truth, text)


def find_leaks(photo: ValidationPhoto, text: str) -> dict[str, bool]:
    """Tell, by sort, whether a caption has words of the training photos' context that are wrong in this photo.

    Sorts without such words are left out.
    """
    low = text.lower()
    right = {
        "place": {photo.truth.place or ""},
        "object": set(photo.truth.held),
        "companion": {photo.category, *(category for category, _ in photo.truth.others)},
    }
    wrong = {sort: [w for s, w in photo.context if s == sort and w not in right[sort]] for sort in CONTEXT_SORTS}
    return {sort: any(has_word(low, w) for w in words) for sort, words in wrong.items() if words}


def replace_identifier(text: str, identifier: str, category: str) -> str:
    """Replace the identifier by the class word, for Table 2: `sks is …` becomes `The dog is …`."""
    replaced = replace_words(text, {identifier: f"the {category}"})
    return replaced[:1].upper() + replaced[1:]


def name_references(truth: Truth, name: str) -> Sequence[str]:
    """Return the ground-truth captions with a name for the concept."""
    return [r.replace(CONCEPT, name) for r in truth.references]
