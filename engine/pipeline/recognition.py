"""Who is in these photos: cached features, stored heads, one-to-one matches. No VLM runs here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.boxes import Box
from engine.errors import ConceptError
from engine.heads.faces import Face
from engine.heads.linear import LinearHead
from engine.heads.matching import face_scores, overlaps
from engine.heads.recogniser import RegionFeatures
from engine.heads.regions import Region
from engine.photos.decode import Photo
from engine.pipeline.rulings import Rulings, Scored, place
from engine.pipeline.session import Session
from engine.store.concepts import Head
from engine.types import Concept, Decision, Kind, Match

_SAME_THING = 0.5
"""Regions that overlap more (IoU) cannot show two concepts."""


@dataclass(frozen=True)
class Enrolled:
    """Who is to be recognised: the heads of the concepts asked for, and of their rivals, which nobody asked for: what
    looks more like one of them must not take another's name. `rulings` are what the user decided of all of them.
    """

    asked: frozenset[str]  # concept ids
    people: Mapping[Concept, Head]
    things: Mapping[Concept, Head]
    rulings: Rulings = field(default_factory=Rulings)


def load_enrolled(session: Session, concepts: Sequence[Concept]) -> Enrolled:
    """The heads for recognising some concepts.

    Raises:
        ConceptError: one of them has none for the recogniser in use.
    """
    people = [c for c in concepts if c.kind is Kind.PERSON]
    things = [c for c in concepts if c.kind is not Kind.PERSON]
    heads = [_heads(session, wanted) if wanted else {} for wanted in (people, things)]
    rulings = Rulings.of(session.store.decisions.all(), session.store.all())
    return Enrolled(frozenset(c.id for c in concepts), *heads, rulings)


def recognise(
    session: Session, photos: Sequence[Photo], enrolled: Enrolled, *, keep: bool = True
) -> list[tuple[Match, ...]]:
    """The concepts that are in each photo, by name, with boxes in the photo's pixels. `keep` lets features go to
    the cache.
    """
    found: list[list[Match]] = [[] for _ in photos]
    if enrolled.people and photos:
        for matches, photo, faces in zip(found, photos, find_faces(session, photos, keep=keep), strict=True):
            said, whole = _in_picture(photo, enrolled), _whole(photo)
            matches += _in_photo(photo, _match_faces(enrolled.people, faces, said, whole) or [])
    if enrolled.things and photos:
        for matches, photo, regions in zip(found, photos, find_regions(session, photos, keep=keep), strict=True):
            said, whole = _in_picture(photo, enrolled), _whole(photo)
            matches += _in_photo(photo, _match_regions(enrolled.things, regions, said, whole) or [])
    return [_asked_for(own, enrolled) for own in found]


def recognise_known(
    session: Session, content_hash: str, enrolled: Enrolled, whole: Box | None = None
) -> tuple[Match, ...] | None:
    """The concepts in a photo of which the cache has everything, else None: no model runs, no pixel is decoded.
    `whole` is the photo's box, where that is known.
    """
    found: list[Match] = []
    said = enrolled.rulings.about(content_hash)
    if enrolled.people:
        faces = known_faces(session, content_hash)
        people = None if faces is None else _match_faces(enrolled.people, faces, said, whole)
        if people is None:
            return None
        found += people
    if enrolled.things:
        regions = known_regions(session, content_hash)
        things = None if regions is None else _match_regions(enrolled.things, regions, said, whole)
        if things is None:
            return None
        found += things
    return _asked_for(found, enrolled)


def _asked_for(matches: Sequence[Match], enrolled: Enrolled) -> tuple[Match, ...]:
    return tuple(sorted((m for m in matches if m.concept_id in enrolled.asked), key=lambda m: m.name.casefold()))


def _heads(session: Session, wanted: Sequence[Concept]) -> dict[Concept, Head]:
    """The heads of some concepts of one kind, and those of their rivals that have one."""
    ids, people = {c.id for c in wanted}, wanted[0].kind is Kind.PERSON
    heads = {c: load_head(session, c) for c in wanted}
    for other in session.store.all():
        if other.id not in ids and (other.kind is Kind.PERSON) == people:
            head = session.store.load_head(other.id, head_id(session, other.kind))
            if head is not None:
                heads[other] = head
    return heads


def head_id(session: Session, kind: Kind) -> str:
    """The id under which heads of a kind are stored: that of the face pack or of the encoder."""
    return session.recogniser_config.head_id(kind)


def load_head(session: Session, concept: Concept) -> Head:
    """A concept's head for the recogniser in use.

    Raises:
        ConceptError: it has none.
    """
    head = session.store.load_head(concept.id, head_id(session, concept.kind))
    if head is None:
        raise ConceptError(
            f"{concept.name!r} was enrolled with another recogniser than {session.recogniser_config.name}",
            hint="Run myvlm add-concept again with the same photos and the VLM you want to use.",
        )
    return head


def _match_faces(
    heads: Mapping[Concept, Head], faces: Sequence[Face], said: Sequence[Decision], whole: Box | None
) -> list[Match] | None:
    rows = list(heads.values())
    vectors = np.stack([f.embedding for f in faces]) if faces else np.zeros((0, 1), np.float32)
    templates = [np.concatenate([h.tensors[k] for k in ("templates", "confirmed") if k in h.tensors]) for h in rows]
    none = np.zeros((0, 1), np.float32)
    scores = face_scores(vectors, templates, [h.tensors.get("rejected", none) for h in rows])
    regions = [Region(f.box, "face") for f in faces]
    return _place(heads, regions, scores, None, said, whole)


def _match_regions(
    heads: Mapping[Concept, Head], found: RegionFeatures, said: Sequence[Decision], whole: Box | None
) -> list[Match] | None:
    linear = [LinearHead(h.tensors["weight"], h.tensors["bias"], float(h.facts["scale"])) for h in heads.values()]
    scores = np.stack([h.scores(found.features) for h in linear], axis=1)
    same = overlaps(np.array([_corners(r.box) for r in found.regions])) > _SAME_THING
    return _place(heads, found.regions, scores, same, said, whole)


def _place(
    heads: Mapping[Concept, Head],
    regions: Sequence[Region],
    scores: np.ndarray,
    same: np.ndarray | None,
    said: Sequence[Decision],
    whole: Box | None,
) -> list[Match] | None:
    """Matches of the concepts (columns) in the regions (rows); None when `whole` is needed and not known."""
    concepts, thresholds = list(heads), np.array([h.threshold for h in heads.values()])
    scored = Scored([c.id for c in concepts], scores, thresholds, [r.box for r in regions], same)
    placed = place(scored, said, whole)
    if placed is None:
        return None
    return [
        _match(
            concepts[p.concept],
            p.score,
            float(thresholds[p.concept]),
            p.box,
            "photo" if p.region is None else regions[p.region].source,
        )
        for p in placed
    ]


def _match(c: Concept, score: float, threshold: float, box: Box, source: str) -> Match:
    return Match(c.id, c.name, c.kind, c.version, score, threshold, box, source)


def _in_picture(photo: Photo, enrolled: Enrolled) -> list[Decision]:
    """What was decided about a photo, with boxes in the picture's pixels."""
    said = enrolled.rulings.about(photo.facts.content_hash)
    return [replace(d, box=photo.in_image(d.box)) if d.box else d for d in said]


def _whole(photo: Photo) -> Box:
    return Box(0.0, 0.0, float(photo.image.width), float(photo.image.height))


def _in_photo(photo: Photo, matches: Sequence[Match]) -> list[Match]:
    return [replace(m, box=photo.in_photo(m.box)) for m in matches]


def find_faces(session: Session, photos: Sequence[Photo], *, keep: bool) -> list[list[Face]]:
    """Faces of each photo, from the cache where they are known; boxes are in the picture's pixels."""
    model = session.recogniser_config.faces_id
    results: list[list[Face]] = []
    fresh = []
    for photo in photos:
        faces = known_faces(session, photo.facts.content_hash)
        if faces is None:
            faces = session.recogniser.find_faces(photo.image)
            fresh.append((photo.facts.content_hash, _pack_faces(photo, faces)))
        else:
            faces = [replace(f, box=photo.in_image(f.box)) for f in faces]
        results.append(faces)
    if keep and fresh:
        session.cache.save(model, fresh)
    return results


def known_faces(session: Session, content_hash: str) -> list[Face] | None:
    """Faces of the cache; their boxes are in the photo's pixels."""
    known = session.cache.load(content_hash, session.recogniser_config.faces_id)
    if known is None:
        return None
    rows = zip(known["boxes"], known["scores"], known["embeddings"], strict=True)
    return [Face(Box(*map(float, b)), float(s), e) for b, s, e in rows]


def _pack_faces(photo: Photo, faces: Sequence[Face]) -> dict[str, np.ndarray]:
    width = len(faces[0].embedding) if faces else 1
    return {
        "boxes": np.array([_corners(photo.in_photo(f.box)) for f in faces], np.float32).reshape(-1, 4),
        "scores": np.array([f.score for f in faces], np.float32),
        "embeddings": np.array([f.embedding for f in faces], np.float32).reshape(-1, width),
    }


def find_regions(session: Session, photos: Sequence[Photo], *, keep: bool) -> list[RegionFeatures]:
    """Regions and features of each photo, from the cache where they are known; boxes are in the picture's pixels."""
    known = [known_regions(session, p.facts.content_hash) for p in photos]
    missing = [i for i, k in enumerate(known) if k is None]
    fresh = (
        dict(zip(missing, session.recogniser.find_regions([photos[i].image for i in missing]), strict=True))
        if missing
        else {}
    )
    if keep and fresh:
        packed = ((photos[i].facts.content_hash, _pack_regions(photos[i], f)) for i, f in fresh.items())
        session.cache.save(_regions_id(session), packed)
    return [fresh[i] if k is None else _in_image(photos[i], k) for i, k in enumerate(known)]


def _in_image(photo: Photo, found: RegionFeatures) -> RegionFeatures:
    return replace(found, regions=tuple(replace(r, box=photo.in_image(r.box)) for r in found.regions))


def _regions_id(session: Session) -> str:
    return session.recogniser_config.regions_id


def known_regions(session: Session, content_hash: str) -> RegionFeatures | None:
    """Regions of the cache; their boxes are in the photo's pixels."""
    known = session.cache.load(content_hash, _regions_id(session))
    return None if known is None else _unpack_regions(known)


_SOURCES = ("detector", "photo", "grid")


def _pack_regions(photo: Photo, found: RegionFeatures) -> dict[str, np.ndarray]:
    return {
        "boxes": np.array([_corners(photo.in_photo(r.box)) for r in found.regions], np.float32),
        "sources": np.array([_SOURCES.index(r.source) for r in found.regions], np.uint8),
        "features": found.features.astype(np.float32),
        "words": np.frombuffer("\n".join(r.word for r in found.regions).encode(), np.uint8),
    }


def _unpack_regions(arrays: dict[str, np.ndarray]) -> RegionFeatures:
    words = bytes(arrays["words"]).decode().split("\n")
    facts = zip(arrays["boxes"], arrays["sources"], words, strict=True)
    regions = tuple(Region(Box(*map(float, b)), _SOURCES[int(s)], w) for b, s, w in facts)
    return RegionFeatures(regions, arrays["features"])


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1
