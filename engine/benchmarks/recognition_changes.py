"""What happens to a scanned library when its user decides about a few photos, or enrols one more concept."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.benchmarks.experiments import Part
from engine.benchmarks.library_cases import Library, Shot, draw_library, save_references
from engine.benchmarks.library_figures import true_boxes
from engine.benchmarks.recognition_library import ScannedLibrary, Stopwatch, copied
from engine.concepts.decide import DecisionRequest, decide
from engine.concepts.enrol import enrol
from engine.core.types import Verdict
from engine.recognition.calibrate import calibrate, recognisable
from engine.recognition.recognise import Recognition, load_gallery, look_up_all
from engine.session import Session

DECISIONS = 10
_SOMEBODY_ELSE = 7_000_000
"""The eleventh concept is of a library with a seed so much higher, in which nobody of this one is."""


def measure_teaching(ready: ScannedLibrary) -> Part:
    """Decide ten times about the concept with most errors in the library, in photos of one half, and count the errors
    in the other half, before and after; then the same with the halves exchanged.

    Photos in which the concept was missed are confirmed where it is, its false names are rejected. When there are fewer
    errors than ten, its maybes are decided about.
    """
    halves = [[s for s in ready.library.shots if s.number % 2 == k] for k in (0, 1)]
    before = [_look_at(ready.session, ready, half) for half in halves]
    errors = [_errors(ready.library, half, found) for half, found in zip(halves, before, strict=True)]
    totals = [sum(map(sum, own)) for own in zip(*errors, strict=True)]
    worst = totals.index(max(totals))
    turns = []
    for taught, tested in ((0, 1), (1, 0)):
        with copied(ready.session) as session:
            wishes = _wishes(ready, worst, halves[taught], before[taught])
            results = decide(session, wishes)
            calibrate(session, ready.files, ready.root)
            after = _errors(ready.library, halves[tested], _look_at(session, ready, halves[tested]))
        verdicts = [w.verdict for w in wishes]
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
    who = ready.library.enrolled[worst]
    return {"concept": who.name, "kind": str(who.kind), "likeness": who.likeness, "turns": turns}


def measure_eleventh(ready: ScannedLibrary) -> Part:
    """Enrol one more thing over the scanned library, calibrate, and look all photos up again, by the clock."""
    import torch

    extra = replace(draw_library(ready.library.seed + _SOMEBODY_ELSE, 0).enrolled[-1], name="Concept 11")
    with copied(ready.session) as session, TemporaryDirectory(prefix="myvlm-recognition-") as name:
        drawn = save_references(Library(0, (extra,), ()), Path(name))[0]
        session.store.all()  # the user's store is open, too, when a concept is added
        watch = Stopwatch()
        concept = enrol(session, extra.name, [p.path for p in drawn], kind=extra.kind).concept
        watch.lap("enrol")
        calibrate(session, ready.files, ready.root)
        watch.lap("calibrate")
        enrolled = load_gallery(session, recognisable(session), ready.root)
        found = look_up_all(session, [(p.content_hash, None) for p in ready.photos.values()], enrolled)
        watch.lap("match")
    named = sum(m.concept_id == concept.id for f in found if f is not None for m in f.names)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "seconds": watch.seconds,
        "threads": torch.get_num_threads(),
        "cores": cores,
        "photos": len(found),
        "kind": str(extra.kind),
        "false_names": named,
    }


def _look_at(session: Session, ready: ScannedLibrary, shots: Sequence[Shot]) -> list[Recognition]:
    """What is found in some photos, with the heads and thresholds as they are now."""
    enrolled = load_gallery(session, recognisable(session), ready.root)
    found = look_up_all(session, [(ready.photos[s.number].content_hash, None) for s in shots], enrolled)
    return [f for f in found if f is not None]  # all photos were scanned


def _errors(library: Library, shots: Sequence[Shot], found: Sequence[Recognition]) -> list[tuple[int, int]]:
    """Of every concept, how often it was missed and how often it was named wrongly."""
    seen = [({i for i, _ in s.present}, {m.name for m in f.names}) for s, f in _both(shots, found)]
    counts = []
    for c, e in enumerate(library.enrolled):
        missed = sum(c in present and e.name not in said for present, said in seen)
        counts.append((missed, sum(e.name in said and c not in present for present, said in seen)))
    return counts


def _both(shots: Sequence[Shot], found: Sequence[Recognition]) -> list[tuple[Shot, Recognition]]:
    return list(zip(shots, found, strict=True))


def _sum_of_others(counts: Sequence[tuple[int, int]], worst: int) -> list[int]:
    return [sum(own[k] for c, own in enumerate(counts) if c != worst) for k in (0, 1)]


def _wishes(
    ready: ScannedLibrary, worst: int, shots: Sequence[Shot], found: Sequence[Recognition]
) -> list[DecisionRequest]:
    """What the user decides: about errors first, then about maybes, in the photos' order."""
    name = ready.library.enrolled[worst].name
    errors, maybes = [], []
    for shot, own in _both(shots, found):
        drawn = ready.photos[shot.number].drawn
        said = {m.name: m.box for m in own.names}
        perhaps = {m.name: m.box for m in own.maybes}
        there = worst in {i for i, _ in shot.present}
        true = true_boxes(ready.library, shot, drawn).get(worst)
        if there and name not in said:
            errors.append(DecisionRequest(drawn.path, name, Verdict.CONFIRM, true))
        elif name in said and not there:
            errors.append(DecisionRequest(drawn.path, name, Verdict.REJECT, said[name]))
        elif name in perhaps:
            maybes.append(DecisionRequest(drawn.path, name, Verdict.REJECT, perhaps[name]))
    return [*errors, *maybes][:DECISIONS]
