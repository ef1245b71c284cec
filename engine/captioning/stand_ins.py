"""Replace names in a question that the VLM must not or cannot use by words for what it sees.

"What is Rex holding?" presupposes Rex. Where Rex was not recognised, a VLM would invent an answer or take another dog
for Rex. So it describes the photo first, and is asked only about what it mentions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.core.class_words import ANIMALS, GENERIC, nouns_of
from engine.core.types import Concept, Kind
from engine.training.questions import name_in_answer
from engine.vlms.wording import capitalise_openings, has_word, mentions, noun_phrases, replace_names


@dataclass(frozen=True)
class StandIns:
    """Words that stand for names in a question about one photo.

    words: the replacement of each name. absent: names that were not recognised. unnamed: those of them for which the
    photo's description has no word, so that the question cannot be asked. restored: for a name, the phrase and its noun
    that are unambiguous in the photo; in the answer they become the name again.
    """

    words: Mapping[str, str]
    absent: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    restored: Mapping[str, tuple[str, str]] | None = None

    def question(self, question: str) -> str:
        """Return the question as the VLM is asked it."""
        return replace_names(question, self.words)

    def reply(self, answer: str) -> str:
        """Return the text for the user: which names were not recognised, what was asked instead, and the answer.

        answer: the VLM's answer to `question`, or its description of the photo where some names are `unnamed`.
        """
        for name, (phrase, noun) in (self.restored or {}).items():
            answer = name_in_answer(answer, phrase, noun, name)
        answer = capitalise_openings(answer, self.restored or ())
        if not self.absent:
            return answer
        asked = " and ".join(self.words[name] for name in self.absent if name in self.words)
        about = "It shows" if self.unnamed else f"Asked about {asked} instead"
        return f"{not_recognised(self.absent)}. {about}: {answer}"


def not_recognised(names: Sequence[str]) -> str:
    """Return a sentence, without its full stop, that says which names were not recognised."""
    text = f"{' and '.join(names)} {'was' if len(names) == 1 else 'were'} not recognised in this photo"
    return capitalise_openings(text, names)


def find_stand_ins(
    absent: Sequence[Concept], unlearned: Sequence[Concept], prompted: Sequence[str], description: str
) -> StandIns:
    """Find words that replace names in a question.

    absent: concepts that were not recognised in the photo. unlearned: recognised concepts that the VLM cannot be told
    of. prompted: the names that it is told of. description: the VLM's description of the photo.
    """
    words: dict[str, str] = {}
    restored: dict[str, tuple[str, str]] = {}
    taken: set[tuple[int, int]] = set()
    for concept in unlearned:
        words[concept.name] = f"the {_class_word(concept)}"
        spans = noun_phrases(description, *_nouns(concept))
        rivals = [c for c in unlearned if c is not concept and set(_nouns(c)) & set(_nouns(concept))]
        if len(spans) == 1 and not rivals:
            phrase = _definite(description[slice(*spans[0])])
            words[concept.name] = phrase
            restored[concept.name] = phrase, _noun_in(phrase, concept)
            taken.add(spans[0])
    for concept in absent:
        nouns = nouns_of(concept.kind, concept.category)
        free = [s for s in noun_phrases(description, *nouns) if s not in taken]
        phrase = _definite(description[slice(*free[0])]) if free else ""
        if phrase and not any(mentions(phrase, name) for name in prompted):
            words[concept.name] = phrase
            taken.add(free[0])
    unnamed = tuple(c.name for c in absent if c.name not in words)
    return StandIns(words, tuple(c.name for c in absent), unnamed, restored)


def _nouns(concept: Concept) -> tuple[str, ...]:
    """Return nouns by which a description may mention a concept; for a pet of unknown species, every animal."""
    if concept.kind is Kind.PET and concept.category in GENERIC:
        return tuple(sorted(ANIMALS))
    return nouns_of(concept.kind, concept.category)


def _class_word(concept: Concept) -> str:
    if concept.category not in GENERIC:
        return concept.category
    return {Kind.PERSON: "person", Kind.PET: "animal", Kind.THING: "object"}[concept.kind]


def _noun_in(phrase: str, concept: Concept) -> str:
    return next((n for n in _nouns(concept) if has_word(phrase.lower(), n)), _class_word(concept))


def _definite(phrase: str) -> str:
    """Return a noun phrase with "the" in the place of its article: "A red dog" as "the red dog"."""
    return "the " + phrase.split(maxsplit=1)[1]
