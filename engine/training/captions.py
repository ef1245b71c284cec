"""Training captions: read the user's, put identifiers into the VLM's own, and vary them (docs/method.md, section 1)."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.core.errors import UsageError
from engine.core.files import LARGEST_DOCUMENT, read_text
from engine.vlms.wording import first_noun, has_word, name_for_phrase, noun_phrases, replace_names

_MOST_LONGER = 1.4
"""A variation may have at most this many times the words of its caption, and two more."""
_STOPS = frozenset("is are sits sitting standing laying lying walking running with in on at".split())
"""Words that end the subject of a caption."""
_FORM = 'Form: {"photo.jpg": "Rex on a sofa."}'
REPHRASE = (
    "Rephrase this caption, changing as little as possible and keeping the word {identifier}: {caption}",
    "Write this caption again with one word changed, keeping the word {identifier}: {caption}",
    "Say the same with another word order, keeping the word {identifier}: {caption}",
    "Replace one word of this caption by a synonym, but never the word {identifier}: {caption}",
)
"""Requests for the four variations of a caption; they change as little as possible and keep the identifier."""


def load_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """Read `captions.json`: an object from file names to a caption or a list of captions.

    Raises:
        UsageError: the file cannot be read or has another form.
    """
    try:
        document = json.loads(read_text(path, LARGEST_DOCUMENT))
    except (OSError, ValueError) as err:
        raise UsageError(f"{path} cannot be read as JSON: {err}", hint=_FORM) from err
    if not isinstance(document, dict):
        raise UsageError(f"{path} is not a JSON object", hint=_FORM)
    captions = {}
    for name, value in document.items():
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
            raise UsageError(
                f"{path}: the captions of {name!r} are not text", hint="Give a string or a list of strings."
            )
        captions[name] = tuple(texts)
    return captions


def with_identifier(caption: str, names: Sequence[str], identifier: str) -> str | None:
    """Replace the names of a concept by its identifier in a user's text; None when the text holds no such name."""
    text = replace_names(caption, dict.fromkeys(names, identifier))
    return text if has_word(text, identifier) else None


def shared_noun(closeups: Sequence[str]) -> tuple[str, ...]:
    """Return the noun that most captions of a concept's close-ups begin with: one word, or none."""
    nouns = [noun for text in closeups if (noun := first_noun(text))]
    return (max(sorted(set(nouns)), key=nouns.count),) if nouns else ()


def name_in_caption(caption: str, nouns: Sequence[str], identifier: str, closeup: str) -> str:
    """Put an identifier into a caption that the plain VLM wrote (docs/method.md, section 6).

    The noun phrase with one of the concept's `nouns` becomes the identifier. Of several phrases, it is the one that
    shares most words with `closeup`, the VLM's caption of the concept's own region. Without any, the identifier
    replaces the caption's subject, or else precedes the caption with a colon.
    """
    spans = noun_phrases(caption, *nouns)
    if not spans:
        return _subject_replaced(caption, identifier)
    words = set(closeup.lower().replace(",", " ").replace(".", " ").split())

    def shared(span: tuple[int, int]) -> int:
        return len(words & set(caption[span[0] : span[1]].lower().split()))

    best = max(spans, key=lambda span: (shared(span), -span[0]))
    return name_for_phrase(caption, best, identifier)


def _subject_replaced(caption: str, identifier: str) -> str:
    """Replace a subject of at most five words by an identifier; "IDENTIFIER: caption" where no subject is found."""
    head = caption.split(",")[0].split()
    if head and head[0].lower() in ("a", "an", "the"):
        for i, word in enumerate(head[1:6], 1):
            if word in _STOPS and i > 1:
                return " ".join([identifier, *caption.split()[i:]])
    return f"{identifier}: {caption}"


def vary(caption: str, identifier: str, openings: Sequence[str]) -> tuple[str, ...]:
    """Return a caption and variations of it, each with one of the openings before it.

    The caption's first letter becomes lower case behind an opening, unless its first word is the identifier or in
    upper case.
    """
    first = caption.split()[0].rstrip(".,:'")
    keeps_case = first == identifier or (len(first) > 1 and first.isupper())
    continued = caption if keeps_case else caption[:1].lower() + caption[1:]
    return (caption, *(opening + continued for opening in openings))


def accept_variation(text: str, caption: str, identifier: str) -> str | None:
    """Return a language model's text, stripped, if it is a usable variation of a caption; None otherwise.

    A variation is one line with other words, holds the identifier as often as the caption, has at least half its words
    and at most 1.4 times its words and two.
    """
    text = text.strip().strip('"').strip()
    same = text.casefold().rstrip(".") == caption.casefold().rstrip(".")
    words, before = len(text.split()), len(caption.split())
    if not text or "\n" in text or same or not before / 2 <= words <= before * _MOST_LONGER + 2:
        return None
    return text if _count(text, identifier) == _count(caption, identifier) else None


def _count(text: str, word: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(word)}(?!\w)", text))


def check_coverage(captions: Mapping[str, object], files: Sequence[str], path: Path) -> None:
    """Check that the user's captions or answers are for at least one of the concept's photos.

    Raises:
        UsageError: they are for none.
    """
    if not set(captions) & set(files):
        raise UsageError(
            f"{path} says nothing of any of these photos: {', '.join(files)}", hint="Use their file names."
        )
