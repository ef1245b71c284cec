"""Measure what the paper does not: all concepts of a seed enrolled at once, and several of them in one photo."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.benchmarks.cases import Case, Item, to_box
from engine.benchmarks.drawn_cases import CrowdPhoto
from engine.benchmarks.experiments import Measurement
from engine.benchmarks.generation import BATCH
from engine.benchmarks.generation_experiments import write_captions
from engine.captioning.caption import caption_photos
from engine.captioning.caption_run import CaptionRequest
from engine.concepts.enrol import enrol
from engine.core.boxes import Box, iou
from engine.core.errors import NoUsablePhotoError
from engine.core.types import Concept, Kind
from engine.photos.decode import load_photo
from engine.recognition.gallery import load_gallery
from engine.recognition.recognise import recognise
from engine.session import Session
from engine.training.train import train_concept
from engine.vlms.wording import has_word


def measure_crowds(
    session: Session,
    cases: Sequence[Case],
    crowds: Sequence[CrowdPhoto],
    *,
    seed: int,
    steps: int | None,
    folder: Path,
) -> Measurement:
    """Enrol and train all cases in a session with an empty store, and measure names, false names and boxes.

    Returns "crowds": names present and named in each photo of `crowds`; "names": number of false names in each
    validation and stranger's photo; "boxes": IoU of the boxes by recognition with the true ones.
    """
    concepts = _enrol_and_train(session, cases, seed, steps, folder)
    captioned = _caption_crowds(session, concepts, crowds)
    names: list[Measurement] = []
    boxes: list[Measurement] = []
    gallery = load_gallery(session.store, session.recogniser_config, session.recognition, tuple(concepts.values()))
    for case, item, shows_concept in _photos_of(cases):
        matches = recognise(session.extractor, [load_photo(item.path)], gallery)[0]
        facts = {"id": item.truth.id, "split": item.truth.split}
        names.append({**facts, "false": sum(m.name != case.name or not shows_concept for m in matches)})
        match = next((m for m in matches if shows_concept and m.name == case.name), None)
        true_box = _true_box(item, case)
        if match and true_box:
            boxes.append({**facts, "iou": round(iou(match.box, true_box), 4)})
    for name in concepts:
        session.store.forget(name)
    return {"crowds": captioned, "names": names, "boxes": boxes}


def _photos_of(cases: Sequence[Case]) -> Iterator[tuple[Case, Item, bool]]:
    """Yield all photos to test with, and whether each shows its case's concept."""
    for case in cases:
        yield from ((case, item, True) for item in case.validation)
        yield from ((case, item, False) for item in case.strangers)


def _true_box(item: Item, case: Case) -> Box | None:
    corners = item.truth.face if case.kind is Kind.PERSON else item.truth.frame
    return None if corners is None else to_box(corners)


def _enrol_and_train(
    session: Session, cases: Sequence[Case], seed: int, steps: int | None, folder: Path
) -> dict[str, Concept]:
    """Enrol all cases whose photos can be used, then train them, each under an identifier of its own."""
    for case in cases:
        with suppress(NoUsablePhotoError):
            enrol(session, case.name, case.training, kind=case.kind, category=case.category, seed=seed)
    enrolled = [case for case in cases if session.store.find(case.name)]
    for case in enrolled:
        captions = write_captions(case, folder)
        for _ in train_concept(session, session.store.get(case.name), captions=captions, steps=steps, seed=seed):
            pass
    return {case.name: session.store.get(case.name) for case in enrolled}


def _caption_crowds(
    session: Session, concepts: dict[str, Concept], crowds: Sequence[CrowdPhoto]
) -> list[dict[str, Any]]:
    """Caption each photo twice: with the concepts that are recognised, and with those that it shows given."""
    from engine.vlms import captions
    from engine.vlms.personalised import PersonalisedConcept

    vectors = {
        name: session.store.load_embedding(c, session.vlm_id, session.vlm_revision).vector
        for name, c in concepts.items()
    }
    results = list(caption_photos(session, [c.photo.path for c in crowds], CaptionRequest(write=False)))
    rows = []
    for start in range(0, len(crowds), BATCH):
        batch = crowds[start : start + BATCH]
        given = [
            [PersonalisedConcept(concepts[n], vectors[n]) for n in sorted(c.names) if n in concepts] for c in batch
        ]
        generated = captions.caption(session.vlm, [load_photo(c.photo.path).image for c in batch], given)
        for crowd, result, caption in zip(batch, results[start : start + BATCH], generated, strict=True):
            named = [n for n in concepts if has_word(result.caption or "", n)]
            row: dict[str, Any] = {"present": sorted(crowd.names)}
            row["recognised"] = sorted(m.name for m in result.matches)
            row |= {"raw": sorted(set(named) - set(result.repaired)), "said": sorted(named), "caption": result.caption}
            row["given_raw"] = sorted(n for n, c in concepts.items() if has_word(caption.raw, c.identifier))
            row["given_said"] = sorted(n for n in concepts if has_word(caption.text, n))
            rows.append(row)
    return rows
