"""What a training photo may be said to show: the user's captions, or the VLM's own with the name put in."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.core.errors import UsageError
from engine.core.files import LARGEST_DOCUMENT, read_text
from engine.vlms.wording import first_noun, has_word, name_for_phrase, noun_phrases, replace_names

_MUCH_LONGER = 1.4
REPHRASE = (
    "Rephrase this caption, changing as little as possible and keeping the word {identifier}: {caption}",
    "Write this caption again with one word changed, keeping the word {identifier}: {caption}",
    "Say the same with another word order, keeping the word {identifier}: {caption}",
    "Replace one word of this caption by a synonym, but never the word {identifier}: {caption}",
)
"""What a VLM is asked for the four variations of a caption (method.md §1: as small as possible, identifier kept)."""


def load_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """Read `captions.json`: file name to a caption or a list of captions.

    Raises:
        UsageError: the file cannot be read or has another form.
    """
    try:
        found = json.loads(read_text(path, LARGEST_DOCUMENT))
    except (OSError, ValueError) as err:
        raise UsageError(f"{path} cannot be read as JSON: {err}", hint='Form: {"photo.jpg": "Rex on a sofa."}') from err
    if not isinstance(found, dict):
        raise UsageError(f"{path} is not a JSON object", hint='Form: {"photo.jpg": "Rex on a sofa."}')
    captions = {}
    for name, value in found.items():
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
            raise UsageError(
                f"{path}: the captions of {name!r} are not text", hint="Give a string or a list of strings."
            )
        captions[name] = tuple(texts)
    return captions


def with_identifier(caption: str, names: Sequence[str], identifier: str) -> str | None:
    """A user's caption with the concept's name replaced by its identifier; None when it has no such name."""
    text = replace_names(caption, dict.fromkeys(names, identifier))
    return text if has_word(text, identifier) else None


def shared_noun(closeups: Sequence[str]) -> tuple[str, ...]:
    """The noun by which most captions of a concept's own regions speak first: one word, or none."""
    found = [noun for text in closeups if (noun := first_noun(text))]
    return (max(sorted(set(found)), key=found.count),) if found else ()


def name_in_caption(caption: str, nouns: Sequence[str], identifier: str, closeup: str) -> str:
    """Put an identifier into a caption that the VLM wrote without knowing the concept (method.md §6).

    The noun phrase with one of the concept's `nouns` becomes the identifier. When there are several, the
    one that shares most words with `closeup`, the VLM's caption of the concept's own region, is taken;
    when there is none, the caption's first noun phrase, and failing that the identifier opens the caption.
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
    head = caption.split(",")[0].split()
    stops = (
        "is",
        "are",
        "sits",
        "sitting",
        "standing",
        "laying",
        "lying",
        "walking",
        "running",
        "with",
        "in",
        "on",
        "at",
    )
    if head and head[0].lower() in ("a", "an", "the"):
        for i, word in enumerate(head[1:6], 1):
            if word in stops and i > 1:
                return " ".join([identifier, *caption.split()[i:]])
    return f"{identifier}: {caption}"


def vary(caption: str, identifier: str, openings: Sequence[str]) -> tuple[str, ...]:
    """A caption and variations of it, as small as possible, the identifier kept (method.md §1)."""
    first = caption.split()[0].rstrip(".,:'")
    keep = first == identifier or (len(first) > 1 and first.isupper())
    lower = caption if keep else caption[:1].lower() + caption[1:]
    return (caption, *(opening + lower for opening in openings))


def accept_variation(text: str, caption: str, identifier: str) -> str | None:
    """What a language model made of a caption, when it is a variation of it: one line, other words, the
    identifier as often as before, not much longer or shorter. None otherwise.
    """
    text = text.strip().strip('"').strip()
    same = text.casefold().rstrip(".") == caption.casefold().rstrip(".")
    words, before = len(text.split()), len(caption.split())
    if not text or "\n" in text or same or not before / 2 <= words <= before * _MUCH_LONGER + 2:
        return None
    return text if _count(text, identifier) == _count(caption, identifier) else None


def _count(text: str, word: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(word)}(?!\w)", text))


def check_coverage(captions: Mapping[str, object], files: Sequence[str], path: Path) -> None:
    """Make sure that a captions file speaks of at least one of the concept's photos.

    Raises:
        UsageError: it does not.
    """
    if not set(captions) & set(files):
        raise UsageError(
            f"{path} says nothing of any of these photos: {', '.join(files)}", hint="Use their file names."
        )
