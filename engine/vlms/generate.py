"""Captioning, answering and locating with a loaded VLM: prompt, generate, put display names in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import engine.core.device  # noqa: F401

import numpy as np
import torch
from PIL import Image

from engine.core.boxes import Box, parse_minigpt_box
from engine.core.class_words import nouns_of
from engine.core.errors import UsageError
from engine.core.types import Concept
from engine.vlms.base import Generation, ImageFeatures, Vlm
from engine.vlms.clean_text import clean_text
from engine.vlms.config import VlmConfig, list_configs
from engine.vlms.wording import (
    capitalise_openings,
    drop_repeats,
    has_word,
    name_for_phrase,
    noun_phrases,
    replace_names,
    replace_words,
    spell_identifiers,
)

REFER_AGAIN = "[refer] where is {names}?"
"""What is asked when no box came, unless the VLM has a wording of its own: MiniGPT-v2 was trained on this one, too."""
_MARKS = 0xE000
"""Private-use characters stand for names until all identifiers are replaced."""


@dataclass(frozen=True)
class PersonalisedConcept:
    """A concept that was recognised in a photo, with its embedding for the VLM in use: (1, D), or (R, D) of an
    imported concept with several rows.
    """

    concept: Concept
    vector: np.ndarray


@dataclass(frozen=True)
class GeneratedCaption:
    """What the VLM said. `raw` is its own text, identifiers included, but for names that one list has twice; `text`
    has the display names; `repaired` holds the names that it left out or gave to two, and that were put in.
    """

    text: str
    raw: str
    repaired: tuple[str, ...] = ()


def caption(
    vlm: Vlm, images: Sequence[Image.Image], known: Sequence[Sequence[PersonalisedConcept]]
) -> list[GeneratedCaption]:
    """Caption a batch of upright photos, each with the concepts recognised in it (none gives the plain VLM).

    Every recognised name occurs in its caption: a caption that misses or doubles one of several is generated
    once more with the names in the other order, then the name takes the place of its class noun or is
    appended, and the caption is flagged. A caption that gives one name to two in a sentence is wrong about
    one of them: the plain caption stands in for it, with the names put in the same way.
    """
    seen = _encode(vlm, images)
    texts = [
        _tidy(t, own) for t, own in zip(_generate(vlm, seen, known, _caption_requests(vlm, known)), known, strict=True)
    ]
    again = [i for i, own in enumerate(known) if len(own) > 1 and _faults(texts[i], own)]
    if again:
        turned = [list(reversed(known[i])) for i in again]
        part = seen.chosen(again)
        second = _generate(vlm, part, turned, _caption_requests(vlm, turned))
        for i, said in zip(again, second, strict=True):
            text = _tidy(said, known[i])
            if _faults(text, known[i]) < _faults(texts[i], known[i]):
                texts[i] = text
    raw = list(texts)
    doubled = [i for i, own in enumerate(known) if _doubled(texts[i], own)]
    if doubled:
        nobody: list[list[PersonalisedConcept]] = [[] for _ in doubled]
        plain = _generate(vlm, seen.chosen(doubled), nobody, [_caption_request(vlm, []) for _ in doubled])
        for i, text in zip(doubled, plain, strict=True):
            texts[i] = text
    return [replace(_finish(t, own), raw=said) for t, own, said in zip(texts, known, raw, strict=True)]


def answer(
    vlm: Vlm, images: Sequence[Image.Image], known: Sequence[Sequence[PersonalisedConcept]], questions: Sequence[str]
) -> list[GeneratedCaption]:
    """Answer a question about each photo; names in it that were recognised become identifiers.

    Raises:
        UsageError: this VLM only captions.
    """
    identifiers = [{k.concept.name: k.concept.identifier for k in own} for own in known]
    requests = [replace_names(q, own) for q, own in zip(questions, identifiers, strict=True)]
    check_answers(vlm.config)
    texts = _generate(vlm, _encode(vlm, images), known, [question_request(vlm, r) for r in requests])
    return [GeneratedCaption(_with_names(t, own), t) for t, own in zip(texts, known, strict=True)]


def question_request(vlm: Vlm, question: str) -> str:
    """A question as this VLM is asked it."""
    return vlm.config.requests.get("question", "{question}").format(question=question)


def ask_plain(vlm: Vlm, images: Sequence[Image.Image], requests: Sequence[Sequence[str]]) -> list[list[str]]:
    """What the un-personalised VLM says to several requests about each upright photo; photos are encoded once."""
    said = []
    for image, asked in zip(images, requests, strict=True):
        (rows,) = vlm.inject(_encode(vlm, [image]), [torch.zeros(0, vlm.width)])
        ids = [vlm.encode_prompt(r) for r in asked]
        parts = [ids[i : i + vlm.config.batch] for i in range(0, len(ids), vlm.config.batch)]
        answers = (g for part in parts for g in vlm.generate([rows] * len(part), part))
        said.append([clean_text(g.text, capped=g.capped, keep_lines=True) for g in answers])
    return said


def refer(vlm: Vlm, images: Sequence[Image.Image], known: Sequence[PersonalisedConcept]) -> list[Box | None]:
    """Ask the VLM for the box of one concept in each upright photo, in the photo's pixels (method.md §4).

    An answer without a usable box is asked for once more, in another wording; None when there is
    none then either. A box is never made up.

    Raises:
        UsageError: this VLM does not answer with boxes.
    """
    check_refers(vlm.config)
    boxes: list[Box | None] = [None] * len(images)
    seen = _encode(vlm, images)
    wordings = (vlm.config.requests["refer"], vlm.config.requests.get("refer_retry", REFER_AGAIN))
    for wording in wordings:
        open_ones = [i for i, box in enumerate(boxes) if box is None]
        if not open_ones:
            break
        part = seen.chosen(open_ones)
        own = [[known[i]] for i in open_ones]
        asked = [wording.format(names=k.concept.identifier) for (k,) in own]
        texts = [g.text for g in _generate_raw(vlm, part, own, asked)]
        for i, text in zip(open_ones, texts, strict=True):
            boxes[i] = _box_in(text, vlm.view(images[i]), images[i])
    return boxes


def check_refers(config: VlmConfig) -> None:
    """Make sure that a VLM answers with boxes.

    Raises:
        UsageError: it does not; the hint says which do.
    """
    if "refer" not in config.requests:
        able = ", ".join(c.name for c in list_configs() if "refer" in c.requests)
        raise UsageError(
            f"{config.name} does not answer with boxes",
            hint=f"VLMs that do: {able}. Or leave out --method refer: recognition gives a box with any VLM.",
        )


def check_answers(config: VlmConfig) -> None:
    """Make sure that a VLM answers questions.

    Raises:
        UsageError: it only captions; the hint says which do answer.
    """
    if not config.answers:
        able = ", ".join(c.name for c in list_configs() if c.answers)
        raise UsageError(f"{config.name} only captions and answers no questions", hint=f"VLMs that do: {able}.")


def _box_in(text: str, view: Box, image: Image.Image) -> Box | None:
    """The box in an answer, moved from the part of the photo that the VLM saw into the photo."""
    box = parse_minigpt_box(text, 1, 1)
    if box is None:
        return None
    w, h = view.x1 - view.x0, view.y1 - view.y0
    found = Box(view.x0 + box.x0 * w, view.y0 + box.y0 * h, view.x0 + box.x1 * w, view.y0 + box.y1 * h)
    return found.clipped(*image.size)


def attention(
    vlm: Vlm, images: Sequence[Image.Image], known: Sequence[Sequence[PersonalisedConcept]]
) -> list[list[np.ndarray]]:
    """What each concept's row has to do with each place of `vlm.view` when a caption is asked for (the
    paper's fig. 3): for every photo one map (h, w) float32, non-negative, for each of its `speakable` concepts.
    """
    told = [speakable(own) for own in known]
    rows = _rows(vlm, _encode(vlm, images), told)
    counts = [sum(len(k.vector) for k in own) for own in told]
    ids = [vlm.encode_prompt(_caption_request(vlm, own)) for own in told]
    maps = [m.float().cpu().numpy() for m in vlm.concept_attention(rows, counts, ids)]
    return [_by_concept(m, own) for m, own in zip(maps, told, strict=True)]


def _by_concept(maps: np.ndarray, known: Sequence[PersonalisedConcept]) -> list[np.ndarray]:
    """Maps (K, h, w) of rows as one map a concept: the mean where it has several rows."""
    ends = np.cumsum([len(k.vector) for k in known])
    return [m.mean(axis=0) for m in np.split(maps, ends[:-1])] if len(known) else []


def _encode(vlm: Vlm, images: Sequence[Image.Image]) -> ImageFeatures:
    return vlm.encode(vlm.preprocess(list(images)))


def _generate(
    vlm: Vlm, seen: ImageFeatures, known: Sequence[Sequence[PersonalisedConcept]], requests: Sequence[str]
) -> list[str]:
    """Generated texts without debris, their identifiers spelled as the VLM was told them."""
    texts = [clean_text(g.text, capped=g.capped) for g in _generate_raw(vlm, seen, known, requests)]
    told = [[k.concept.identifier for k in own] for own in known]
    return [spell_identifiers(text, own) for text, own in zip(texts, told, strict=True)]


def _generate_raw(
    vlm: Vlm, seen: ImageFeatures, known: Sequence[Sequence[PersonalisedConcept]], requests: Sequence[str]
) -> list[Generation]:
    """Generated texts with their special marks, which boxes are read from."""
    rows = _rows(vlm, seen, [speakable(own) for own in known])
    return vlm.generate(rows, [vlm.encode_prompt(r) for r in requests])


def _rows(vlm: Vlm, seen: ImageFeatures, known: Sequence[Sequence[PersonalisedConcept]]) -> list[torch.Tensor]:
    empty = torch.zeros(0, vlm.width)
    embeddings = [torch.from_numpy(np.concatenate([k.vector for k in own])) if own else empty for own in known]
    return vlm.inject(seen, embeddings)


def _caption_requests(vlm: Vlm, known: Sequence[Sequence[PersonalisedConcept]]) -> list[str]:
    return [_caption_request(vlm, own) for own in known]


def _caption_request(vlm: Vlm, known: Sequence[PersonalisedConcept]) -> str:
    names = tuple(k.concept.identifier for k in speakable(known))
    return vlm.config.request("caption_of" if names else "caption", names)


def speakable(known: Sequence[PersonalisedConcept]) -> list[PersonalisedConcept]:
    """The first concept of each identifier: where there are more concepts than identifiers, two may share one,
    and the VLM could not tell them apart.
    """
    first: dict[str, PersonalisedConcept] = {}
    for k in known:
        first.setdefault(k.concept.identifier, k)
    return list(first.values())


def _missing(text: str, known: Sequence[PersonalisedConcept]) -> list[PersonalisedConcept]:
    spoken = speakable(known)
    return [k for k in known if k not in spoken or not has_word(text, k.concept.identifier)]


def _with_names(text: str, known: Sequence[PersonalisedConcept]) -> str:
    told = speakable(known)
    named = replace_words(text, {k.concept.identifier: k.concept.name for k in told})
    return capitalise_openings(named, [k.concept.name for k in told])


def _tidy(text: str, known: Sequence[PersonalisedConcept]) -> str:
    """The text without names that one list has twice."""
    for k in known:
        text = drop_repeats(text, k.concept.identifier)
    return text


def _faults(text: str, known: Sequence[PersonalisedConcept]) -> int:
    """How many names a caption misses or gives to two."""
    return len(_missing(text, known)) + _doubled(text, known)


def _doubled(text: str, known: Sequence[PersonalisedConcept]) -> int:
    """How many names one sentence gives to two: "Rex, next to Rex"; "Rex on Rex's bed" does not."""
    sentences = re.split(r"[.!?](?:\s|$)", text)
    names = [re.compile(rf"(?<!\w){re.escape(k.concept.identifier)}(?![\w'’])") for k in known]
    return sum(any(len(name.findall(sentence)) > 1 for sentence in sentences) for name in names)


def _finish(raw: str, known: Sequence[PersonalisedConcept]) -> GeneratedCaption:
    text = raw
    marks = {chr(_MARKS + i): k for i, k in enumerate(_missing(raw, known))}
    for mark, k in marks.items():
        spans = noun_phrases(text, *nouns_of(k.concept.kind, k.concept.category))
        text = name_for_phrase(text, spans[0], mark) if len(spans) == 1 else f"{text.rstrip()} Also here: {mark}."
    text = _with_names(text, known)
    for mark, k in marks.items():
        text = text.replace(mark, k.concept.name)
    names = tuple(k.concept.name for k in marks.values())
    return GeneratedCaption(capitalise_openings(text, names), raw, names)
