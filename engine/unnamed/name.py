"""Name or ignore a group of sightings. Sidecars are not written: `myvlm caption` does that."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.concepts.body_crops import with_bodies
from engine.concepts.enrol import KNOWN, Enrolment, Guess, enrol_crops, findings_hint
from engine.concepts.existing import ExistingConcept, check_kind, find_existing
from engine.concepts.reference_crops import DuplicateFinder, PhotoFinding, ReferenceCrop, complete_crop, make_crop
from engine.core.boxes import Box, iou
from engine.core.class_words import GENERIC, are_other_animals
from engine.core.errors import ConceptError, DoubtfulError, NoUsablePhotoError, PhotoError
from engine.core.types import Kind
from engine.photos.decode import Photo, decode_photo, read_photo
from engine.session import Session
from engine.store.names import check_name
from engine.store.rows import now
from engine.unnamed.groups import Group, Sighting
from engine.unnamed.ignored import ignore
from engine.unnamed.kept import Action, KeptGroups
from engine.unnamed.make_groups import MOST_VIEWS
from engine.unnamed.undo import check_open
from engine.vision.cached_extractor import CachedExtractor

_SAME_PLACE = 0.5
"""A face or region that overlaps a sighting's box more (IoU) is that sighting."""


@dataclass(frozen=True)
class Named:
    """A group that was given a name.

    enrolment: what was stored. likeness: mean cosine similarity of the new references to those that the concept had;
    None for a new concept. doubts: why the group may show two individuals, or another one than the name; to be looked
    at.
    """

    enrolment: Enrolment
    likeness: float | None = None
    doubts: tuple[str, ...] = ()


def name_group(session: Session, group: Group, kind: Kind, name: str, *, seed: int = 0, anyway: bool = False) -> Named:
    """Enrol a concept from the best views of a group, or add them to the concept that has this name.

    kind: PERSON for faces, PET for animals. anyway: also add a group that does not look like the concept.

    Raises:
        DoubtfulError: the group does not look like the concept that has this name; nothing is stored.
        UsageError: the group has a name already, or is ignored.
        NameRefusedError: the name cannot be stored.
        UsageError: the concept is of another kind.
        NoUsablePhotoError: none of the photos is there as it was.
    """
    check_name(name)
    check_open(session, group)
    store, extractor = session.store, session.extractor
    existing = find_existing(store, extractor, name)
    check_kind(existing, kind, None, replaceable=False)
    chooser = _Chooser(extractor, kind, existing, np.random.default_rng(seed))
    chooser.look_at_all(group)
    if not chooser.crops and not chooser.known:
        hint = findings_hint(chooser.findings) or "List the groups again: myvlm people PATHS"
        raise NoUsablePhotoError(f"none of the photos for {name!r} can be used", hint=hint)
    likeness = _likeness(chooser.crops, existing)
    thresholds = extractor.config.group_thresholds(kind)
    unlike = _unlike(group, existing, likeness, thresholds.join)
    if unlike and not anyway:
        raise DoubtfulError(unlike, hint="Choose another name; if it is right, add --anyway.")
    word = _class_word(group, kind) if existing is None else None
    enrolment = enrol_crops(
        session, name, chooser.crops, chooser.findings, Guess(kind, word), seed=seed, given=chooser.known
    )
    contents = tuple(c.reference.content_hash for c in chooser.crops)
    concept = enrolment.concept
    if contents:
        action = Action(kind, group.id, concept.name, existing is None, contents, concept.id, concept.category)
        KeptGroups(session.folder).note(action)
    doubts = (unlike, _few(group), _spread(chooser.crops, thresholds.join))
    return Named(enrolment, likeness, tuple(d for d in doubts if d))


def _unlike(group: Group, existing: ExistingConcept | None, likeness: float | None, least: float) -> str:
    """Return why a group is not of an existing concept; "" if it may be."""
    if existing is None:
        return ""
    concept = existing.concept
    if are_other_animals(group.word, concept.category):
        return f"this group shows a {group.word}, and {concept.name} is a {concept.category}"
    if likeness is None or likeness >= least:
        return ""
    return (
        f"this group does not look like the photos that {concept.name} had before (likeness {likeness:.2f}, least"
        f" {least:.2f})"
    )


def _few(group: Group) -> str:
    """Return a warning of a group in two photos: nothing but one likeness speaks for it."""
    return "a group in two photos may show two individuals" if group.photos == 2 else ""


def _spread(crops: Sequence[ReferenceCrop], least: float) -> str:
    """Return a warning of two views that are less alike than a group and one of its members."""
    if len(crops) < 2:
        return ""
    likeness = _plain(crops) @ _plain(crops).T
    one, other = np.unravel_index(int(likeness.argmin()), likeness.shape)
    if likeness[one, other] >= least:
        return ""
    names = " and ".join(sorted(crops[int(i)].reference.path.name for i in (one, other)))
    return f"{names} are far apart and may show two individuals (likeness {likeness[one, other]:.2f})"


def _class_word(group: Group, kind: Kind) -> str | None:
    """Return the class word of a new concept; None where only a general one is known."""
    if kind is Kind.PERSON:
        return str(Kind.PERSON)
    return None if group.word in GENERIC else group.word


def _in_order(group: Group) -> Iterator[Sighting]:
    """Yield the best views, then the other members."""
    yield from group.best
    yield from (m for i, m in enumerate(group.members) if i not in group.views)


def _likeness(crops: Sequence[ReferenceCrop], existing: ExistingConcept | None) -> float | None:
    if existing is None or not existing.shown or not crops:
        return None
    return float((_plain(crops) @ existing.plain.T).mean())


def _plain(crops: Sequence[ReferenceCrop]) -> np.ndarray:
    """Return the feature of the plain view of each crop: (C, D)."""
    return np.stack([crop.feature if crop.features is None else crop.features[0] for crop in crops])


class _Chooser:
    """Make reference crops of sightings, photo by photo."""

    def __init__(
        self, extractor: CachedExtractor, kind: Kind, existing: ExistingConcept | None, rng: np.random.Generator
    ) -> None:
        self._extractor, self._kind, self._rng = extractor, kind, rng
        self._contents = existing.contents if existing else frozenset()
        self._seen = DuplicateFinder()
        self.crops: list[ReferenceCrop] = []
        self.findings: list[PhotoFinding] = []
        self.known: dict[str, Path] = {}

    def look_at_all(self, group: Group) -> None:
        """Make the crops of a group's best views; of other members where none of these can be used."""
        for sighting in _in_order(group):
            if len(self.crops) == MOST_VIEWS or (len(self.crops) and sighting not in group.best):
                break
            self.look_at(sighting)

    def look_at(self, sighting: Sighting) -> None:
        """Make the crop of a sighting, or note why it cannot be used."""
        path = sighting.path
        try:
            photo = decode_photo(read_photo(path))
        except PhotoError as err:
            self._note(path, str(err).removeprefix(f"{path}: "), err.hint)
            return
        same, alike = self._seen.look_at(photo)
        if photo.facts.content_hash != sighting.content_hash:
            self._note(path, "the photo changed since the groups were made", "List the groups again.")
        elif sighting.content_hash in self._contents:
            self.known[sighting.content_hash] = path
            self.findings.append(PhotoFinding(path, True, KNOWN, known=True))
        elif same or alike:
            self._note(path, f"almost the same picture as {(same or alike or path).name}")
        elif self._kind is Kind.PERSON:
            self._use_face(photo, sighting)
        else:
            self._use_region(photo, sighting)

    def _use_face(self, photo: Photo, sighting: Sighting) -> None:
        faces = self._extractor.find_faces([photo], keep=True)[0]
        at = _best_at([f.box for f in faces], photo.in_image(sighting.box))
        if at is None:
            self._note(photo.path, "the face is not found again", "List the groups again.")
            return
        crop = make_crop(photo, faces[at].box, faces[at].embedding)
        (with_body,) = with_bodies(self._extractor, [photo], [crop])
        self._use(with_body, "the face in the group")

    def _use_region(self, photo: Photo, sighting: Sighting) -> None:
        regions = self._extractor.find_regions([photo], keep=True)[0]
        at = _best_at([r.box for r in regions.regions], photo.in_image(sighting.box))
        if at is None:
            self._note(photo.path, "the animal is not found again", "List the groups again.")
            return
        crop = make_crop(photo, regions.regions[at].box, regions.features[at], regions.regions[at].word)
        self._use(complete_crop(self._extractor, photo, crop, regions, self._rng), "the animal in the group")

    def _use(self, crop: ReferenceCrop, found: str) -> None:
        self.crops.append(crop)
        self.findings.append(PhotoFinding(crop.reference.path, True, found))

    def _note(self, path: Path, found: str, advice: str = "") -> None:
        self.findings.append(PhotoFinding(path, False, found, advice))


def _best_at(boxes: Sequence[Box], place: Box) -> int | None:
    """Return the box that overlaps a place most, if it is the same place."""
    overlaps = [iou(box, place) for box in boxes]
    best = int(np.argmax(overlaps)) if overlaps else 0
    return best if overlaps and overlaps[best] > _SAME_PLACE else None


def ignore_group(session: Session, group: Group, kind: Kind) -> None:
    """Ignore a group for good: it is in no list any more, nor are new photos of the same individual.

    Raises:
        ConceptError: nothing is known of its members any more.
        UsageError: the group has a name already, or is ignored.
    """
    check_open(session, group)
    config = session.recogniser_config
    features = features_of(session.extractor, group, kind)
    session.store.ignored.put(ignore(group, kind, config.head_id(kind), features, now()))
    KeptGroups(session.folder).note(Action(kind, group.id))


def features_of(extractor: CachedExtractor, group: Group, kind: Kind) -> np.ndarray:
    """Return the features (M, D) of those members of a group that are in the cache.

    Raises:
        ConceptError: none is.
    """
    rows = []
    for member in group.members:
        boxes, features = _cached(extractor, member.content_hash, kind)
        at = _best_at(boxes, member.box)
        rows += [] if at is None else [features[at]]
    if not rows:
        raise ConceptError("these photos are not indexed any more", hint="List the groups again: myvlm people PATHS")
    return np.stack(rows).astype(np.float32)


def _cached(extractor: CachedExtractor, content_hash: str, kind: Kind) -> tuple[list[Box], Sequence[np.ndarray]]:
    if kind is Kind.PERSON:
        faces = extractor.cached_faces(content_hash) or []
        return [f.box for f in faces], [f.embedding for f in faces]
    regions = extractor.cached_regions(content_hash)
    return ([], []) if regions is None else ([r.box for r in regions.regions], list(regions.features))
