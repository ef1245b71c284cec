"""Record what the user confirms or rejects in photos, and train the heads of the concepts with it."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from engine.concepts.concept_warnings import ConceptWarning, WarningCode
from engine.concepts.object_heads import retrain_head
from engine.core.boxes import Box
from engine.core.errors import ConceptError, EngineError, PhotoError, UsageError
from engine.core.types import Concept, Decision, Verdict
from engine.photos.decode import PhotoFile, decode_photo, read_photo
from engine.photos.picture_size import read_size
from engine.recognition.feedback_features import gather_feedback, rank_by_head
from engine.session import Session
from engine.store.concepts import ConceptStore
from engine.store.heads import FeedbackFeatures
from engine.vision.cached_extractor import CachedExtractor


@dataclass(frozen=True)
class DecisionRequest:
    """A request to record a verdict about a concept in a photo, or with `undo` to remove the decision about them.

    box: where the concept is, in pixels of the upright photo; None: anywhere in it. content_hash: of the picture that
    the user saw, for which the decision is meant; None: of what the file holds now. concept_id: of the concept that the
    user saw; None: of what has the name now. restores: with `undo`, the earlier decision that takes the place of the
    removed one, as it was.
    """

    photo: Path
    concept: str
    verdict: Verdict
    box: Box | None = None
    undo: bool = False
    content_hash: str | None = None
    concept_id: str | None = None
    restores: Decision | None = None


@dataclass(frozen=True)
class DecisionResult:
    """The result of a request, or of a line that is not a request (`request` None).

    decision: the recorded decision, with `undo` the removed one; replaced: the decision that it replaces; error: why
    nothing was recorded; notes: why a head could not learn from the decision.
    """

    request: DecisionRequest | None = None
    decision: Decision | None = None
    replaced: Decision | None = None
    error: EngineError | None = None
    notes: tuple[ConceptWarning, ...] = ()


def decide(session: Session, requests: Iterable[DecisionRequest | UsageError]) -> list[DecisionResult]:
    """Record or remove decisions, then train the head of each concept that they are about once.

    An error that concerns one request (an unknown concept, a photo that cannot be read, a line that is not a request)
    is returned in its result; the other requests are carried out. After any other error, as of a full disk, the rest is
    not tried and has the same error. If a head cannot be trained, that is a note: the decisions are stored.
    """
    results: list[DecisionResult] = []
    concepts: dict[str, Concept] = {}
    fault: EngineError | None = None
    for request in requests:
        if isinstance(request, UsageError):
            results.append(DecisionResult(error=request))
            continue
        try:
            if fault is not None:
                raise fault
            concept = _concept_of(session.store, request)
            results.append((_remove if request.undo else _record)(session, request, concept))
            concepts[concept.id] = concept
        except EngineError as err:
            fault = None if isinstance(err, PhotoError | ConceptError | UsageError) else err
            results.append(DecisionResult(request, error=err))
    notes = {
        (d.concept_id if d else concept.id, d.content_hash if d else ""): note
        for concept in concepts.values()
        for d, note in _train_or_tell(session, concept)
    }
    return _with_notes(results, notes)


def _concept_of(store: ConceptStore, request: DecisionRequest) -> Concept:
    """Return the concept that a request is about.

    Raises:
        ConceptError: there is none, or the name is not that of the concept that the user saw any more.
    """
    if request.concept_id is None:
        return store.get(request.concept)
    concept = next((c for c in store.all() if c.id == request.concept_id), None)
    if concept is None or (concept.name != request.concept and not request.undo):
        message = f"{request.concept!r} was renamed, merged or forgotten since"
        raise ConceptError(message, hint="Run myvlm review again.")
    return concept


def read_decision_requests(
    text: str, verdict: Verdict | None, concept: str | None, *, undo: bool
) -> list[DecisionRequest | UsageError]:
    """Read requests from JSON lines.

    A line is {"photo": …, "concept": …, "verdict": "confirm" or "reject", "box": [x0, y0, x1, y1], "content": …}.
    verdict, concept: for lines without one; if they are None, such a line is an error. A line without box is about the
    whole photo; content is the hash of the picture that was seen, without which the line is about any content.
    Empty lines are skipped; a line that cannot be read becomes an error.
    """
    defaults = {"verdict": verdict, "concept": concept}
    requests: list[DecisionRequest | UsageError] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                requests.append(_parse(defaults, json.loads(line), undo=undo))
            except (ValueError, TypeError, KeyError, RecursionError, UsageError) as err:
                reason = str(err) if isinstance(err, UsageError) else "no JSON object with photo, concept, verdict, box"
                requests.append(UsageError(f"line {number}: {reason}", hint=_EXAMPLE))
    return requests


_EXAMPLE = 'A line is like {"photo": "a.jpg", "concept": "rex", "verdict": "confirm", "box": [10, 10, 90, 90]}.'


def _parse(defaults: dict[str, Any], line: dict[str, Any], *, undo: bool) -> DecisionRequest:
    unknown = set(line) - {"photo", "concept", "verdict", "box", "content"}
    if unknown:
        raise UsageError(f"unknown: {', '.join(sorted(unknown))}")
    photo, concept = line["photo"], line.get("concept", defaults["concept"])
    if not (isinstance(photo, str) and photo and isinstance(concept, str) and concept):
        raise UsageError("photo and concept are texts that are not empty")
    verdict = line.get("verdict", defaults["verdict"])
    if verdict is None:
        raise UsageError("it has no verdict, which is confirm or reject")
    if verdict not in tuple(Verdict):
        raise UsageError(f"verdict is confirm or reject, not {verdict!r}")
    box, content = line.get("box"), line.get("content")
    if content is not None and not (isinstance(content, str) and content):
        raise UsageError("content is the hash of the photo's content, a text")
    return DecisionRequest(
        Path(photo), concept, Verdict(verdict), None if box is None else make_box(box), undo, content
    )


def make_box(corners: Sequence[float]) -> Box:
    """Make a box of x0, y0, x1, y1.

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


class DecisionValidity(StrEnum):
    """Whether a decision still counts for the file that it was made about; the values are those of JSON output."""

    HOLDS = "holds"
    CHANGED = "changed"  # the file has other content now, for which the decision does not count
    NOT_THERE = "not there"  # the decision counts wherever the photo is now


def check_validity(decision: Decision) -> DecisionValidity:
    """Return whether a decision still counts for its file; this reads the photo."""
    try:
        same = read_photo(decision.path).content_hash == decision.content_hash
    except PhotoError:
        return DecisionValidity.NOT_THERE
    return DecisionValidity.HOLDS if same else DecisionValidity.CHANGED


def _record(session: Session, request: DecisionRequest, concept: Concept) -> DecisionResult:
    file = read_photo(request.photo)
    if request.content_hash not in (None, file.content_hash):
        raise PhotoError(f"{request.photo}: the photo has changed since", hint="Run myvlm review again.")
    width, height = _size_of(session.extractor, file)
    box = request.box.clipped(width, height) if request.box else None
    if box is not None and not (box.x0 < box.x1 and box.y0 < box.y1):
        size = f"{width} x {height}"
        raise UsageError(f"{request.photo}: the box lies outside of the photo ({size})", hint="Boxes are pixels.")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    path = request.photo.absolute()
    decision = Decision(concept.id, file.content_hash, path, box, request.verdict, now)
    return DecisionResult(request, decision, session.store.decisions.put(decision))


def _size_of(extractor: CachedExtractor, file: PhotoFile) -> tuple[int, int]:
    """Return width and height of the upright photo. One that the cache knows is not decoded again.

    Raises:
        PhotoError: the photo is not known, and cannot be decoded.
    """
    is_known = extractor.cache.has_any(file.content_hash, extractor.cached_ids(faces=True, regions=True))
    size = read_size(file) if is_known else None
    if size is not None:
        return size
    facts = decode_photo(file).facts
    return facts.width, facts.height


def _remove(session: Session, request: DecisionRequest, concept: Concept) -> DecisionResult:
    """Remove the decision about this photo's content, or else about earlier content of the file; or restore another."""
    decisions, path = session.store.decisions, request.photo.absolute()
    if request.restores is not None:
        return DecisionResult(request, decisions.put(request.restores))
    about_concept = decisions.of(concept.id)
    try:
        content_hash = request.content_hash or read_photo(request.photo).content_hash
    except PhotoError:
        content_hash = ""
    by_content = [d for d in about_concept if d.content_hash == content_hash]
    about_photo = by_content or [d for d in about_concept if d.path == path and request.content_hash is None]
    if not about_photo:
        message = f"nothing was decided about {concept.name!r} in {request.photo}"
        raise UsageError(message, hint="myvlm concepts show lists the decisions about a concept.")
    return DecisionResult(request, decisions.remove(concept.id, about_photo[-1].content_hash))


def _train_or_tell(session: Session, concept: Concept) -> list[tuple[Decision | None, ConceptWarning]]:
    """Train a concept's head; a failure is a warning about the concept, with no decision."""
    try:
        return [*_train(session.store, session.extractor, concept)]
    except EngineError as err:
        model = session.recogniser_config.name
        return [(None, ConceptWarning(WarningCode.TRAINING_FAILED, concept, model=model, reason=str(err)))]


def _train(store: ConceptStore, extractor: CachedExtractor, concept: Concept) -> list[tuple[Decision, ConceptWarning]]:
    """Train a concept's head with its decisions; return the decisions that it could not learn from, with the reason."""
    head = store.load_head(concept.id, extractor.config.head_id(concept.kind))
    decisions = store.decisions.of(concept.id)
    if head is None:
        no_head = ConceptWarning(WarningCode.NO_HEAD, concept, model=extractor.config.name)
        return [(d, no_head) for d in decisions]
    feedback, not_learned = gather_feedback(
        extractor, concept, decisions, rank_by_head(head), FeedbackFeatures.of(head)
    )
    store.renew_head(retrain_head(store, extractor.config, concept, head, feedback))
    return [(d, ConceptWarning(WarningCode.NOT_LEARNED, concept, decision=d)) for d in not_learned]


def _with_notes(
    results: Sequence[DecisionResult], notes: dict[tuple[str, str], ConceptWarning]
) -> list[DecisionResult]:
    """Add notes by concept and content; one about a concept alone (content "") goes to the first result about it."""
    noted = []
    for result in results:
        d = result.decision or (result.request.restores if result.request else None)
        keys = [(d.concept_id, "")] if d and result.error is None else []
        if d and result.request and not result.request.undo:
            keys.append((d.concept_id, d.content_hash))
        found = tuple(notes[key] for key in keys if key in notes)
        for key in keys[:1]:
            notes.pop(key, None)
        noted.append(replace(result, notes=found) if found else result)
    return noted
