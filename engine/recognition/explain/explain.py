"""Explain why a concept was or was not named in a photo: region, nearest reference, score, thresholds, runner-up.

Outcome and region are those of `recognition.recognise.look_up`; everything else is computed beside them.
"""

from dataclasses import replace
from pathlib import Path

from engine.core.boxes import Box
from engine.core.errors import SidecarError, UsageError
from engine.core.paths import common_folder
from engine.core.types import Concept, Kind
from engine.photos.decode import Photo, load_photo, read_photo
from engine.recognition.bodies import SOURCE
from engine.recognition.classifier import threshold_source
from engine.recognition.enrolled import HeadGroup, check_recognisable, require_head
from engine.recognition.explain.explanation import Cause, Explanation, Reason, RecognitionOutcome
from engine.recognition.explain.nearest import find_nearest, find_nearest_body, find_rejection, mean_likeness
from engine.recognition.explain.runner_up import find_runner_up
from engine.recognition.explain.verdict import ConceptVerdict, find_verdict
from engine.recognition.explain.view import ConceptView, explain_score, view_photo
from engine.recognition.gallery import Gallery, load_gallery
from engine.recognition.recognise import look_up
from engine.session import Session
from engine.sidecars.locate import Namer
from engine.sidecars.removed_names import load_removed_names
from engine.sidecars.xmp import folded_name
from engine.store.concepts import ConceptStore
from engine.vision.cached_extractor import CachedExtractor


def explain_recognition(
    store: ConceptStore,
    extractor: CachedExtractor,
    gallery: Gallery,
    photo: Photo | str,
    concept: Concept,
    *,
    removed_names: frozenset[str] = frozenset(),
) -> Explanation:
    """Explain why a concept is or is not named in a photo, which is given itself or by its content hash.

    gallery: one that was built for the concept. removed_names: keys of the names that the user removed from the photo's
    sidecar. Features of the photo that are not in the cache are computed and kept.

    Raises:
        UsageError: only a content hash is given, and that photo is not in the cache; or the gallery was built for other
            concepts.
        ConceptError: the concept has no head for the recogniser in use.
    """
    require_head(gallery.heads.get(concept.id), extractor.config, concept)
    single = _single(gallery, concept)
    content_hash, whole = _cache_features(extractor, photo, concept, gallery)
    view = view_photo(extractor, content_hash, single, concept)
    recognition = look_up(extractor, content_hash, single, whole)
    if recognition is None:
        raise UsageError("the photo was not looked at yet", hint="Run myvlm scan on it first.")
    decision = next((d for d in single.labels.about(content_hash) if d.concept_id == concept.id), None)
    verdict = find_verdict(view, recognition, decision)
    explanation = None
    if verdict.outcome is RecognitionOutcome.UNKNOWN:
        explanation = _explain_by_body(extractor, content_hash, whole, gallery, concept)
    if explanation is None:
        explanation = _with_references(store, extractor, gallery, view, verdict)
    if explanation.outcome is RecognitionOutcome.NAMED and folded_name(concept.name) in removed_names:
        return replace(explanation, outcome=RecognitionOutcome.DECLINED, reason=Reason(Cause.DECIDED))
    return explanation


def explain_photo(session: Session, name: str, path: Path) -> tuple[Photo, Explanation]:
    """Return a photo, and why the concept of a name is or is not named in it.

    Raises:
        PhotoError: the photo cannot be read.
        ConceptError: the concept is unknown, or has no head for the recogniser in use.
    """
    concept, photo = session.store.get(name), load_photo(path)
    try:
        removed_names = load_removed_names(Namer().find(path).xmp)
    except SidecarError:
        removed_names = frozenset()
    return photo, _explain_one(session, concept, path, photo, removed_names)


def explain_known(session: Session, name: str, path: Path) -> Explanation:
    """Return why the concept of a name is or is not recognised in a photo that the cache knows; it is not decoded.

    Raises:
        PhotoError: the photo cannot be read.
        UsageError: it is not in the cache.
        ConceptError: the concept is unknown, or has no head for the recogniser in use.
    """
    return _explain_one(session, session.store.get(name), path, read_photo(path).content_hash)


def _explain_one(
    session: Session, concept: Concept, path: Path, photo: Photo | str, removed_names: frozenset[str] = frozenset()
) -> Explanation:
    check_recognisable(session.store, session.recogniser_config, concept)
    models = (session.store, session.recogniser_config, session.recognition)
    gallery = load_gallery(*models, [concept], common_folder([path]))
    return explain_recognition(session.store, session.extractor, gallery, photo, concept, removed_names=removed_names)


def _single(gallery: Gallery, concept: Concept) -> Gallery:
    """Return the gallery with the classifier of a concept's faces or regions alone.

    Raises:
        UsageError: the gallery was not built for the concept.
    """
    group = HeadGroup.FACES if concept.kind is Kind.PERSON else HeadGroup.REGIONS
    classifier = gallery.classifiers.get(group)
    if classifier is None or concept.id not in [c.id for c in classifier.concepts]:
        raise UsageError(f"{concept.name!r} is not among those to be recognised", hint="Name it, too.")
    return gallery.only(group)


def _cache_features(
    extractor: CachedExtractor, photo: Photo | str, concept: Concept, gallery: Gallery
) -> tuple[str, Box]:
    """Compute the features of a photo that are needed and not cached; return its content hash and its box.

    The box of a photo that is given by its content hash is not known, and empty.
    """
    if isinstance(photo, str):
        return photo, Box(0.0, 0.0, 0.0, 0.0)
    if concept.kind is Kind.PERSON:
        extractor.find_faces([photo], keep=True)
    if concept.kind is not Kind.PERSON or gallery.bodies:
        extractor.find_regions([photo], keep=True)
    facts = photo.facts
    return facts.content_hash, Box(0.0, 0.0, float(facts.width), float(facts.height))


def _with_references(
    store: ConceptStore, extractor: CachedExtractor, gallery: Gallery, view: ConceptView, verdict: ConceptVerdict
) -> Explanation:
    """Explain a verdict, and compare its region with the references and the user's decisions."""
    explanation = _explain_verdict(view, verdict)
    if verdict.row is None:
        return explanation
    head, feature = gallery.heads[view.concept.id], view.features[verdict.row]
    return replace(
        explanation,
        nearest=find_nearest(store, extractor, view.concept, head, feature),
        likeness=mean_likeness(head, feature),
        rejection=find_rejection(store, view.concept, head, feature),
    )


def _explain_by_body(
    extractor: CachedExtractor, content_hash: str, whole: Box, gallery: Gallery, concept: Concept
) -> Explanation | None:
    """Explain why a person is named or suggested by the body; None where that is not so."""
    if gallery.bodies is None:
        return None
    requested = frozenset(c.id for c in gallery.bodies.concepts)
    recognition = look_up(extractor, content_hash, replace(gallery, requested=requested), whole)
    if recognition is None:
        return None
    matches = (*recognition.matches, *recognition.suggestions)
    if not any(m.concept_id == concept.id and m.source == SOURCE for m in matches):
        return None
    view = view_photo(extractor, content_hash, gallery.only(HeadGroup.BODIES), concept)
    verdict = find_verdict(view, recognition, None)
    explanation = _explain_verdict(view, replace(verdict, reason=replace(verdict.reason, by_body=True)))
    if verdict.row is None:
        return explanation
    head, body, feature = gallery.heads[concept.id], gallery.enrolled.bodies[concept.id], view.features[verdict.row]
    nearest = find_nearest_body(concept, head, body, feature)
    return replace(explanation, nearest=nearest, likeness=mean_likeness(body, feature))


def _explain_verdict(view: ConceptView, verdict: ConceptVerdict) -> Explanation:
    """Return a verdict with thresholds and, where it is about a region, what speaks for and against that region."""
    explanation = Explanation(
        view.concept,
        verdict.outcome,
        verdict.reason,
        threshold_source(view.classifier, view.column),
        verdict.box,
        "photo" if verdict.box else None,
        name_threshold=view.name_threshold,
        suggestion_threshold=view.suggestion_threshold,
        scale=view.classifier.scale,
    )
    if verdict.row is None:
        return explanation
    region = view.regions[verdict.row]
    pair_features, bias = explain_score(view, view.features[verdict.row])
    return replace(
        explanation,
        box=verdict.box or region.box,
        source=region.source,
        score=float(view.raw[verdict.row, view.column]),
        runner_up=find_runner_up(view.classifier, view.column, view.raw[verdict.row]),
        impostor=next((f.value for f in pair_features if f.name == "crowd"), None),
        pair_features=pair_features,
        bias=bias,
    )
