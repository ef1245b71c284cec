"""Check the names in what a VLM writes: a text with a name that was not stated is not kept.

Deleting a true sentence is a fault, too. So a made-up name is one only where the text introduces a person or an animal
by it, or lets it do what people and animals do; and an enrolled name that is an ordinary word, such as Snow, is read as
that word where a sentence may begin with it.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.core.class_words import ANIMALS, GENERIC, PEOPLE
from engine.core.types import Concept
from engine.vlms.repair import count_faults
from engine.vlms.wording import ORDINARY, find_names, replace_words

_BEINGS = "|".join(sorted({*PEOPLE, *ANIMALS, "men", "women", "people", "children", "puppies", "kittens"}))
_ACTS = "sits|holds|smiles|wears|walks|runs|plays|waves|sleeps|eats|drinks|laughs|jumps"
_ACTING = "sitting|holding|smiling|wearing|walking|running|playing|waving|sleeping|eating|drinking|laughing|jumping"
_NAME = r"([A-Z][\w'’-]+)"
_INTRODUCED = re.compile(
    rf"\b(?:{_BEINGS})s?,? (?:(?:who|that|which) )?(?:(?:is|was|are|were) )?(?:named|called) {_NAME}"
    rf"|\b(?:his|her|their|whose) name is {_NAME}",
)
_SUBJECT = re.compile(
    rf"(?:\b(?:while|where|as|when|because|but|and)|,) {_NAME}(?= (?:{_ACTS}|(?:is|was) (?:{_ACTING}))\b)"
    rf"|\b(?:while|where|as) {_NAME}(?= and\b)"
)
"""A capitalised word that is the subject of a clause within a sentence. "Vesuvius is visible", "a red Tesla is parked"
and "of Paris and the Seine" are no such clauses."""
_SENTENCE = re.compile(r"[^.!?。！？]*(?:[.!?。！？]+[\"'”’)\]」』]*\s*|$)")
_NO_ADJECTIVE = r"(?!(?:and|or|with|of|by|to|on|in|at|near|beside|behind|for|und|mit|et|avec|y|con|e|en|met)\s)"
_INDEFINITE = re.compile(rf"\b(?:an?|one|another)\s+(?:{_NO_ADJECTIVE}[a-z-]+\s+)?$", re.IGNORECASE)
_INDEFINITE_ELSEWHERE = re.compile(
    rf"\b(?:k?ein\w{{0,2}}|une?|uno|una|een|ett|uma)\s+(?:{_NO_ADJECTIVE}[^\W\d_]+\s+)?$", re.IGNORECASE
)
"""An indefinite article, with one adjective at most, before a word: "a Tiger", "eine alte Wolke". Names have none.
Articles that are prepositions or conjunctions in another language ("a", "en", "o") count in English only."""
_DETERMINED = re.compile(
    r"\b(?:an?|the|one|his|her|its|their|this|that|some|any|each)\s+(?:[a-z-]+\s+){0,2}$", re.IGNORECASE
)


@dataclass(frozen=True)
class NameRules:
    """What names a text may hold.

    enrolled: every display name in the store. allowed: further words that are no wrong names, such as those of the
    photo's place. strict: whether names that the VLM made up are looked for, which only a large vocabulary needs.
    inflected: whether names may have endings, and sentences are in another language than English.
    """

    enrolled: tuple[str, ...] = ()
    allowed: frozenset[str] = frozenset()
    strict: bool = False
    inflected: bool = False

    def wrong_names(self, text: str, concepts: Sequence[Concept]) -> tuple[str, ...]:
        """Return the names in a text that must not be there: enrolled ones that were not recognised, and made-up ones.

        concepts: those that were recognised; their identifiers and display names are right.
        """
        right = {c.identifier for c in concepts} | {c.name for c in concepts}
        composed = unicodedata.normalize("NFC", text)
        spans = find_names(composed, right | set(self.enrolled), inflected=self.inflected)
        foreign = [n for start, _, n in spans if n not in right | self.allowed and self._is_name(composed, start, n)]
        rest = replace_words(composed, dict.fromkeys(right, "_"))
        patterns = (_INTRODUCED, _SUBJECT) if self.strict else ()
        made_up = [word for pattern in patterns for m in pattern.finditer(rest) for word in m.groups() if word]
        known = self.allowed | set(foreign) | {part for name in right for part in name.split()}
        return tuple(dict.fromkeys([*foreign, *(w for w in made_up if w not in known)]))

    def _is_name(self, text: str, start: int, name: str) -> bool:
        """Whether a word of a text is used as a name, and not as the ordinary word that it may be, too.

        "a mug" is a mug, also where a concept is called mug, and "Snow covers the hills" is snow.
        """
        before = text[:start]
        if (_INDEFINITE_ELSEWHERE if self.inflected else _INDEFINITE).search(before):
            return False
        if text[start].islower():
            return name == name.lower() and not _DETERMINED.search(before)
        opens = not before.strip() or before.rstrip()[-1:] in ".!?"
        return not (opens and name.casefold() in PEOPLE | ANIMALS | GENERIC | ORDINARY)

    def count_faults(self, text: str, concepts: Sequence[Concept]) -> int:
        """Count the names that a text lacks, repeats in a sentence, or must not hold."""
        return count_faults(text, concepts, inflected=self.inflected) + len(self.wrong_names(text, concepts))

    def without_wrong(self, text: str, concepts: Sequence[Concept], *, listed: bool = False) -> str:
        """Remove the sentences that hold a wrong name; of a list of keywords, the items."""
        if not self.wrong_names(text, concepts):
            return text
        if listed:
            items = [item.strip() for item in text.split(",")]
            return ", ".join(item for item in items if not self.wrong_names(item, concepts))
        return "".join(s for s in _SENTENCE.findall(text) if not self.wrong_names(s, concepts)).strip()


def words_of(texts: Iterable[str]) -> frozenset[str]:
    """Return the capitalised words of some texts, such as the parts of a place's name."""
    return frozenset(w for text in texts for w in re.findall(r"[A-Z][\w'’-]+", text))
