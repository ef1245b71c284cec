"""Beyond the paper: everybody enrolled at once, as myvlm is used; several of them in one photo."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.benchmarks.cases import CONCEPT, Case, Item, box_of
from engine.benchmarks.drawn_cases import Crowd
from engine.benchmarks.experiments import Part
from engine.benchmarks.generation import BATCH
from engine.captioning.caption import CaptionRequest, caption_photos
from engine.concepts.enrol import enrol
from engine.core.boxes import iou
from engine.core.errors import NoUsablePhotoError
from engine.core.types import Concept, Kind
from engine.photos.decode import load_photo
from engine.recognition.recognise import load_gallery, recognise
from engine.session import Session
from engine.training.train import train_concept
from engine.vlms.wording import has_word


def measure_crowds(
    session: Session, cases: Sequence[Case], crowds: Sequence[Crowd], seed: int, steps: int | None, folder: Path
) -> Part:
    """Names said against names present, false names, and boxes by recognition, with all concepts enrolled."""
    concepts = _learn(session, cases, seed, steps, folder)
    found: Part = {"crowds": _describe(session, concepts, crowds)}
    rows, boxes = [], []
    enrolled = load_gallery(session, tuple(concepts.values()))
    for case in cases:
        for item, own in ((i, own) for items, own in ((case.validation, True), (case.strangers, False)) for i in items):
            matches = recognise(session, [load_photo(item.path)], enrolled)[0]
            false = sum(m.name != case.name or not own for m in matches)
            rows.append({"id": item.truth.id, "split": item.truth.split, "false": false})
            match = next((m for m in matches if own and m.name == case.name), None)
            if match:
                boxes.append({"id": item.truth.id, "split": item.truth.split, "iou": _overlap(match.box, item, case)})
    for name in concepts:
        session.store.forget(name)
    return {**found, "names": rows, "boxes": boxes}


def _overlap(box: Any, item: Item, case: Case) -> float:
    corners = item.truth.face if case.kind is Kind.PERSON else item.truth.frame
    assert corners is not None
    return round(iou(box, box_of(corners)), 4)


def _learn(session: Session, cases: Sequence[Case], seed: int, steps: int | None, folder: Path) -> dict[str, Concept]:
    """Enrol everybody whose photos can be used, then teach them, each under an identifier of its own."""
    for case in cases:
        with suppress(NoUsablePhotoError):
            enrol(session, case.name, case.training, kind=case.kind, category=case.category, seed=seed)
    captions = folder / "captions.json"
    enrolled = [case for case in cases if session.store.find(case.name)]
    for case in enrolled:
        given = {f: [t.replace(CONCEPT, case.name) for t in own] for f, own in case.captions.items()}
        captions.write_text(json.dumps(given))
        for _ in train_concept(session, session.store.get(case.name), captions=captions, steps=steps, seed=seed):
            pass
    return {case.name: session.store.get(case.name) for case in enrolled}


def _describe(session: Session, concepts: dict[str, Concept], crowds: Sequence[Crowd]) -> list[dict[str, Any]]:
    from engine.vlms import generate

    vectors = {
        name: session.store.load_embedding(c, session.vlm_id, session.vlm_revision).vector
        for name, c in concepts.items()
    }
    paths = [c.photo.path for c in crowds]
    results = list(caption_photos(session, paths, CaptionRequest(write=False)))
    rows = []
    for start in range(0, len(crowds), BATCH):
        part = crowds[start : start + BATCH]
        known = [
            [generate.PersonalisedConcept(concepts[n], vectors[n]) for n in sorted(c.names) if n in concepts]
            for c in part
        ]
        given = generate.caption(session.vlm, [load_photo(c.photo.path).image for c in part], known)
        for crowd, result, told in zip(part, results[start : start + BATCH], given, strict=True):
            said = [n for n in concepts if has_word(result.caption or "", n)]
            row = {"present": sorted(crowd.names), "recognised": sorted(m.name for m in result.matches)}
            row |= {"raw": sorted(set(said) - set(result.repaired)), "said": sorted(said), "caption": result.caption}
            row["given_raw"] = sorted(n for n, c in concepts.items() if has_word(told.raw, c.identifier))
            row["given_said"] = sorted(n for n in concepts if has_word(told.text, n))
            rows.append(row)
    return rows


def f1(said: Sequence[str], present: Sequence[str]) -> float:
    """F1 of two sets of names: 2·|both| / (|said| + |present|), 1.0 when both are empty."""
    a, b = set(said), set(present)
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0
