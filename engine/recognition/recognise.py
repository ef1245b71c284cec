"""Who is in these photos: features, judges, one-to-one matches. No VLM runs here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from engine.core.boxes import Box
from engine.core.errors import ConceptError
from engine.core.types import Concept, Decision, Kind, Match
from engine.photos.decode import Photo
from engine.recognition.assignment import overlaps
from engine.recognition.bodies import SOURCE, drop_faced, load_bodies, without_faces
from engine.recognition.classifier import ConceptClassifier, open_set_classifier, paper_classifier
from engine.recognition.displaced import DisplacedConcept, find_displaced
from engine.recognition.feedback import Placement, Scored, UserLabels, place, place_maybes
from engine.session import Session
from engine.store.concepts import Head
from engine.vision.cached_extractor import corners, find_faces, find_regions, known_faces, known_regions
from engine.vision.config import FaceQuality
from engine.vision.faces import Face
from engine.vision.regions import Region, RegionFeatures

_SAME_THING = 0.5
"""Regions that overlap more (IoU) cannot show two concepts."""


@dataclass(frozen=True)
class Gallery:
    """Who is to be recognised: judges of the concepts asked for, and of their rivals, which nobody asked for: what
    looks more like one of them must not take another's name. `alone`: for a judge with rivals (by its `id()`) the one
    that there would be without them, which tells whose name they take. `rulings` are what the user decided of all
    of them; `gate`: which faces are good enough to be anybody's; `bodies` names people whose face does not show.
    """

    asked: frozenset[str]  # concept ids
    people: ConceptClassifier | None
    things: ConceptClassifier | None
    rulings: UserLabels = field(default_factory=UserLabels)
    gate: FaceQuality | None = None
    bodies: ConceptClassifier | None = None
    alone: Mapping[int, ConceptClassifier] = field(default_factory=dict, compare=False)

    @property
    def fingerprint(self) -> tuple[str, ...]:
        """Tells those apart who may recognise differently."""
        return tuple(j.fingerprint for j in self.judges)

    @property
    def judges(self) -> tuple[ConceptClassifier, ...]:
        """Those that there are, in the order of their say."""
        return tuple(j for j in (self.people, self.things, self.bodies) if j is not None)

    @property
    def needs_faces(self) -> bool:
        """Whether faces have to be found."""
        return self.people is not None or self.bodies is not None

    @property
    def needs_regions(self) -> bool:
        """Whether regions have to be found."""
        return self.things is not None or self.bodies is not None


@dataclass(frozen=True)
class Recognition:
    """What is in a photo. names: concepts that are there; maybes: concepts that may be, for the user to decide;
    displaced: concepts that would be there but for one that is enrolled and was not asked for (`displaced_words` tells
    of many photos at once; `look_up_all` leaves it out).
    """

    names: tuple[Match, ...] = ()
    maybes: tuple[Match, ...] = ()
    displaced: tuple[DisplacedConcept, ...] = ()


@dataclass(frozen=True)
class _Scene:
    """Regions of one photo with features (R, D), and which of them may be named, (R,) bool."""

    regions: Sequence[Region]
    features: np.ndarray
    usable: np.ndarray
    same: np.ndarray | None = None


def load_gallery(session: Session, concepts: Sequence[Concept], library: Path | None = None) -> Gallery:
    """The judges for recognising some concepts in photos under a folder, which may have been calibrated.

    Raises:
        ConceptError: one of them has no head for the recogniser in use.
    """
    people = [c for c in concepts if c.kind is Kind.PERSON]
    things = [c for c in concepts if c.kind is not Kind.PERSON]
    alone: dict[int, ConceptClassifier] = {}
    judges = [_judge(session, wanted, library, alone) if wanted else None for wanted in (people, things)]
    rulings = UserLabels.of(session.store.decisions.all(), session.store.all())
    gate = session.recogniser_config.faces.gate if session.choices.heads == "open-set" else None
    bodies = _body_judge(session, people, library)
    return Gallery(frozenset(c.id for c in concepts), *judges, rulings, gate, bodies, alone)


def _judge(
    session: Session, wanted: Sequence[Concept], library: Path | None, alone: dict[int, ConceptClassifier]
) -> ConceptClassifier:
    """The judge of some concepts of one kind and their rivals; where it has rivals, the one without goes to `alone`."""
    heads = load_heads(session, wanted)
    own = {c: h for c, h in heads.items() if c in wanted}

    def make(heads: Mapping[Concept, Head]) -> ConceptClassifier:
        return (
            paper_classifier(heads)
            if session.choices.heads == "paper"
            else open_set_classifier(session, heads, library)
        )

    judge = make(heads)
    if len(own) < len(heads):
        alone[id(judge)] = make(own)
    return judge


def _body_judge(session: Session, people: Sequence[Concept], library: Path | None) -> ConceptClassifier | None:
    heads = load_bodies(session) if people and session.choices.heads == "open-set" else {}
    return open_set_classifier(session, heads, library) if any(c in heads for c in people) else None


def recognise(
    session: Session, photos: Sequence[Photo], enrolled: Gallery, *, keep: bool = True
) -> list[tuple[Match, ...]]:
    """The concepts that are in each photo, by name, with boxes in the photo's pixels. `keep` lets features go to
    the cache.
    """
    return [found.names for found in recognise_all(session, photos, enrolled, keep=keep)]


def recognise_all(
    session: Session, photos: Sequence[Photo], enrolled: Gallery, *, keep: bool = True
) -> list[Recognition]:
    """As `recognise`, with those that may be there, and with who is displaced."""
    faces = find_faces(session, photos, keep=keep) if enrolled.needs_faces and photos else [None] * len(photos)
    regions = find_regions(session, photos, keep=keep) if enrolled.needs_regions and photos else [None] * len(photos)
    results = []
    for photo, own_faces, own_regions in zip(photos, faces, regions, strict=True):
        scenes = _scenes(enrolled, own_faces, own_regions, photo.facts.width / photo.image.width)
        found = _found(enrolled, scenes, _in_picture(photo, enrolled), _whole(photo))
        assert found is not None  # everything was found, and the whole photo's box is known
        results.append(_in_photo(photo, found))
    return results


def _in_photo(photo: Photo, found: Recognition) -> Recognition:
    """What was found in a picture, with boxes in the photo's pixels."""
    names, maybes = (tuple(replace(m, box=photo.in_photo(m.box)) for m in own) for own in (found.names, found.maybes))
    return Recognition(names, maybes, tuple(replace(d, box=photo.in_photo(d.box)) for d in found.displaced))


def recognise_known(
    session: Session, content_hash: str, enrolled: Gallery, whole: Box | None = None
) -> tuple[Match, ...] | None:
    """The concepts in a photo of which the cache has everything, else None: no model runs, no pixel is decoded.
    `whole` is the photo's box, where that is known.
    """
    found = look_up(session, content_hash, enrolled, whole)
    return None if found is None else found.names


def look_up(session: Session, content_hash: str, enrolled: Gallery, whole: Box | None = None) -> Recognition | None:
    """As `recognise_known`, with those that may be there."""
    said = enrolled.rulings.about(content_hash)
    return _found(enrolled, known_scenes(session, content_hash, enrolled), said, whole)


def _found(
    enrolled: Gallery,
    scenes: Sequence[tuple[ConceptClassifier, "_Scene | None"]],
    said: Sequence[Decision],
    whole: Box | None,
    scores: Mapping[int, np.ndarray] | None = None,
) -> Recognition | None:
    """Names and maybes of all judges; `said` is what was decided about the photo, scores are by the judge's id, where
    they are known.
    """
    names: list[Match] = []
    maybes: list[Match] = []
    displaced: list[DisplacedConcept] = []
    for judge, scene in scenes:
        if scene is None:
            return None
        found = _judged(judge, scene, said, whole, enrolled.alone.get(id(judge)), (scores or {}).get(id(judge)))
        if found is None:
            return None
        if judge is enrolled.bodies:
            seen = (*names, *maybes)
            found = Recognition(drop_faced(found.names, seen), drop_faced(found.maybes, seen))
        names += found.names
        maybes += found.maybes
        displaced += found.displaced
    return Recognition(_asked_for(names, enrolled), _asked_for(maybes, enrolled), tuple(displaced))


def look_up_all(
    session: Session, photos: Sequence[tuple[str, Box | None]], enrolled: Gallery
) -> list[Recognition | None]:
    """As `look_up` for many photos by content with their boxes, all scored at once: in half the time."""
    known = [known_scenes(session, content_hash, enrolled) for content_hash, _ in photos]
    scores: list[dict[int, np.ndarray]] = [{} for _ in photos]
    for judge in enrolled.judges:
        own = [(i, s) for i, scenes in enumerate(known) for j, s in scenes if j is judge and s is not None]
        for (i, _), part in zip(own, _score_scenes(judge, [s for _, s in own]), strict=True):
            scores[i][id(judge)] = part
    return [
        _found(enrolled, scenes, enrolled.rulings.about(content_hash), whole, own)
        for (content_hash, whole), scenes, own in zip(photos, known, scores, strict=True)
    ]


def _score_scenes(judge: ConceptClassifier, scenes: Sequence["_Scene"]) -> list[np.ndarray]:
    """Scores (R, C) of many photos' regions, computed together."""
    filled = [s.features for s in scenes if len(s.features)]
    together = judge.score(np.concatenate(filled)) if filled else np.zeros((0, len(judge.concepts)), np.float32)
    ends = np.cumsum([len(s.regions) for s in scenes])
    parts = np.split(together, ends[:-1]) if scenes else []
    for part, scene in zip(parts, scenes, strict=True):
        part[~scene.usable] = -np.inf
    return parts


def known_scenes(
    session: Session, content_hash: str, enrolled: Gallery
) -> list[tuple[ConceptClassifier, "_Scene | None"]]:
    """What the cache has of a photo for each judge; boxes in the photo's pixels."""
    faces = known_faces(session, content_hash) if enrolled.needs_faces else None
    regions = known_regions(session, content_hash) if enrolled.needs_regions else None
    return _scenes(enrolled, faces, regions)


def _scenes(
    enrolled: Gallery, faces: Sequence[Face] | None, regions: RegionFeatures | None, scale: float = 1.0
) -> list[tuple[ConceptClassifier, "_Scene | None"]]:
    """What each judge sees of a photo; scale: pixels of the photo for one of the picture that the boxes are in."""
    found: list[tuple[ConceptClassifier, _Scene | None]] = []
    if enrolled.people:
        found.append((enrolled.people, None if faces is None else _faces_scene(faces, enrolled.gate, scale)))
    if enrolled.things:
        found.append((enrolled.things, None if regions is None else _regions_scene(regions)))
    if enrolled.bodies:
        missing = faces is None or regions is None
        found.append((enrolled.bodies, None if missing else _bodies_scene(regions, faces, enrolled.gate, scale)))
    return found


def _faces_scene(faces: Sequence[Face], gate: FaceQuality | None, scale: float = 1.0) -> _Scene:
    """scale: pixels of the photo for one of the picture that the boxes are in."""
    vectors = np.stack([f.embedding for f in faces]) if faces else np.zeros((0, 1), np.float32)
    usable = np.array([gate is None or passes(f, gate, scale) for f in faces], bool)
    same = overlaps(np.array([corners(f.box) for f in faces]).reshape(-1, 4)) > _SAME_THING
    return _Scene([Region(f.box, "face") for f in faces], vectors, usable, same)


def passes(face: Face, gate: FaceQuality, scale: float = 1.0) -> bool:
    """Whether a face says enough about who it is."""
    side = scale * min(face.box.x1 - face.box.x0, face.box.y1 - face.box.y0)
    return side >= gate.min_side and face.sharpness >= gate.min_sharpness and face.turn <= gate.max_turn


def flaws_of(face: Face, gate: FaceQuality) -> str:
    """What `passes` finds wrong with a face whose box is in the photo's pixels; "" for nothing."""
    side = min(face.box.x1 - face.box.x0, face.box.y1 - face.box.y0)
    small = f"too small ({int(side)} pixels; {gate.min_side:g} are needed)"
    checks = ((side < gate.min_side, small), (face.sharpness < gate.min_sharpness, "blurred"))
    return " and ".join(text for bad, text in (*checks, (face.turn > gate.max_turn, "turned away")) if bad)


def _regions_scene(found: RegionFeatures) -> _Scene:
    same = overlaps(np.array([corners(r.box) for r in found.regions]).reshape(-1, 4)) > _SAME_THING
    return _Scene(found.regions, found.features, np.ones(len(found.regions), bool), same)


def _bodies_scene(found: RegionFeatures, faces: Sequence[Face], gate: FaceQuality | None, scale: float) -> _Scene:
    seen = [f.box for f in faces if gate is None or passes(f, gate, scale)]
    regions = [replace(r, source=SOURCE) for r in found.regions]
    return replace(_regions_scene(found), regions=regions, usable=without_faces(found, seen))


def _asked_for(matches: Sequence[Match], enrolled: Gallery) -> tuple[Match, ...]:
    return tuple(sorted((m for m in matches if m.concept_id in enrolled.asked), key=lambda m: m.name.casefold()))


def load_heads(session: Session, wanted: Sequence[Concept]) -> dict[Concept, Head]:
    """The heads of some concepts of one kind, and those of their rivals that have one, by name.

    Raises:
        ConceptError: one of the concepts has none for the recogniser in use.
    """
    ids, people = {c.id for c in wanted}, wanted[0].kind is Kind.PERSON
    heads = {}
    for concept in session.store.all():
        if concept.id in ids:
            heads[concept] = load_head(session, concept)
        elif (concept.kind is Kind.PERSON) == people:
            head = session.store.load_head(concept.id, head_id(session, concept.kind))
            if head is not None:
                heads[concept] = head
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


def score_scene(judge: ConceptClassifier, scene: _Scene) -> np.ndarray:
    """Scores (R, C) of a photo's regions; -inf where a face is not good enough."""
    scores = judge.score(scene.features) if len(scene.features) else np.zeros((0, len(judge.concepts)), np.float32)
    scores[~scene.usable] = -np.inf
    return scores


def _judged(
    judge: ConceptClassifier,
    scene: _Scene,
    said: Sequence[Decision],
    whole: Box | None,
    alone: ConceptClassifier | None = None,
    scores: np.ndarray | None = None,
) -> Recognition | None:
    """Who is, and who may be, in the regions of a photo; None when `whole` is needed and not known. Who is displaced is
    found out where no scores are given.
    """
    known = scores is not None
    scores = score_scene(judge, scene) if scores is None else scores
    boxes = [r.box for r in scene.regions]
    scored = Scored([c.id for c in judge.concepts], scores, judge.names, boxes, scene.same)
    placed = place(scored, said, whole)
    if placed is None:
        return None
    maybes = place_maybes(replace(scored, thresholds=judge.maybes), said, placed)
    displaced: tuple[DisplacedConcept, ...] = ()
    if alone is not None and not known and len(scene.features):
        displaced = find_displaced(judge, alone, scored, scene.features, said, placed)
    return Recognition(*(tuple(_match(judge, scene.regions, p) for p in own) for own in (placed, maybes)), displaced)


def _match(judge: ConceptClassifier, regions: Sequence[Region], placed: Placement) -> Match:
    c, threshold = judge.concepts[placed.concept], float(judge.names[placed.concept])
    source = "photo" if placed.region is None else regions[placed.region].source
    score = placed.score if np.isfinite(placed.score) else 0.0  # of a confirmed face that is not good enough
    return Match(c.id, c.name, c.kind, c.version, score, threshold, placed.box, source, judge.scale)


def _in_picture(photo: Photo, enrolled: Gallery) -> list[Decision]:
    """What was decided about a photo, with boxes in the picture's pixels."""
    said = enrolled.rulings.about(photo.facts.content_hash)
    return [replace(d, box=photo.in_image(d.box)) if d.box else d for d in said]


def _whole(photo: Photo) -> Box:
    return Box(0.0, 0.0, float(photo.image.width), float(photo.image.height))
