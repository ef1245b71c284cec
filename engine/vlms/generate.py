"""Generate answers, boxes and attention maps with a loaded VLM and the concepts recognised in each photo.

The steps are the same for every task, also for captions (`vlms/captions.py`). The image features of a photo are
computed once. The VLM is told of the concepts by rows after the image features, by facts in the request, or both, with
words that it knows. It generates a text, which is cleaned; display names take the place of those words.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from engine.core.boxes import Box
from engine.core.errors import PhotoError, UsageError
from engine.vlms.chat.boxes import parse_boxes, sent_size
from engine.vlms.clean_text import clean_text
from engine.vlms.config import VlmConfig, list_configs
from engine.vlms.generation import Generation
from engine.vlms.looks import cut_out, with_look
from engine.vlms.name_rules import NameRules, words_of
from engine.vlms.naming import state_names
from engine.vlms.personalised import GeneratedCaption, PersonalisedConcept, distinct, speakable, unwrap
from engine.vlms.prompt_config import BoxFormat
from engine.vlms.repair import to_display_names
from engine.vlms.requests import caption_request
from engine.vlms.wording import find_names, has_word, replace_names, spell_identifiers

if TYPE_CHECKING:  # a VLM in a server needs no torch
    from engine.vlms.base import Encoded, Vlm

REFER_AGAIN = "[refer] where is {names}?"
"""The second request for a box, unless the VLM's config has a `refer_retry`: MiniGPT-v2 was trained on this one too."""


def answer(
    vlm: Vlm,
    images: Sequence[Image.Image],
    concepts: Sequence[Sequence[PersonalisedConcept]],
    questions: Sequence[str],
    rules: NameRules | None = None,
) -> list[GeneratedCaption]:
    """Answer questions[i] about photo i; names of its recognised concepts become the VLM's words in the question.

    rules: which names answers may hold; sentences with other enrolled names are removed, unless the question has them.
    Names that nobody enrolled may be the very answer ("What is the shop called?").

    A VLM that is told names by text is told what those look like that the question is about.

    Raises:
        UsageError: this VLM only captions.
    """
    check_answers(vlm.config)
    told, requests = [], []
    for image, in_photo, question in zip(images, map(distinct, concepts), questions, strict=True):
        named = replace_names(question, {c.name: c.identifier for c in unwrap(in_photo)})
        asked = [i for i, c in enumerate(in_photo) if c.box is not None and has_word(named, c.concept.identifier)]
        told.append(with_looks(vlm, image, in_photo, asked))
        requests.append(state_names(vlm.config, question_request(vlm, named), told[-1]))
    texts = generate_texts(vlm, encode(vlm, images), told, requests)
    return [_reply(text, c, q, rules) for text, c, q in zip(texts, told, questions, strict=True)]


def _reply(
    said: Generation, concepts: Sequence[PersonalisedConcept], question: str, rules: NameRules | None
) -> GeneratedCaption:
    """Put display names into an answer, without sentences that hold a wrong name."""
    told = unwrap(concepts)
    rules = rules or NameRules()
    asked = {name for _, _, name in find_names(question, rules.enrolled)} | words_of([question])
    own = replace(rules, strict=False, allowed=frozenset(asked))
    text, removed = to_display_names(own.without_wrong(said.text, told), told), own.wrong_names(said.text, told)
    return GeneratedCaption(text, said.text, removed=removed, capped=said.capped)


def question_request(vlm: Vlm, question: str) -> str:
    """Return a question in the form in which this VLM is asked questions."""
    return vlm.config.requests.get("question", "{question}").format(question=question)


def with_looks(
    vlm: Vlm, image: Image.Image, concepts: Sequence[PersonalisedConcept], chosen: Sequence[int]
) -> list[PersonalisedConcept]:
    """Give the chosen ones of a photo's concepts the look that the VLM sees in their crops (`vlms/looks.py`).

    Where a server gives no answer about a crop, the concept keeps its class word.
    """
    described = list(concepts)
    request = caption_request(vlm.config, ())
    for i in chosen:
        try:
            ((text,),) = ask_plain(vlm, [cut_out(image, concepts[i])], [[request]])
        except PhotoError:
            continue
        described[i] = with_look(concepts[i], text)
    return described


def ask_plain(vlm: Vlm, images: Sequence[Image.Image], requests: Sequence[Sequence[str]]) -> list[list[str]]:
    """Generate the plain VLM's replies to requests[i] about upright photo i; each photo is encoded once."""
    replies = []
    for image, of_photo in zip(images, requests, strict=True):
        (rows,) = _inject(vlm, encode(vlm, [image]), [[]])
        ids = [vlm.encode_prompt(r) for r in of_photo]
        batches = [ids[i : i + vlm.config.batch] for i in range(0, len(ids), vlm.config.batch)]
        generations = (g for batch in batches for g in vlm.generate([rows] * len(batch), batch))
        replies.append([clean_text(g.text, capped=g.capped, keep_lines=True) for g in generations])
    return replies


def refer(vlm: Vlm, images: Sequence[Image.Image], concepts: Sequence[PersonalisedConcept]) -> list[Box | None]:
    """Ask the VLM for the box of concepts[i] in upright photo i, in the photo's pixels (docs/method.md, section 4).

    A concept without an embedding is described by its class and rough place, but not by its box.

    Where the reply has no usable box, the VLM is asked once more in another wording; None where that gives no box
    either. A box is never made up.

    Raises:
        UsageError: this VLM does not answer with boxes.
    """
    check_refers(vlm.config)
    boxes: list[Box | None] = [None] * len(images)
    image_features = encode(vlm, images)
    for wording in _refer_wordings(vlm.config):
        pending = [i for i, box in enumerate(boxes) if box is None]
        if not pending:
            break
        asked = [[concepts[i]] for i in pending]
        wordings = [wording.format(names=concepts[i].concept.identifier) for i in pending]
        requests = [state_names(vlm.config, w, a, boxes=False) for w, a in zip(wordings, asked, strict=True)]
        replies = _generate_raw(vlm, image_features.select(pending), asked, requests)
        for i, reply in zip(pending, replies, strict=True):
            boxes[i] = _read_box(vlm.config, reply.text, vlm.view(images[i]), images[i].size)
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


def _box_format(config: VlmConfig) -> BoxFormat:
    return config.chat.boxes if config.chat else "minigpt"


def _refer_wordings(config: VlmConfig) -> list[str]:
    """Return the requests for a box, the first choice first."""
    again = config.requests.get("refer_retry", REFER_AGAIN if _box_format(config) == "minigpt" else None)
    return [config.requests["refer"], *([again] if again else [])]


def _read_box(config: VlmConfig, text: str, view: Box, size: tuple[int, int]) -> Box | None:
    """Read the first usable box in a reply.

    view: the part of the photo that the VLM received; size: the photo's, in pixels.
    """
    w, h = view.x1 - view.x0, view.y1 - view.y0
    sent = sent_size(w, h, config.chat.max_pixels if config.chat else None)
    boxes = parse_boxes(text, _box_format(config), sent, (w, h))
    if not boxes:
        return None
    box = boxes[0]
    return Box(view.x0 + box.x0, view.y0 + box.y0, view.x0 + box.x1, view.y0 + box.y1).clipped(*size)


def attention(
    vlm: Vlm, images: Sequence[Image.Image], concepts: Sequence[Sequence[PersonalisedConcept]]
) -> list[list[np.ndarray]]:
    """Map each concept's attention over `vlm.view` while a caption is requested (paper fig. 3).

    Returns for each photo one map (h, w) float32, non-negative, for each of its `speakable` concepts; all of them must
    have an embedding.
    """
    injected = [speakable(c) for c in concepts]
    rows = _inject(vlm, encode(vlm, images), injected)
    counts = [sum(_row_counts(in_photo)) for in_photo in injected]
    ids = [vlm.encode_prompt(caption_request(vlm.config, c)) for c in injected]
    maps = [m.float().cpu().numpy() for m in vlm.concept_attention(rows, counts, ids)]  # each (rows, h, w)
    return [_mean_by_concept(m, in_photo) for m, in_photo in zip(maps, injected, strict=True)]


def _mean_by_concept(maps: np.ndarray, concepts: Sequence[PersonalisedConcept]) -> list[np.ndarray]:
    """Average the maps (rows, h, w) of each concept's rows: one (h, w) for each concept."""
    ends = np.cumsum(_row_counts(concepts))
    return [m.mean(axis=0) for m in np.split(maps, ends[:-1])] if len(concepts) else []


def _row_counts(concepts: Sequence[PersonalisedConcept]) -> list[int]:
    return [0 if c.vector is None else len(c.vector) for c in concepts]


def encode(vlm: Vlm, images: Sequence[Image.Image]) -> Encoded:
    """Compute the image features of upright photos."""
    return vlm.encode(vlm.preprocess(list(images)))


def generate_texts(
    vlm: Vlm,
    image_features: Encoded,
    concepts: Sequence[Sequence[PersonalisedConcept]],
    requests: Sequence[str],
    max_new_tokens: int | None = None,
) -> list[Generation]:
    """Generate one clean text a photo, with identifiers in their own spelling."""
    generations = _generate_raw(vlm, image_features, concepts, requests, max_new_tokens)
    texts = [unicodedata.normalize("NFC", clean_text(g.text, capped=g.capped)) for g in generations]
    return [
        replace(g, text=_spell(vlm.config, text, in_photo))
        for g, text, in_photo in zip(generations, texts, concepts, strict=True)
    ]


def _spell(config: VlmConfig, text: str, concepts: Sequence[PersonalisedConcept]) -> str:
    """Give identifiers, and display names that the VLM was told, their own spelling."""
    by_display_name = config.naming is not None and config.naming.word == "name"
    told = [c.concept.identifier for c in concepts if by_display_name and c.vector is None]
    others = [c.concept.identifier for c in concepts if not by_display_name or c.vector is not None]
    return spell_identifiers(spell_identifiers(text, others), told, lower_case=False)


def _generate_raw(
    vlm: Vlm,
    image_features: Encoded,
    concepts: Sequence[Sequence[PersonalisedConcept]],
    requests: Sequence[str],
    max_new_tokens: int | None = None,
) -> list[Generation]:
    """Generate one text a photo, with the special marks that boxes are read from."""
    rows = _inject(vlm, image_features, [speakable(c) for c in concepts])
    return vlm.generate(rows, [vlm.encode_prompt(r) for r in requests], max_new_tokens)


def _inject(vlm: Vlm, image_features: Encoded, concepts: Sequence[Sequence[PersonalisedConcept]]) -> list[Any]:
    """Give each photo the rows of its concepts that have an embedding; a server takes none."""
    if vlm.config.server is not None and all(c.vector is None for photo in concepts for c in photo):
        return vlm.inject(image_features, [])
    import torch

    none = torch.zeros(0, vlm.width)
    vectors = [[c.vector for c in photo if c.vector is not None] for photo in concepts]
    return vlm.inject(image_features, [torch.from_numpy(np.concatenate(v)) if v else none for v in vectors])
