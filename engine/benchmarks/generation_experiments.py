"""What a VLM says: plain captions, captions with a concept, answers and boxes, one concept at a time."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.benchmarks.cases import CONCEPT, Case, Item, box_of
from engine.benchmarks.experiments import Part, Parts
from engine.benchmarks.generation import BATCH, Ask, Voice
from engine.benchmarks.settings import Setting
from engine.benchmarks.train_case import CaseEmbedding, identifier_of, learn_embedding
from engine.concepts.enrol import enrol
from engine.core.boxes import iou
from engine.core.errors import NoUsablePhotoError
from engine.core.files import LARGEST_DOCUMENT, read_text
from engine.core.types import Concept, Kind, Reference
from engine.photos.decode import load_photo, read_photo
from engine.session import Session
from engine.training.train import train_concept

Vectors = dict[str, np.ndarray]
"""Embeddings by concept."""
_QUESTIONS = 2
"""Asked about each photo."""


def measure_plain(session: Session, voice: Voice, cases: Sequence[Case]) -> Part:
    """Un-personalised captions of all validation photos."""
    items = [i for c in cases for i in c.validation]
    request = session.vlm_config.request("caption")
    said = voice.say([Ask(i.path, request) for i in items])
    return {"captions": {i.truth.id: text for i, text in zip(items, said, strict=True)}}


def learn_all(
    session: Session, cases: Sequence[Case], setting: Setting, seed: int, steps: int | None, parts: Parts, digest: str
) -> tuple[Vectors, list[dict[str, Any]]]:
    """Every case's embedding under a setting, from the disk where it was learned before, and how learning went."""
    vectors, rows = {}, []
    for number, case in enumerate(cases):
        name = f"{session.vlm_config.name}-seed{seed}-{setting.key}-{number}"
        lesson = _known(parts, name, digest)
        if lesson is None:
            lesson = learn_embedding(session, case, setting, seed, steps)
            parts.save_vector(name, digest, lesson.vector)
            curves = {"losses": lesson.losses, "norms": lesson.norms}
            parts.get(name, digest, lambda curves=curves: curves)  # type: ignore[misc]
        vectors[case.name] = lesson.vector
        tail = lesson.losses[-10:]
        loss = round(sum(tail) / len(tail), 4)
        rows.append({"concept": case.name, "loss": loss, "losses": lesson.losses, "norms": lesson.norms})
    return vectors, rows


def _known(parts: Parts, name: str, digest: str) -> CaseEmbedding | None:
    vector = parts.load_vector(name, digest)
    path = parts.path(name)
    if vector is None or not path.is_file():
        return None
    curves = json.loads(read_text(path, LARGEST_DOCUMENT))
    return (
        CaseEmbedding(vector, tuple(curves["losses"]), tuple(curves["norms"])) if curves["digest"] == digest else None
    )


def measure_named(session: Session, voice: Voice, cases: Sequence[Case], vectors: Vectors) -> dict[str, str]:
    """Captions of all validation photos with the concept given, in the VLM's own words: the identifier in them."""
    asks, ids = [], []
    for case in cases:
        request = session.vlm_config.request("caption_of", (identifier_of(session, case.kind),))
        asks += [Ask(i.path, request, vectors[case.name]) for i in case.validation]
        ids += [i.truth.id for i in case.validation]
    return dict(zip(ids, voice.say(asks), strict=True))


def measure_answers(session: Session, voice: Voice, cases: Sequence[Case], vectors: Vectors, seed: int) -> Part:
    """Answers to two questions about each photo: right when they equal the true answer, word for word."""
    from engine.vlms.generate import question_request

    asks, facts = [], []
    for k, case in enumerate(cases):
        identifier = identifier_of(session, case.kind)
        for number, item in enumerate(case.validation):
            for question, answer in _draw_questions(item, (seed, k, number)):
                request = question_request(voice.vlm, question.replace(CONCEPT, identifier))
                asks.append(Ask(item.path, request, vectors[case.name]))
                facts.append((item.truth, question, answer.replace(CONCEPT, identifier)))
    rows = [
        {
            "id": truth.id,
            "split": truth.split,
            "question": question.replace(CONCEPT, "X"),
            "said": said,
            "truth": answer,
        }
        for (truth, question, answer), said in zip(facts, voice.say(asks), strict=True)
    ]
    return {"answers": rows}


def _draw_questions(item: Item, seed: tuple[int, int, int]) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    asked = item.truth.questions
    return [asked[int(i)] for i in rng.choice(len(asked), min(_QUESTIONS, len(asked)), replace=False)]


def learn_answers(session: Session, cases: Sequence[Case], seed: int, steps: int | None, folder: Path) -> Vectors:
    """Embeddings learned for answering, one concept at a time; the VLM writes the training answers (method.md §6)."""
    vectors = {}
    for case in cases:
        concept = _enrolled(session, case, seed)
        captions = folder / "captions.json"
        captions.write_text(
            json.dumps({f: [t.replace(CONCEPT, case.name) for t in own] for f, own in case.captions.items()})
        )
        for _ in train_concept(session, concept, task="vqa", captions=captions, steps=steps, seed=seed):
            pass
        stored = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision, "vqa")
        vectors[case.name] = stored.vector
        session.store.forget(case.name)
    return vectors


def _enrolled(session: Session, case: Case, seed: int) -> Concept:
    """The case as a concept; without a head where the recogniser finds nothing in its photos."""
    try:
        return enrol(session, case.name, case.training, kind=case.kind, category=case.category, seed=seed).concept
    except NoUsablePhotoError:
        references = tuple(Reference(p.absolute(), read_photo(p).content_hash, None) for p in case.training)
        identifiers = (identifier_of(session, case.kind),)
        return session.store.put(case.name, case.kind or Kind.THING, case.category, identifiers, references)


def measure_boxes(session: Session, cases: Sequence[Case], vectors: Vectors) -> Part:
    """Boxes that the VLM itself gives for the concept, as IoU with the true one; 0 where it gives none."""
    from engine.vlms.generate import PersonalisedConcept, refer

    rows = []
    for case in cases:
        word = identifier_of(session, case.kind)
        concept = Concept(case.name, word, case.kind or Kind.THING, case.category, word, 1)
        for start in range(0, len(case.validation), BATCH):
            items = case.validation[start : start + BATCH]
            images = [load_photo(i.path).image for i in items]
            boxes = refer(session.vlm, images, [PersonalisedConcept(concept, vectors[case.name])] * len(items))
            for item, box in zip(items, boxes, strict=True):
                assert item.truth.frame is not None
                shared = iou(box, box_of(item.truth.frame)) if box else 0.0
                row = {
                    "id": item.truth.id,
                    "split": item.truth.split,
                    "found": box is not None,
                    "iou": round(shared, 4),
                }
                rows.append(row)
    return {"boxes": rows}
