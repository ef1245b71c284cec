"""Collect the sightings without a name of scanned photos, and group them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.core.batches import batched
from engine.core.boxes import Box
from engine.core.types import Concept, Kind
from engine.recognition.enrolled import can_recognise, recognisable
from engine.recognition.gallery import Gallery, load_gallery
from engine.recognition.recognise import Recognition, look_up_all
from engine.session import Session
from engine.unnamed.groups import Group, Groups, Sighting
from engine.unnamed.ignored import Ignoring
from engine.unnamed.make_groups import make_groups
from engine.unnamed.photo_facts import PhotoFacts
from engine.unnamed.sightings import unnamed_animals, unnamed_faces
from engine.vision.cached_extractor import CachedExtractor

_BATCH = 256
"""Photos that are recognised at a time."""
_NOWHERE = Box(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class PhotoToGroup:
    """A scanned photo with its facts."""

    path: Path
    facts: PhotoFacts


@dataclass
class _Found:
    """Sightings with their features, photo by photo. hidden: faces that are too small, blurred or turned."""

    sightings: list[Sighting] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)
    hidden: int = 0

    def matrix(self) -> np.ndarray:
        """Return the features of all sightings, (N, D) float32."""
        parts = [f for f in self.features if len(f)]
        return np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, 1), np.float32)


def group_photos(session: Session, photos: Sequence[PhotoToGroup], kind: Kind, library: Path | None) -> Groups:
    """Group what has no name in photos whose features are cached; photos with the same content count once.

    kind: PERSON for faces, PET for animals. library: the folder whose calibration to use.
    """
    by_content: dict[str, PhotoToGroup] = {}
    for photo in photos:
        if photo.facts.content_hash:
            by_content.setdefault(photo.facts.content_hash, photo)
    gallery = _gallery(session, kind, library)
    found = _Found()
    for batch in batched(by_content.values(), _BATCH):
        _collect(session.extractor, gallery, kind, batch, found)
    groups, ignored = _group_sightings(session, kind, found)
    unreadable = tuple((p.path, p.facts.failure) for p in photos if p.facts.failure)
    return Groups(kind, tuple(groups), len(by_content), (), ignored, found.hidden, unreadable)


def _gallery(session: Session, kind: Kind, library: Path | None) -> Gallery | None:
    """Return the gallery of all people, or of all pets and things; None if there are none to recognise."""
    store, config = session.store, session.recogniser_config
    known: Sequence[Concept] = [c for c in recognisable(store, config) if can_recognise(store, config, c)]
    wanted = [c for c in known if (c.kind is Kind.PERSON) == (kind is Kind.PERSON)]
    return load_gallery(store, config, session.recognition, wanted, library) if wanted else None


def _collect(
    extractor: CachedExtractor, gallery: Gallery | None, kind: Kind, photos: Sequence[PhotoToGroup], found: _Found
) -> None:
    """Add the sightings of some photos."""
    contents = [p.facts.content_hash for p in photos]
    nobody = [None] * len(photos)
    named = nobody if gallery is None else look_up_all(extractor, [(c, None) for c in contents], gallery)
    for photo, recognised in zip(photos, named, strict=True):
        facts, recognition = photo.facts, recognised or Recognition()
        base = Sighting(photo.path, facts.content_hash, _NOWHERE, 0.0, facts.taken)
        if kind is Kind.PERSON:
            faces = extractor.cached_faces(facts.content_hash) or []
            of_photo = unnamed_faces(base, faces, extractor.config.faces.gate, recognition, facts.tags)
            found.hidden += of_photo.hidden
            sightings, features = of_photo.sightings, of_photo.features
        else:
            regions = extractor.cached_regions(facts.content_hash)
            if regions is None:
                continue
            sightings, features = unnamed_animals(base, regions, recognition, facts.tags)
        found.sightings += sightings
        found.features.append(features)


def _group_sightings(session: Session, kind: Kind, found: _Found) -> tuple[list[Group], int]:
    """Return the groups that the user does not ignore, and how many sightings belong to those that are ignored."""
    config, features, sightings = session.recogniser_config, found.matrix(), found.sightings
    thresholds = config.group_thresholds(kind)
    if not sightings:
        return [], 0
    ignoring = Ignoring.of(session.store.ignored.all(kind), config.head_id(kind), sightings, features)
    kept = np.flatnonzero(~ignoring.find(sightings, features, thresholds))
    shown = [sightings[int(i)] for i in kept]
    groups = make_groups(shown, features[kept], thresholds, lambda f: ignoring.is_ignored(f, thresholds))
    return groups, len(sightings) - sum(len(g.members) for g in groups)
