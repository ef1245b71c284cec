"""Captioning and answering with a loaded VLM: prompt, generate, put display names in."""

from collections.abc import Sequence
from dataclasses import dataclass

import engine.device  # noqa: F401

import numpy as np
import torch
from PIL import Image

from engine.kinds import nouns_of
from engine.types import Concept
from engine.vlms.base import ImageFeatures, Vlm
from engine.vlms.wording import has_word, name_for_phrase, noun_phrases, replace_names, replace_words

_MARKS = 0xE000
"""Private-use characters stand for names until all identifiers are replaced."""


@dataclass(frozen=True)
class Known:
    """A concept that was recognised in a photo, with its embedding (1, D) for the VLM in use."""

    concept: Concept
    vector: np.ndarray


@dataclass(frozen=True)
class Spoken:
    """What the VLM said. `raw` is its own text, identifiers included; `text` has the display names;
    `repaired` holds the names that it left out and that were put in.
    """

    text: str
    raw: str
    repaired: tuple[str, ...] = ()


def caption(vlm: Vlm, images: Sequence[Image.Image], known: Sequence[Sequence[Known]]) -> list[Spoken]:
    """Caption a batch of upright photos, each with the concepts recognised in it (none gives the plain VLM).

    Every recognised name occurs in its caption: a caption that misses one of several is generated
    once more with the names in the other order, then the name takes the place of its class noun or is
    appended, and the caption is flagged.
    """
    seen = _encode(vlm, images)
    texts = _generate(vlm, seen, known, [_caption_request(vlm, own) for own in known])
    again = [i for i, own in enumerate(known) if len(own) > 1 and _missing(texts[i], own)]
    if again:
        turned = [list(reversed(known[i])) for i in again]
        part = ImageFeatures(seen.features[again], seen.norms[again])
        second = _generate(vlm, part, turned, [_caption_request(vlm, own) for own in turned])
        for i, text in zip(again, second, strict=True):
            if len(_missing(text, known[i])) < len(_missing(texts[i], known[i])):
                texts[i] = text
    return [_finish(text, own) for text, own in zip(texts, known, strict=True)]


def answer(vlm: Vlm, images: Sequence[Image.Image], known: Sequence[Sequence[Known]], question: str) -> list[Spoken]:
    """Answer one question about each photo; names in it that were recognised become identifiers."""
    requests = [replace_names(question, {k.concept.name: k.concept.identifier for k in own}) for own in known]
    texts = _generate(vlm, _encode(vlm, images), known, requests)
    return [Spoken(_with_names(t, own), t) for t, own in zip(texts, known, strict=True)]


def _encode(vlm: Vlm, images: Sequence[Image.Image]) -> ImageFeatures:
    return vlm.encode(vlm.preprocess(list(images)))


def _generate(vlm: Vlm, seen: ImageFeatures, known: Sequence[Sequence[Known]], requests: Sequence[str]) -> list[str]:
    known = [_speakable(own) for own in known]
    empty = torch.zeros(0, vlm.width)
    embeddings = [torch.from_numpy(np.concatenate([k.vector for k in own])) if own else empty for own in known]
    rows = vlm.inject(seen, embeddings)
    return [g.text for g in vlm.generate(rows, [vlm.encode_prompt(r) for r in requests])]


def _caption_request(vlm: Vlm, known: Sequence[Known]) -> str:
    names = tuple(k.concept.identifier for k in _speakable(known))
    return vlm.config.request("caption_of" if names else "caption", names)


def _speakable(known: Sequence[Known]) -> list[Known]:
    """The first concept of each identifier: where there are more concepts than identifiers, two may share one,
    and the VLM could not tell them apart.
    """
    first: dict[str, Known] = {}
    for k in known:
        first.setdefault(k.concept.identifier, k)
    return list(first.values())


def _missing(text: str, known: Sequence[Known]) -> list[Known]:
    spoken = _speakable(known)
    return [k for k in known if k not in spoken or not has_word(text, k.concept.identifier)]


def _with_names(text: str, known: Sequence[Known]) -> str:
    return replace_words(text, {k.concept.identifier: k.concept.name for k in _speakable(known)})


def _finish(raw: str, known: Sequence[Known]) -> Spoken:
    text = raw
    marks = {chr(_MARKS + i): k for i, k in enumerate(_missing(raw, known))}
    for mark, k in marks.items():
        spans = noun_phrases(text, *nouns_of(k.concept.kind, k.concept.category))
        text = name_for_phrase(text, spans[0], mark) if len(spans) == 1 else f"{text.rstrip()} Also here: {mark}."
    text = _with_names(text, known)
    for mark, k in marks.items():
        text = text.replace(mark, k.concept.name)
    return Spoken(text, raw, tuple(k.concept.name for k in marks.values()))
