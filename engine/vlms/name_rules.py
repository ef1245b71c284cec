"""Check the names in what a VLM writes: a text with a name that was not stated is not kept."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from engine.core.class_words import ANIMALS, GENERIC, PEOPLE
from engine.core.types import Concept
from engine.vlms.wording import count_faults, find_names, has_word, replace_words

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
