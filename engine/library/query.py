"""Read what the user searches for: words, phrases, beginnings of words, and what must not be there."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.core.errors import UsageError
from engine.library.index import concept_word
from engine.library.text import fold_name, searchable

_TERM = re.compile(r'\s*(?P<minus>-?)(?:"(?P<phrase>[^"]*)"(?P<star>\*?)|(?P<word>[^\s"]+))')
_WORD_CHARACTER = re.compile(r"[^\W_]")
_HINT = 'Examples: myvlm search "rex beach", "\\"on the beach\\" -anna", "holi*".'


@dataclass(frozen=True)
class Term:
    """One thing to search for. text: a word or a phrase. prefix: words that begin with it count. excluded: it must not
    be there.
    """

    text: str
    prefix: bool = False
    excluded: bool = False


def parse_terms(texts: Iterable[str]) -> tuple[Term, ...]:
    """Split texts into terms: words, "phrases", `begin*` and `-excluded`. AND, OR and NOT are ordinary words.

    Raises:
        UsageError: a quote is not closed, or a term has neither letters nor digits.
    """
    return tuple(term for text in texts for term in _parse(text))


def _parse(text: str) -> Iterable[Term]:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TERM.match(text, at)
        if match is None or match.end() == at:
            raise UsageError(f"a quotation mark is not closed in: {text}", hint=_HINT)
        at = match.end()
        words = match["phrase"] if match["phrase"] is not None else match["word"].rstrip("*")
        if not _WORD_CHARACTER.search(words):
            raise UsageError(f"there is nothing to search for in: {match[0].strip()}", hint=_HINT)
        prefix = bool(match["star"]) or (match["word"] or "").endswith("*")
        yield Term(words, prefix, bool(match["minus"]))


def match_expression(terms: Iterable[Term], concepts: Mapping[str, str]) -> str:
    """Return an expression of FTS5 that all terms fulfil; each term is quoted, so that nothing in it is an operator.

    concepts: ids of the enrolled concepts by folded name. Photos with a concept are found by the words of its present
    name, also while their sidecars have the name that it had before.
    """
    return " AND ".join(_expression(term, concepts) for term in terms)


def _expression(term: Term, concepts: Mapping[str, str]) -> str:
    text = searchable(term.text).replace('"', '""').replace("\0", " ")
    words = f'{{names caption}} : "{text}"{" *" if term.prefix else ""}'
    part = f" {fold_name(term.text)}" + ("" if term.prefix else " ")
    ids = [concept_id for name, concept_id in concepts.items() if part in f" {name} "]
    return f"({' OR '.join([words, *map(_of_concept, ids)])})"


def _of_concept(concept_id: str) -> str:
    return f'concepts : "{concept_word(concept_id)}"'
