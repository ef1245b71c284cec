"""Deciding: what the user confirms or rejects holds for its photo at once and for ever, and teaches the head."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.concepts.enrol import not_learned
from engine.concepts.object_heads import retrain_head
from engine.core.boxes import Box
from engine.core.errors import ConceptError, EngineError, PhotoError, UsageError
from engine.core.types import Concept, Decision, Verdict
from engine.photos.decode import load_photo, read_photo
from engine.recognition.feedback_features import gather_feedback, rank_by_head
from engine.session import Session
from engine.store.concepts import ConceptStore
from engine.store.heads import FeedbackFeatures
from engine.vision.cached_extractor import CachedExtractor


@dataclass(frozen=True)
class DecisionRequest:
    """What the user wants: a verdict about a concept in a photo, at a box (pixels of the upright photo) or somewhere in
    it; or with `undo` that the decision about them, whatever it was, is taken back.
    """

    photo: Path
    concept: str
    verdict: Verdict
    box: Box | None = None
    undo: bool = False


@dataclass(frozen=True)
class DecisionResult:
    """What became of a wish, or of a line that is none: a decision (with `undo` the one taken back), the one that it
    replaces, or an error. notes: what it does not do.
    """

    wish: DecisionRequest | None = None
    decision: Decision | None = None
    replaced: Decision | None = None
    error: EngineError | None = None
    notes: tuple[str, ...] = ()


def decide(session: Session, wishes: Iterable[DecisionRequest | UsageError]) -> list[DecisionResult]:
    """Keep (or take back) decisions, then train the heads of the concepts that they are about, each once.

    What concerns one wish (an unknown concept, a photo that cannot be read, a line that is none) is a result with an
    error, and the others are done.
    """
    results: list[DecisionResult] = []
    touched: dict[str, Concept] = {}
    for wish in wishes:
        if isinstance(wish, UsageError):
            results.append(DecisionResult(error=wish))
            continue
        try:
            concept = session.store.get(wish.concept)
            results.append((_take_back if wish.undo else _record)(session.store, wish, concept))
            touched[concept.id] = concept
        except (PhotoError, ConceptError, UsageError) as err:
            results.append(DecisionResult(wish, error=err))
    notes = {
        (d.concept_id, d.content_hash): n
        for c in touched.values()
        for d, n in _teach(session.store, session.extractor, c)
    }
    return [_noted(r, notes) for r in results]


def read_decision_requests(
    text: str, verdict: Verdict | None, concept: str | None, *, undo: bool
) -> list[DecisionRequest | UsageError]:
    """Wishes from JSON lines: {"photo": …, "concept": …, "verdict": "confirm" or "reject", "box": [x0, y0, x1, y1]}.
    A line without verdict or concept takes these, and is an error where they are None; without box it is about the
    whole photo. Empty lines are left out.
    """
    usual = {"verdict": verdict, "concept": concept}
    found: list[DecisionRequest | UsageError] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(_parse(usual, json.loads(line), undo=undo))
            except (ValueError, TypeError, KeyError, RecursionError, UsageError) as err:
                reason = str(err) if isinstance(err, UsageError) else "no JSON object with photo, concept, verdict, box"
                found.append(UsageError(f"line {number}: {reason}", hint=_EXAMPLE))
    return found


_EXAMPLE = 'A line is like {"photo": "a.jpg", "concept": "rex", "verdict": "confirm", "box": [10, 10, 90, 90]}.'


def _parse(usual: dict[str, Any], line: dict[str, Any], *, undo: bool) -> DecisionRequest:
    unknown = set(line) - {"photo", "concept", "verdict", "box"}
    if unknown:
        raise UsageError(f"unknown: {', '.join(sorted(unknown))}")
    photo, concept = line["photo"], line.get("concept", usual["concept"])
    if not (isinstance(photo, str) and photo and isinstance(concept, str) and concept):
        raise UsageError("photo and concept are texts that are not empty")
    verdict = line.get("verdict", usual["verdict"])
    if verdict is None:
        raise UsageError("it has no verdict, which is confirm or reject")
    if verdict not in tuple(Verdict):
        raise UsageError(f"verdict is confirm or reject, not {verdict!r}")
    box = line.get("box")
    return DecisionRequest(Path(photo), concept, Verdict(verdict), None if box is None else make_box(box), undo)


def make_box(corners: Sequence[float]) -> Box:
    """A box from x0, y0, x1, y1.

    Raises:
        UsageError: these are not four numbers, or the box is empty.
    """
    if not isinstance(corners, list | tuple) or len(corners) != 4:
        raise UsageError("box is x0, y0, x1, y1, in pixels of the upright photo")
    if any(isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v) for v in corners):
        raise UsageError("box holds something else than numbers")
    box = Box(*map(float, corners))
    if box.x0 >= box.x1 or box.y0 >= box.y1:
        raise UsageError("box is empty: x0 < x1 and y0 < y1 are needed")
    return box


def standing(decision: Decision) -> str:
    """Whether a decision still counts where it was made: "holds", "changed" (the photo has other content now, for which
    it does not count) or "not there" (it holds wherever the photo is now).
    """
    try:
        same = read_photo(decision.path).content_hash == decision.content_hash
    except PhotoError:
        return "not there"
    return "holds" if same else "changed"


def _record(store: ConceptStore, wish: DecisionRequest, concept: Concept) -> DecisionResult:
    photo = load_photo(wish.photo)
    box = wish.box.clipped(photo.facts.width, photo.facts.height) if wish.box else None
    if box is not None and not (box.x0 < box.x1 and box.y0 < box.y1):
        size = f"{photo.facts.width} x {photo.facts.height}"
        raise UsageError(f"{wish.photo}: the box lies outside of the photo ({size})", hint="Boxes are pixels.")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    path = wish.photo.absolute()
    decision = Decision(concept.id, photo.facts.content_hash, path, box, wish.verdict, now)
    return DecisionResult(wish, decision, store.decisions.put(decision))


def _take_back(store: ConceptStore, wish: DecisionRequest, concept: Concept) -> DecisionResult:
    """Take back what was decided about this photo's content, else about what the file once held."""
    decisions, path = store.decisions, wish.photo.absolute()
    known = decisions.of(concept.id)
    try:
        content_hash = read_photo(wish.photo).content_hash
    except PhotoError:
        content_hash = ""
    own = [d for d in known if d.content_hash == content_hash] or [d for d in known if d.path == path]
    if not own:
        told = f"nothing was decided about {concept.name!r} in {wish.photo}"
        raise UsageError(told, hint="myvlm concepts show lists the decisions about a concept.")
    return DecisionResult(wish, decisions.remove(concept.id, own[-1].content_hash))


def _teach(store: ConceptStore, extractor: CachedExtractor, concept: Concept) -> list[tuple[Decision, str]]:
    """Train a concept's head with what was decided; decisions that it did not learn from, with why."""
    head = store.load_head(concept.id, extractor.config.head_id(concept.kind))
    decisions = store.decisions.of(concept.id)
    if head is None:
        why = f"it holds for that photo; {concept.name} has no head for {extractor.config.name} that could learn"
        return [(d, why) for d in decisions]
    taught, lost = gather_feedback(extractor, concept, decisions, rank_by_head(head), FeedbackFeatures.of(head))
    store.renew_head(retrain_head(store, extractor.config, concept, head, taught))
    return [(d, not_learned(d)) for d in lost]


def _noted(result: DecisionResult, notes: dict[tuple[str, str], str]) -> DecisionResult:
    d = result.decision
    note = notes.get((d.concept_id, d.content_hash)) if d and result.wish and not result.wish.undo else None
    return replace(result, notes=(note,)) if note else result
