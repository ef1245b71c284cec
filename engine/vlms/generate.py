"""Generate captions, answers, boxes and attention maps with a loaded VLM and the concepts recognised in each photo.

The steps are the same for every task. The image features of a photo are computed once. The request is written with the
concepts' identifiers, which are words that the VLM knows. The concepts' embeddings are injected as rows after the image
features, and the VLM generates a text. That text is cleaned, and display names take the place of identifiers; a caption
from which a name is missing, or which gives one name to two individuals, is repaired first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from engine.core.boxes import Box, parse_minigpt_box
from engine.core.errors import UsageError
from engine.core.types import Concept
from engine.vlms.clean_text import clean_text
from engine.vlms.config import VlmConfig, list_configs
from engine.vlms.generation import Generation
from engine.vlms.wording import (
    complete,
    count_faults,
    count_repeated,
    drop_listed_repeats,
    first_with_identifier,
    replace_names,
    spell_identifiers,
    to_display_names,
)

if TYPE_CHECKING:  # a VLM in a server needs no torch
    import torch

    from engine.vlms.base import ImageFeatures, Vlm

REFER_AGAIN = "[refer] where is {names}?"
"""The second request for a box, unless the VLM's config has a `refer_retry`: MiniGPT-v2 was trained on this one too."""


@dataclass(frozen=True)
class PersonalisedConcept:
    """A concept that was recognised in a photo, with its embedding for the VLM in use.

    vector: (1, D) float32, or (R, D) for an imported concept with several rows.
    """

    concept: Concept
    vector: np.ndarray


@dataclass(frozen=True)
class GeneratedCaption:
    """A generated caption or answer.

    text: with display names.
    raw: the VLM's own text with identifiers, without names that one list has twice.
    repaired: the names that were put in, because the VLM left them out or gave them to two individuals.
    """

    text: str
    raw: str
    repaired: tuple[str, ...] = ()


def caption(
    vlm: Vlm, images: Sequence[Image.Image], concepts: Sequence[Sequence[PersonalisedConcept]]
) -> list[GeneratedCaption]:
    """Caption a batch of upright photos; concepts[i] are those recognised in photo i, none for the plain VLM.

    Every recognised name occurs in its caption. A caption that leaves out or repeats one of several names is generated
    once more with the names in reverse order; of the two, the caption with fewer faults is used. A caption that names
    one concept twice in a sentence is wrong about one of them: the plain caption replaces it. Names that are still
    missing are put in (`wording.complete`) and reported in `repaired`.
    """
    image_features = _encode(vlm, images)
    requests = [_caption_request(vlm, c) for c in concepts]
    generated = _generate(vlm, image_features, concepts, requests)
    texts = [drop_listed_repeats(text, _unwrap(c)) for text, c in zip(generated, concepts, strict=True)]
    raw = _retry_reversed(vlm, image_features, concepts, texts)
    results = []
    for final, named, c in zip(_replace_repeating(vlm, image_features, concepts, raw), raw, concepts, strict=True):
        text, repaired = complete(final, _unwrap(c))
        results.append(GeneratedCaption(text, named, repaired))
    return results


def _retry_reversed(
    vlm: Vlm, image_features: ImageFeatures, concepts: Sequence[Sequence[PersonalisedConcept]], texts: Sequence[str]
) -> list[str]:
    """Generate captions with faulty names again, with the names in reverse order; returns the better texts."""
    best = list(texts)
    faulty = [i for i, c in enumerate(concepts) if len(c) > 1 and count_faults(texts[i], _unwrap(c))]
    if not faulty:
        return best
    turned = [list(reversed(concepts[i])) for i in faulty]
    requests = [_caption_request(vlm, c) for c in turned]
    for i, second in zip(faulty, _generate(vlm, image_features.select(faulty), turned, requests), strict=True):
        in_photo = _unwrap(concepts[i])
        text = drop_listed_repeats(second, in_photo)
        if count_faults(text, in_photo) < count_faults(best[i], in_photo):
            best[i] = text
    return best


def _replace_repeating(
    vlm: Vlm, image_features: ImageFeatures, concepts: Sequence[Sequence[PersonalisedConcept]], texts: Sequence[str]
) -> list[str]:
    """Replace captions that name one concept twice in a sentence by the captions of the plain VLM."""
    kept = list(texts)
    repeating = [i for i, c in enumerate(concepts) if count_repeated(texts[i], _unwrap(c))]
    if repeating:
        none: list[list[PersonalisedConcept]] = [[] for _ in repeating]
        requests = [_caption_request(vlm, c) for c in none]
        for i, text in zip(repeating, _generate(vlm, image_features.select(repeating), none, requests), strict=True):
            kept[i] = text
    return kept


def answer(
    vlm: Vlm, images: Sequence[Image.Image], concepts: Sequence[Sequence[PersonalisedConcept]], questions: Sequence[str]
) -> list[GeneratedCaption]:
    """Answer questions[i] about photo i; names of its recognised concepts become identifiers in the question.

    Raises:
        UsageError: this VLM only captions.
    """
    check_answers(vlm.config)
    requests = []
    for question, in_photo in zip(questions, map(_unwrap, concepts), strict=True):
        named = replace_names(question, {c.name: c.identifier for c in in_photo})
        requests.append(question_request(vlm, named))
    texts = _generate(vlm, _encode(vlm, images), concepts, requests)
    return [GeneratedCaption(to_display_names(text, _unwrap(c)), text) for text, c in zip(texts, concepts, strict=True)]


def question_request(vlm: Vlm, question: str) -> str:
    """Return a question in the form in which this VLM is asked questions."""
    return vlm.config.requests.get("question", "{question}").format(question=question)


def ask_plain(vlm: Vlm, images: Sequence[Image.Image], requests: Sequence[Sequence[str]]) -> list[list[str]]:
    """Generate the plain VLM's replies to requests[i] about upright photo i; each photo is encoded once."""
    replies = []
    for image, of_photo in zip(images, requests, strict=True):
        (rows,) = _inject(vlm, _encode(vlm, [image]), [[]])
        ids = [vlm.encode_prompt(r) for r in of_photo]
        batches = [ids[i : i + vlm.config.batch] for i in range(0, len(ids), vlm.config.batch)]
        generations = (g for batch in batches for g in vlm.generate([rows] * len(batch), batch))
        replies.append([clean_text(g.text, capped=g.capped, keep_lines=True) for g in generations])
    return replies


def refer(vlm: Vlm, images: Sequence[Image.Image], concepts: Sequence[PersonalisedConcept]) -> list[Box | None]:
    """Ask the VLM for the box of concepts[i] in upright photo i, in the photo's pixels (docs/method.md, section 4).

    Where the reply has no usable box, the VLM is asked once more in another wording; None where that gives no box
    either. A box is never made up.

    Raises:
        UsageError: this VLM does not answer with boxes.
    """
    check_refers(vlm.config)
    boxes: list[Box | None] = [None] * len(images)
    image_features = _encode(vlm, images)
    for wording in (vlm.config.requests["refer"], vlm.config.requests.get("refer_retry", REFER_AGAIN)):
        pending = [i for i, box in enumerate(boxes) if box is None]
        if not pending:
            break
        asked = [[concepts[i]] for i in pending]
        requests = [wording.format(names=concepts[i].concept.identifier) for i in pending]
        replies = _generate_raw(vlm, image_features.select(pending), asked, requests)
        for i, reply in zip(pending, replies, strict=True):
            boxes[i] = _read_box(reply.text, vlm.view(images[i]), images[i].size)
    return boxes


def check_refers(config: VlmConfig) -> None:
    """Check that a VLM answers with boxes.

    Raises:
        UsageError: it does not; the hint tells which do.
    """
    if "refer" not in config.requests:
        able = ", ".join(c.name for c in list_configs() if "refer" in c.requests)
        raise UsageError(
            f"{config.name} does not answer with boxes",
            hint=f"VLMs that do: {able}. Or leave out --method refer: recognition gives a box with any VLM.",
        )


def check_answers(config: VlmConfig) -> None:
    """Check that a VLM answers questions.

    Raises:
        UsageError: it only captions; the hint tells which do answer.
    """
    if not config.answers:
        able = ", ".join(c.name for c in list_configs() if c.answers)
        raise UsageError(f"{config.name} only captions and answers no questions", hint=f"VLMs that do: {able}.")


def _read_box(text: str, view: Box, size: tuple[int, int]) -> Box | None:
    """Read the box in a reply; `view` is the part of the photo that the VLM received, `size` the photo's in pixels."""
    box = parse_minigpt_box(text, 1, 1)
    if box is None:
        return None
    w, h = view.x1 - view.x0, view.y1 - view.y0
    in_photo = Box(view.x0 + box.x0 * w, view.y0 + box.y0 * h, view.x0 + box.x1 * w, view.y0 + box.y1 * h)
    return in_photo.clipped(*size)


def attention(
    vlm: Vlm, images: Sequence[Image.Image], concepts: Sequence[Sequence[PersonalisedConcept]]
) -> list[list[np.ndarray]]:
    """Map each concept's attention over `vlm.view` while a caption is requested (paper fig. 3).

    Returns for each photo one map (h, w) float32, non-negative, for each of its `speakable` concepts.
    """
    injected = [speakable(c) for c in concepts]
    rows = _inject(vlm, _encode(vlm, images), injected)
    counts = [sum(len(c.vector) for c in in_photo) for in_photo in injected]
    ids = [vlm.encode_prompt(_caption_request(vlm, c)) for c in injected]
    maps = [m.float().cpu().numpy() for m in vlm.concept_attention(rows, counts, ids)]  # each (rows, h, w)
    return [_mean_by_concept(m, in_photo) for m, in_photo in zip(maps, injected, strict=True)]


def _mean_by_concept(maps: np.ndarray, concepts: Sequence[PersonalisedConcept]) -> list[np.ndarray]:
    """Average the maps (rows, h, w) of each concept's rows: one (h, w) for each concept."""
    ends = np.cumsum([len(c.vector) for c in concepts])
    return [m.mean(axis=0) for m in np.split(maps, ends[:-1])] if len(concepts) else []


def _encode(vlm: Vlm, images: Sequence[Image.Image]) -> ImageFeatures:
    return vlm.encode(vlm.preprocess(list(images)))


def _generate(
    vlm: Vlm, image_features: ImageFeatures, concepts: Sequence[Sequence[PersonalisedConcept]], requests: Sequence[str]
) -> list[str]:
    """Generate one clean text a photo, with identifiers in their own spelling."""
    generations = _generate_raw(vlm, image_features, concepts, requests)
    texts = [clean_text(g.text, capped=g.capped) for g in generations]
    identifiers = [[c.identifier for c in _unwrap(in_photo)] for in_photo in concepts]
    return [spell_identifiers(text, words) for text, words in zip(texts, identifiers, strict=True)]


def _generate_raw(
    vlm: Vlm, image_features: ImageFeatures, concepts: Sequence[Sequence[PersonalisedConcept]], requests: Sequence[str]
) -> list[Generation]:
    """Generate one text a photo, with the special marks that boxes are read from."""
    rows = _inject(vlm, image_features, [speakable(c) for c in concepts])
    return vlm.generate(rows, [vlm.encode_prompt(r) for r in requests])


def _inject(
    vlm: Vlm, image_features: ImageFeatures, concepts: Sequence[Sequence[PersonalisedConcept]]
) -> list[torch.Tensor]:
    """Append the concepts' rows to the image rows: (N + K_i, D) for each photo; a server takes none."""
    if vlm.config.server is not None and not any(concepts):
        return vlm.inject(image_features, [])
    import torch

    none = torch.zeros(0, vlm.width)
    vectors = [torch.from_numpy(np.concatenate([c.vector for c in photo])) if photo else none for photo in concepts]
    return vlm.inject(image_features, vectors)


def _caption_request(vlm: Vlm, concepts: Sequence[PersonalisedConcept]) -> str:
    identifiers = tuple(c.concept.identifier for c in speakable(concepts))
    return vlm.config.request("caption_of" if identifiers else "caption", identifiers)


def speakable(concepts: Sequence[PersonalisedConcept]) -> list[PersonalisedConcept]:
    """Return the concepts that the VLM is told of: the first one of each identifier."""
    return [concepts[i] for i in first_with_identifier(_unwrap(concepts))]


def _unwrap(concepts: Sequence[PersonalisedConcept]) -> list[Concept]:
    return [c.concept for c in concepts]
