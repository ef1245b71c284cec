"""Why a concept was named in a photo, or was not: the region, the nearest reference, score, thresholds, runner-up.

Nothing is decided here: outcome and region are those of `recognition.look_up`; the rest is told beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from engine.core.boxes import Box, iou
from engine.core.errors import SidecarError, UsageError
from engine.core.types import Concept, Decision, Kind, Match, RecognitionOptions, Scale, Verdict
from engine.photos.decode import Photo, load_photo
from engine.recognition.bodies import SOURCE, load_bodies
from engine.recognition.classifier import ConceptClassifier, ThresholdSource, open_set_size, threshold_source
from engine.recognition.confidence import in_words, label
from engine.recognition.explain.nearest import Likeness, find_nearest, find_nearest_body, find_rejection, mean_likeness
from engine.recognition.explain.runner_up import RunnerUp, find_runner_up, row_of
from engine.recognition.feedback import SAME_PLACE
from engine.recognition.recognise import (
    Gallery,
    Recognition,
    check_recognisable,
    flaws_of,
    known_scenes,
    load_gallery,
    load_head,
    look_up,
    score_scene,
)
from engine.recognition.scoring import PAIR_FEATURES, compute_pair_features, rejection_penalty
from engine.session import Session
from engine.sidecars.locate import Namer
from engine.sidecars.removed_names import load_removed_names
from engine.sidecars.xmp import folded_name
from engine.store.calibrations import common_folder
from engine.store.concepts import ConceptStore
from engine.store.heads import ConceptHead
from engine.vision.cached_extractor import CachedExtractor
from engine.vision.regions import Region


class RecognitionOutcome(StrEnum):
    """What became of a concept in a photo."""

    NAMED = "named"
    MAYBE = "maybe"
    UNKNOWN = "unknown"
    CONFIRMED = "confirmed"  # the user said that it is there
    REJECTED = "rejected"  # the user said that it is not
    DECLINED = "declined"  # it would be named, but the user took the name out of the sidecar


class Cause(StrEnum):
    """Of what kind the reason is, for programs."""

    SURE = "sure"
    DECIDED = "decided"
    NO_REGION = "no-region"  # no face at all
    POOR_FACE = "poor-face"  # too small, blurred or turned away
    OTHER_SURER = "other-surer"
    LOW_SCORE = "low-score"
    NOT_SEPARABLE = "not-separable"  # its threshold is high, for others here are too like it


@dataclass(frozen=True)
class PairFeature:
    """One of `engine.recognition.scoring.PAIR_FEATURES`, or "rejected" for the nearest rejected region.

    value: a cosine similarity; contribution: what it adds to the log-odds.
    """

    name: str
    value: float
    contribution: float


@dataclass(frozen=True)
class Explanation:
    """Why a concept was named in a photo or was not; `reason` says it in words, `cause` in one.

    box: the region in pixels of the upright photo, None where there is none; source: where that came from, `face`,
    `detector`, `grid`, `photo` or `body`. score: of this region, whatever became of it, on the scale of the thresholds
    (`scale`); name, maybe: from where on it is named and suggested; the paper's heads know no suggestions.
    nearest, rejection: what is most like the region of all references and confirmed photos, and of what the user
    rejected. likeness: cosine to the mean of the references; crowd: to the 50 strangers most like the region. evidence
    and bias add up to the score; the paper's heads have none.
    """

    concept: Concept
    outcome: RecognitionOutcome
    cause: Cause
    reason: str
    basis: ThresholdSource
    box: Box | None = None
    source: str | None = None
    score: float | None = None
    name: float = 0.0
    maybe: float | None = None
    nearest: Likeness | None = None
    likeness: float | None = None
    runner_up: RunnerUp | None = None
    crowd: float | None = None
    rejection: Likeness | None = None
    evidence: tuple[PairFeature, ...] = ()
    bias: float | None = None
    scale: Scale = Scale.LOG_ODDS


@dataclass(frozen=True)
class _Seen:
    """A photo as one judge sees it, for one of its concepts (column). raw: scores (R, C) of all regions; scores: -inf
    where a face is not good enough; flaws: what is wrong with each region then.
    """

    judge: ConceptClassifier
    column: int
    regions: Sequence[Region]
    features: np.ndarray
    raw: np.ndarray
    scores: np.ndarray
    flaws: Sequence[str]

    @property
    def name(self) -> str:
        return self.judge.concepts[self.column].name

    @property
    def least(self) -> float:
        """From where on the concept may be anywhere."""
        return float(min(self.judge.maybes[self.column], self.judge.names[self.column]))

    @property
    def separable(self) -> bool:
        return bool(self.judge.separable[self.column])


@dataclass(frozen=True)
class _Verdict:
    """What became of a concept, with words for it, and the region (row) that it is about."""

    outcome: RecognitionOutcome
    cause: Cause
    reason: str
    row: int | None = None
    box: Box | None = None


def explain_recognition(
    store: ConceptStore,
    extractor: CachedExtractor,
    options: RecognitionOptions,
    photo: Photo | str,
    concept: Concept,
    library: Path | None = None,
    *,
    enrolled: Gallery | None = None,
    declined: frozenset[str] = frozenset(),
) -> Explanation:
    """Why a concept is named in a photo (or its content hash) or is not, as photos of a library are looked at. A photo
    that was not looked at yet is, and its features are kept. `enrolled`: the judges, where they are loaded already;
    `declined`: the keys of the names that a human took out of the photo's sidecar.

    Raises:
        UsageError: only a content hash is given, and that photo was not looked at yet.
        ConceptError: the concept has no head for the recogniser in use.
    """
    head = load_head(store, extractor.config, concept)
    enrolled = enrolled or load_gallery(store, extractor.config, options, [concept], library)
    alone = _alone(enrolled, concept)
    if isinstance(photo, Photo):
        if concept.kind is Kind.PERSON:
            extractor.find_faces([photo], keep=True)
        if concept.kind is not Kind.PERSON or enrolled.bodies:
            extractor.find_regions([photo], keep=True)
        content_hash = photo.facts.content_hash
        whole = Box(0.0, 0.0, float(photo.facts.width), float(photo.facts.height))
    else:
        content_hash, whole = photo, Box(0.0, 0.0, 0.0, 0.0)
    seen = _look(extractor, content_hash, alone, concept)
    found = look_up(extractor, content_hash, alone, whole)
    assert found is not None  # the photo was looked at, and its box is known
    said = next((d for d in alone.rulings.about(content_hash) if d.concept_id == concept.id), None)
    verdict = _judge(seen, found, said)
    told = (
        _by_body(store, extractor, options, content_hash, whole, enrolled, head)
        if verdict.outcome is RecognitionOutcome.UNKNOWN
        else None
    )
    if told is None:
        told = _told(seen, verdict)
        feature = None if verdict.row is None else seen.features[verdict.row]
        if feature is not None:
            nearest = find_nearest(store, extractor, concept, head, feature)
            rejection = find_rejection(store, concept, head, feature)
            told = replace(told, nearest=nearest, likeness=mean_likeness(head, feature), rejection=rejection)
    if told.outcome is RecognitionOutcome.NAMED and folded_name(concept.name) in declined:
        taken_out = "the name was taken out of the photo's sidecar"
        told = replace(told, outcome=RecognitionOutcome.DECLINED, cause=Cause.DECIDED, reason=taken_out)
    return told


def explain_photo(session: Session, name: str, path: Path) -> tuple[Photo, Explanation]:
    """A photo, and why the concept of a name is named in it or is not.

    Raises:
        PhotoError: the photo cannot be read.
        ConceptError: the concept is unknown, or has no head for the recogniser in use.
    """
    concept, photo = session.store.get(name), load_photo(path)
    check_recognisable(session.store, session.recogniser_config, concept)
    try:
        declined = load_removed_names(Namer().find(path).xmp)
    except SidecarError:
        declined = frozenset()
    return photo, explain_recognition(
        session.store, session.extractor, session.recognition, photo, concept, common_folder([path]), declined=declined
    )


def _alone(enrolled: Gallery, concept: Concept) -> Gallery:
    """The judge of a concept, without that of the other kind, asked for all whom it knows."""
    people = concept.kind is Kind.PERSON
    judge = enrolled.people if people else enrolled.things
    if judge is None or concept.id not in [c.id for c in judge.concepts]:
        raise UsageError(f"{concept.name!r} is not among those to be recognised", hint="Name it, too.")
    asked = frozenset(c.id for c in judge.concepts)
    judges = (judge, None) if people else (None, judge)
    return Gallery(asked, *judges, enrolled.rulings, enrolled.gate)


def _by_body(
    store: ConceptStore,
    extractor: CachedExtractor,
    options: RecognitionOptions,
    content_hash: str,
    whole: Box,
    enrolled: Gallery,
    head: ConceptHead,
) -> Explanation | None:
    """Why somebody of whom no face says it is named, or may be, by the body; None who is not."""
    if not enrolled.bodies:
        return None
    asked = frozenset(c.id for c in enrolled.bodies.concepts)
    found = look_up(extractor, content_hash, replace(enrolled, asked=asked), whole)
    named = (*found.names, *found.maybes) if found else ()
    if not any(m.concept_id == head.concept_id and m.source == SOURCE for m in named):
        return None
    alone = replace(enrolled, people=None, things=None)
    body, concept = next(
        (b, c) for c, b in load_bodies(store, extractor.config, options).items() if c.id == head.concept_id
    )
    seen = _look(extractor, content_hash, alone, concept)
    verdict = _judge(seen, found, None)
    told, feature = _told(seen, verdict), seen.features[verdict.row]
    nearest, likeness = find_nearest_body(concept, head, body, feature), mean_likeness(body, feature)
    reason = f"no face says who it is, but the body does: {verdict.reason}"
    return replace(told, reason=reason, nearest=nearest, likeness=likeness)


def _look(extractor: CachedExtractor, content_hash: str, enrolled: Gallery, concept: Concept) -> _Seen:
    ((judge, scene),) = known_scenes(extractor, content_hash, enrolled)
    if scene is None:
        raise UsageError("the photo was not looked at yet", hint="Run myvlm scan on it first.")
    scores = score_scene(judge, scene)
    raw = scores if scene.usable.all() else judge.score(scene.features)
    gate = enrolled.gate
    faces = extractor.cached_faces(content_hash) or [] if enrolled.people and gate else []
    flaws = [flaws_of(f, gate) for f in faces] if gate and faces else [""] * len(scene.regions)
    column = [c.id for c in judge.concepts].index(concept.id)
    return _Seen(judge, column, scene.regions, scene.features, raw, scores, flaws)


def _judge(seen: _Seen, found: Recognition, said: Decision | None) -> _Verdict:
    own = seen.judge.concepts[seen.column].id
    named, maybe = (next((m for m in ms if m.concept_id == own), None) for ms in (found.names, found.maybes))
    if said is not None and said.verdict is Verdict.REJECT:
        reason = f"you said that {seen.name} is not in this photo"
        return _Verdict(RecognitionOutcome.REJECTED, Cause.DECIDED, reason, _best(seen.raw[:, seen.column]))
    if said is not None and named is not None:
        place = named.box if named.box.area else None
        reason = f"you said that {seen.name} is in this photo"
        return _Verdict(RecognitionOutcome.CONFIRMED, Cause.DECIDED, reason, _row_of(seen, named), place)
    if named is not None:
        reason = f"the {label(seen.judge.scale)} is high enough, and no other concept fits better there"
        return _Verdict(RecognitionOutcome.NAMED, Cause.SURE, reason, _row_of(seen, named), named.box)
    if maybe is not None:
        cause = Cause.LOW_SCORE if seen.separable else Cause.NOT_SEPARABLE
        reason = f"the {label(seen.judge.scale)} is too low for a name, high enough for a suggestion{_hardly(seen)}"
        return _Verdict(RecognitionOutcome.MAYBE, cause, reason, _row_of(seen, maybe), maybe.box)
    return _unknown(seen, (*found.names, *found.maybes))


def _unknown(seen: _Seen, others: Sequence[Match]) -> _Verdict:
    """Explanation a concept is nowhere, with the region that is most like it."""
    best, usable = _best(seen.raw[:, seen.column]), _best(seen.scores[:, seen.column])
    if best is None:
        what = "no face was found in this photo" if _is_person(seen) else "nothing was found in this photo"
        return _Verdict(RecognitionOutcome.UNKNOWN, Cause.NO_REGION, what)
    if usable is None or (best != usable and seen.flaws[best] and seen.raw[best, seen.column] >= seen.least):
        which = "the only face" if len(seen.regions) == 1 else f"the face that is most like {seen.name}"
        return _Verdict(RecognitionOutcome.UNKNOWN, Cause.POOR_FACE, f"{which} is {seen.flaws[best]}", best)
    score = float(seen.scores[usable, seen.column])
    taken = [m for m in others if _is_there(m.box, seen.regions[usable].box)]
    if score >= seen.least and taken:
        surer = f"{taken[0].name} fits better there, and a region shows only one concept"
        return _Verdict(RecognitionOutcome.UNKNOWN, Cause.OTHER_SURER, surer, usable)
    done = "named" if seen.judge.maybes[seen.column] > seen.least else "suggested"
    found, least = in_words(seen.judge.scale, score, seen.least)
    reason = f"the {label(seen.judge.scale)} {found} is too low: {seen.name} is {done} from {least}"
    return _Verdict(RecognitionOutcome.UNKNOWN, Cause.LOW_SCORE, reason + _hardly(seen), usable)


def _hardly(seen: _Seen) -> str:
    """What to add of a concept whose own references hardly reach its threshold."""
    if seen.separable:
        return ""
    return f"; {seen.name} looks much like others in these photos and is seldom named: add reference photos"


def _is_person(seen: _Seen) -> bool:
    return seen.judge.concepts[seen.column].kind is Kind.PERSON


def _is_there(box: Box, region: Box) -> bool:
    return box == region or iou(box, region) > SAME_PLACE


def _best(scores: np.ndarray) -> int | None:
    """The row with the highest of some scores (R,); None when there is none, or all are -inf."""
    return int(np.argmax(scores)) if np.isfinite(scores).any() else None


def _row_of(seen: _Seen, match: Match) -> int | None:
    return row_of(match, [r.box for r in seen.regions], seen.scores[:, seen.column])


def _told(seen: _Seen, verdict: _Verdict) -> Explanation:
    judge, c, row = seen.judge, seen.column, verdict.row
    basis, name, maybe = threshold_source(judge, c), float(judge.names[c]), float(judge.maybes[c])
    base = Explanation(
        judge.concepts[c],
        verdict.outcome,
        verdict.cause,
        verdict.reason,
        basis,
        verdict.box,
        "photo" if verdict.box else None,
        name=name,
        maybe=maybe if np.isfinite(maybe) else None,
        scale=judge.scale,
    )
    if row is None:
        return base
    feature, region = seen.features[row], seen.regions[row]
    evidence, bias = _evidence(seen, feature)
    return replace(
        base,
        box=verdict.box or region.box,
        source=region.source,
        score=float(seen.raw[row, c]),
        runner_up=find_runner_up(judge, c, seen.raw[row]),
        crowd=next((e.value for e in evidence if e.name == "crowd"), None),
        evidence=evidence,
        bias=bias,
    )


def _evidence(seen: _Seen, feature: np.ndarray) -> tuple[tuple[PairFeature, ...], float | None]:
    """What adds up to the score of a region with feature (D,), and the bias; nothing with the paper's heads."""
    scorer = seen.judge.scorer
    if scorer is None or seen.column >= open_set_size(seen.judge):
        return (), None
    gallery = scorer.gallery
    found = compute_pair_features(feature[None], gallery.concepts, gallery.strangers)[0, seen.column]
    parts = scorer.weights * (found - scorer.centre) / scorer.scale
    rows = [PairFeature(n, float(v), float(p)) for n, v, p in zip(PAIR_FEATURES, found, parts, strict=True)]
    rejected = gallery.concepts[seen.column].rejected
    if len(rejected):
        lost = rejection_penalty(feature[None], gallery.concepts)[0, seen.column]
        rows.append(PairFeature("rejected", float((rejected @ feature).max()), 0.0 - float(lost)))
    return tuple(rows), scorer.bias
