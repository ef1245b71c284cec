"""Measure what changes in a scanned library when the user decides about a few photos, or enrols one more concept."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.benchmarks.experiments import Measurement
from engine.benchmarks.library_cases import Library, Shot, draw_library, save_references
from engine.benchmarks.library_figures import true_boxes
from engine.benchmarks.recognition_library import ScannedLibrary, StepTimer, copy_session
from engine.concepts.decide import DecisionRequest, decide
from engine.concepts.enrol import enrol
from engine.core.types import Verdict
from engine.recognition.calibrate import calibrate
from engine.recognition.enrolled import recognisable
from engine.recognition.gallery import load_gallery
from engine.recognition.recognise import Recognition, look_up_all
from engine.session import Session

DECISIONS = 10
_OTHER_LIBRARY = 7_000_000
"""Added to the seed of a library for the one that the eleventh concept is from: they have no individual in common."""


def measure_decisions(scanned: ScannedLibrary) -> Measurement:
    """Measure the errors after ten decisions about the concept with most errors in the library.

    Decisions are about photos of one half of the library, errors are counted in the other half, before and after; then
    the halves are exchanged. Where the concept was missed, it is confirmed in its true box; its false names are
    rejected. When there are fewer than ten errors, its suggestions are rejected, too.
    """
    halves = [[s for s in scanned.library.shots if s.number % 2 == k] for k in (0, 1)]
    before = [_recognise(scanned.session, scanned, half) for half in halves]
    errors = [_count_errors(scanned.library, half, photos) for half, photos in zip(halves, before, strict=True)]
    totals = [sum(map(sum, counts)) for counts in zip(*errors, strict=True)]
    worst = totals.index(max(totals))
    turns = []
    for decided, tested in ((0, 1), (1, 0)):
        with copy_session(scanned.session) as session:
            requests = _decision_requests(scanned, worst, halves[decided], before[decided])
            results = decide(session, requests)
            calibrate(session, scanned.files, scanned.root)
            after = _count_errors(scanned.library, halves[tested], _recognise(session, scanned, halves[tested]))
        verdicts = [r.verdict for r in requests]
        turns.append(
            {
                "photos": len(halves[tested]),
                "confirmed": verdicts.count(Verdict.CONFIRM),
                "rejected": verdicts.count(Verdict.REJECT),
                "failed": sum(r.error is not None for r in results),
                "own": [list(errors[tested][worst]), list(after[worst])],
                "others": [_sum_of_others(counts, worst) for counts in (errors[tested], after)],
            }
        )
    who = scanned.library.enrolled[worst]
    return {"concept": who.name, "kind": str(who.kind), "likeness": who.likeness, "turns": turns}


def measure_eleventh(scanned: ScannedLibrary) -> Measurement:
    """Time the enrolment of one more thing in the scanned library: enrol, calibrate, and match all photos again."""
    import torch

    extra = replace(draw_library(scanned.library.seed + _OTHER_LIBRARY, 0).enrolled[-1], name="Concept 11")
    with copy_session(scanned.session) as session, TemporaryDirectory(prefix="myvlm-recognition-") as name:
        drawn = save_references(Library(0, (extra,), ()), Path(name))[0]
        session.store.all()  # opens the store, which is open as well when a user adds a concept
        timer = StepTimer()
        concept = enrol(session, extra.name, [p.path for p in drawn], kind=extra.kind).concept
        timer.record("enrol")
        calibrate(session, scanned.files, scanned.root)
        timer.record("calibrate")
        gallery = load_gallery(
            session.store,
            session.recogniser_config,
            session.recognition,
            recognisable(session.store, session.recogniser_config),
            scanned.root,
        )
        photos = look_up_all(session.extractor, [(p.content_hash, None) for p in scanned.photos.values()], gallery)
        timer.record("match")
    named = sum(m.concept_id == concept.id for photo in photos if photo is not None for m in photo.matches)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "seconds": timer.seconds,
        "threads": torch.get_num_threads(),
        "cores": cores,
        "photos": len(photos),
        "kind": str(extra.kind),
        "false_names": named,
    }


def _recognise(session: Session, scanned: ScannedLibrary, shots: Sequence[Shot]) -> list[Recognition]:
    """Recognise concepts in some photos, with the present heads and thresholds."""
    gallery = load_gallery(
        session.store,
        session.recogniser_config,
        session.recognition,
        recognisable(session.store, session.recogniser_config),
        scanned.root,
    )
    photos = look_up_all(session.extractor, [(scanned.photos[s.number].content_hash, None) for s in shots], gallery)
    return [photo for photo in photos if photo is not None]  # all photos were scanned


def _count_errors(library: Library, shots: Sequence[Shot], photos: Sequence[Recognition]) -> list[tuple[int, int]]:
    """Count, for each concept, in how many photos it was missed and in how many it was named wrongly."""
    pairs = [
        ({i for i, _ in shot.present}, {m.name for m in photo.matches})
        for shot, photo in zip(shots, photos, strict=True)
    ]
    counts = []
    for c, e in enumerate(library.enrolled):
        missed = sum(c in present and e.name not in names for present, names in pairs)
        counts.append((missed, sum(e.name in names and c not in present for present, names in pairs)))
    return counts


def _sum_of_others(counts: Sequence[tuple[int, int]], worst: int) -> list[int]:
    return [sum(pair[k] for c, pair in enumerate(counts) if c != worst) for k in (0, 1)]


def _decision_requests(
    scanned: ScannedLibrary, worst: int, shots: Sequence[Shot], photos: Sequence[Recognition]
) -> list[DecisionRequest]:
    """List the user's decisions about one concept: errors first, then suggestions, in the photos' order."""
    name = scanned.library.enrolled[worst].name
    errors, suggestions = [], []
    for shot, photo in zip(shots, photos, strict=True):
        drawn = scanned.photos[shot.number].drawn
        named = {m.name: m.box for m in photo.matches}
        suggested = {m.name: m.box for m in photo.suggestions}
        present = worst in {i for i, _ in shot.present}
        true_box = true_boxes(scanned.library, shot, drawn).get(worst)
        if present and name not in named:
            errors.append(DecisionRequest(drawn.path, name, Verdict.CONFIRM, true_box))
        elif name in named and not present:
            errors.append(DecisionRequest(drawn.path, name, Verdict.REJECT, named[name]))
        elif name in suggested:
            suggestions.append(DecisionRequest(drawn.path, name, Verdict.REJECT, suggested[name]))
    return [*errors, *suggestions][:DECISIONS]
