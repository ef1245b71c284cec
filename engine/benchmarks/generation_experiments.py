"""Measure what a VLM generates with one concept at a time: plain captions, captions, answers and boxes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.benchmarks.cases import CONCEPT, Case, Item, to_box
from engine.benchmarks.experiments import Measurement, MeasurementStore
from engine.benchmarks.generation import BATCH, CaptionGenerator, GenerationRequest
from engine.benchmarks.settings import Setting
from engine.benchmarks.train_case import CaseEmbedding, identifier_of, train_embedding
from engine.concepts.enrol import enrol
from engine.core.boxes import iou
from engine.core.errors import NoUsablePhotoError
from engine.core.files import LARGEST_DOCUMENT, read_text
from engine.core.types import Concept, Kind, Reference
from engine.photos.decode import load_photo, read_photo
from engine.session import Session
from engine.training.train import train_concept

Vectors = dict[str, np.ndarray]
"""Embeddings, (1, D) float32, by concept name."""
_QUESTIONS = 2
"""Questions about each photo."""


def measure_plain(generator: CaptionGenerator, cases: Sequence[Case]) -> Measurement:
    """Caption all validation photos without concepts."""
    items = [i for c in cases for i in c.validation]
    request = generator.config.request("caption")
    texts = generator.generate([GenerationRequest(i.path, request) for i in items])
    return {"captions": {i.truth.id: text for i, text in zip(items, texts, strict=True)}}


def train_embeddings(
    generator: CaptionGenerator,
    cases: Sequence[Case],
    setting: Setting,
    *,
    seed: int,
    steps: int | None,
    store: MeasurementStore,
    digest: str,
) -> tuple[Vectors, list[dict[str, Any]]]:
    """Train each case's embedding under a setting, or load it from `store`; also return the training curves."""
    vectors, rows = {}, []
    for number, case in enumerate(cases):
        name = f"{generator.config.name}-seed{seed}-{setting.key}-{number}"
        embedding = _load_embedding(store, name, digest)
        if embedding is None:
            embedding = train_embedding(generator.vlm, case, setting, seed=seed, steps=steps)
            store.save_vector(name, digest, embedding.vector)
            curves: Measurement = {"losses": embedding.losses, "norms": embedding.norms}
            store.get(name, digest, curves.copy)
        vectors[case.name] = embedding.vector
        last = embedding.losses[-10:]
        row = {"concept": case.name, "loss": round(sum(last) / len(last), 4)}
        rows.append({**row, "losses": embedding.losses, "norms": embedding.norms})
    return vectors, rows


def _load_embedding(store: MeasurementStore, name: str, digest: str) -> CaseEmbedding | None:
    vector = store.load_vector(name, digest)
    path = store.path(name)
    if vector is None or not path.is_file():
        return None
    curves = json.loads(read_text(path, LARGEST_DOCUMENT))
    return (
        CaseEmbedding(vector, tuple(curves["losses"]), tuple(curves["norms"])) if curves["digest"] == digest else None
    )


def measure_captions(generator: CaptionGenerator, cases: Sequence[Case], vectors: Vectors) -> dict[str, str]:
    """Caption all validation photos with the concept given; the texts hold its identifier."""
    requests, ids = [], []
    for case in cases:
        request = generator.config.request("caption_of", (identifier_of(generator.config, case.kind),))
        requests += [GenerationRequest(i.path, request, vectors[case.name]) for i in case.validation]
        ids += [i.truth.id for i in case.validation]
    return dict(zip(ids, generator.generate(requests), strict=True))


def measure_answers(generator: CaptionGenerator, cases: Sequence[Case], vectors: Vectors, seed: int) -> Measurement:
    """Answer two questions about each photo; an answer is right when it equals the true one, word for word."""
    from engine.vlms.generate import question_request

    requests, rows = [], []
    for k, case in enumerate(cases):
        identifier = identifier_of(generator.config, case.kind)
        for number, item in enumerate(case.validation):
            for question, answer in draw_questions(item, (seed, k, number)):
                request = question_request(generator.vlm, question.replace(CONCEPT, identifier))
                requests.append(GenerationRequest(item.path, request, vectors[case.name]))
                rows.append((item.truth, question.replace(CONCEPT, "X"), answer.replace(CONCEPT, identifier)))
    answers = [
        {"id": truth.id, "split": truth.split, "question": question, "said": text, "truth": answer}
        for (truth, question, answer), text in zip(rows, generator.generate(requests), strict=True)
    ]
    return {"answers": answers}


def draw_questions(item: Item, seed: tuple[int, ...]) -> list[tuple[str, str]]:
    """Draw two questions about a photo, with their answers."""
    rng = np.random.default_rng(seed)
    pairs = item.truth.questions
    return [pairs[int(i)] for i in rng.choice(len(pairs), min(_QUESTIONS, len(pairs)), replace=False)]


def train_answer_embeddings(
    session: Session, cases: Sequence[Case], *, seed: int, steps: int | None, folder: Path
) -> Vectors:
    """Train embeddings for answering, one concept at a time, in a session with an empty store.

    The VLM writes the training answers (`docs/method.md`, "Questions and answers"); `folder` takes a temporary file.
    """
    vectors = {}
    for case in cases:
        concept = _enrol(session, case, seed)
        captions = write_captions(case, folder)
        for _ in train_concept(session, concept, task="vqa", captions=captions, steps=steps, seed=seed):
            pass
        stored = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision, "vqa")
        vectors[case.name] = stored.vector
        session.store.forget(case.name)
    return vectors


def write_captions(case: Case, folder: Path) -> Path:
    """Write a case's training captions, with its name in them, as the file that training reads."""
    path = folder / "captions.json"
    texts = {file: [t.replace(CONCEPT, case.name) for t in captions] for file, captions in case.captions.items()}
    path.write_text(json.dumps(texts))
    return path


def _enrol(session: Session, case: Case, seed: int) -> Concept:
    """Enrol a case; where the recogniser finds nothing in its photos, store the concept without a head."""
    try:
        return enrol(session, case.name, case.training, kind=case.kind, category=case.category, seed=seed).concept
    except NoUsablePhotoError:
        references = tuple(Reference(p.absolute(), read_photo(p).content_hash, None) for p in case.training)
        identifiers = (identifier_of(session.vlm_config, case.kind),)
        return session.store.put(case.name, case.kind or Kind.THING, case.category, identifiers, references)


def measure_boxes(generator: CaptionGenerator, cases: Sequence[Case], vectors: Vectors) -> Measurement:
    """Ask the VLM for boxes of the concept, and measure their IoU with the true ones; no box counts as 0.

    Photos without a true box are left out.
    """
    from engine.vlms.generate import refer
    from engine.vlms.personalised import PersonalisedConcept

    rows = []
    for case in cases:
        word = identifier_of(generator.config, case.kind)
        concept = Concept(case.name, word, case.kind or Kind.THING, case.category, word, 1)
        for start in range(0, len(case.validation), BATCH):
            items = case.validation[start : start + BATCH]
            images = [load_photo(i.path).image for i in items]
            boxes = refer(generator.vlm, images, [PersonalisedConcept(concept, vectors[case.name])] * len(items))
            for item, box in zip(items, boxes, strict=True):
                if item.truth.frame is not None:
                    overlap = iou(box, to_box(item.truth.frame)) if box else 0.0
                    row = {"id": item.truth.id, "split": item.truth.split}
                    rows.append({**row, "found": box is not None, "iou": round(overlap, 4)})
    return {"boxes": rows}
